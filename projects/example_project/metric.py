"""An own metric."""

import torch
from torch import Tensor

from coavt_mm.evaluation.features import all_captions, stream_features
from coavt_mm.evaluation.metric import ReportingMetric, cells, draw_table, heading
from coavt_mm.evaluation.ranking import count_ranks
from coavt_mm.evaluation.records import check_record, keep_features
from coavt_mm.registry import METRICS
from coavt_mm.streams import STREAMS


@METRICS.register_module()
class ReciprocalRankMetric(ReportingMetric):
    """Mean of 100 / rank of the clip that a caption was written for, by stream.

    Args:
        **kwargs: ``out_dir`` and what mmengine's metrics take.
    """

    name = default_prefix = 'reciprocal_rank'
    check = staticmethod(check_record)

    def record(self, sample: dict) -> dict:
        """Keep a clip's features and those of its captions."""
        return keep_features(sample, torch.float32, keep_tokens=False)

    def score(self, records: list[dict]) -> dict[str, Tensor]:
        """Stream -> the ranks of all its captions, from 1."""
        captions = all_captions(records)
        found = {s: stream_features(records, s, captions) for s in STREAMS}
        return {s: count_ranks(x)[0] for s, x in found.items() if x is not None}

    def report(self, scored: dict[str, Tensor]) -> dict:
        """Stream -> number, beside what is said of the clips."""
        return {s: {'MRR': (100 / x).mean().item()} for s, x in scored.items()}

    def numbers(self, report: dict) -> dict:
        """What is logged: 'AV/MRR'."""
        return {s: report[s] for s in STREAMS if s in report}

    def table(self, report: dict) -> str:
        """A row a stream."""
        rows = [[s, *cells(x, ['MRR'])] for s, x in self.numbers(report).items()]
        return f'{heading(report)}\n\n{draw_table(["stream", "MRR"], rows)}'
