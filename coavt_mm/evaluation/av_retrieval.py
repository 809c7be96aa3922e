"""Sound-to-picture and picture-to-sound retrieval as an mmengine metric."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmengine.logging import print_log
from torch import Tensor
from torch.nn.functional import normalize

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation.clips import check_finite, check_samples, describe_clips
from coavt_mm.evaluation.features import StreamFeatures
from coavt_mm.evaluation.ranking import count_ranks, recall_curve, recall_summary
from coavt_mm.evaluation.report import draw_table, heading
from coavt_mm.registry import METRICS
from coavt_mm.visualization.plots import SPACE_STYLE, recall_figure, save_figure

DIRECTIONS = ('audio_to_visual', 'visual_to_audio')
SPACES = ('encoder', 'query')
ARROWS = {'audio_to_visual': 'sound -> picture', 'visual_to_audio': 'picture -> sound'}
CURVE_DEPTH = 50  # ranks


def make_record(sample: dict, spaces: Sequence[str]) -> dict:
    """Take from a prediction what ranking needs, on the CPU.

    Args:
        sample: A prediction of ``CoAVT`` as a dict: ``token_feats`` {stream: (F, D)}
            and ``clip_feats`` {stream: (F, Q, E)}.
        spaces: Of :data:`SPACES`.

    Returns:
        dict: ``feats`` has, a space, sound (1, D or E) and picture (F, D or E).
    """
    record = {key: sample.get(key) for key in ('sample_idx', 'sample_id', 'error')}
    found = {
        'encoder': sample.get('token_feats', {}),
        'query': {
            stream: normalize(feats.float().mean(1), dim=-1)
            for stream, feats in sample.get('clip_feats', {}).items()
        },
    }
    record['feats'] = {}
    for space in spaces:
        if {'A', 'V'} <= set(found[space]):
            pair = [found[space][s].detach().float().cpu().clone() for s in ('A', 'V')]
            record['feats'][space] = pair
    check_record(record)
    return record


def check_record(record: dict) -> None:
    """Refuse features that are not finite.

    Raises:
        CoAVTError: The message names the clip.
    """
    for space, pair in record['feats'].items():
        for feats in pair:
            check_finite(feats, f'the {space} feature', record['sample_id'])


def paired_features(records: list[dict], space: str) -> StreamFeatures | None:
    """Sounds in the place of captions, pictures in that of clips; None without any.

    Clips that lack a modality are left out.
    """
    rows = [row for row, record in enumerate(records) if space in record['feats']]
    if not rows:
        return None
    pairs = [records[row]['feats'][space] for row in rows]
    order = torch.arange(len(rows))
    return StreamFeatures(
        clips=[visual[:, None] for _, visual in pairs],  # (F, 1, E)
        captions=torch.cat([audio for audio, _ in pairs]),
        index=order,
        owner=order,
        rows=rows,
        columns=[0] * len(rows),
    )


def chance_level(gallery: int) -> dict[str, float]:
    """What ranks drawn at random give: recalls in per cent, median and mean rank."""
    numbers = {f'R@{k}': 100 * min(k, gallery) / gallery for k in (1, 5, 10)}
    return {**numbers, 'MedR': (gallery + 1) / 2, 'MeanR': (gallery + 1) / 2}


@METRICS.register_module()
class AVRetrievalMetric(BaseMetric):
    """R@k, median and mean rank of sound -> picture and picture -> sound.

    Similarity is a cosine, averaged over frames, in one or two spaces:

    - 'encoder': the mean of the tokens of E_A and of E_V (CAV-MAE's way, without
      masking);
    - 'query': the mean of the projected queries that have read E_A and E_V.

    A rank is 1 + #(better) + #(ties), as in :class:`RetrievalMetric`. Clips that lack
    a modality are neither asked nor in the gallery. Where the data set's ``ceilings``
    have ``audio_visual``, they stand beside the numbers.

    Args:
        spaces: Of 'encoder' and 'query'.
        out_dir: Where av_retrieval.json, av_retrieval.md and av_recall_curves.png go;
            None saves nothing.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.

    Attributes:
        last_results: The nested results of the last evaluation (main process).
    """

    default_prefix = 'av_retrieval'

    def __init__(
        self,
        spaces: Sequence[str] = SPACES,
        out_dir: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        unknown = set(spaces) - set(SPACES)
        if unknown or not spaces:
            raise ConfigError(f'spaces {sorted(spaces)} are not among {SPACES}')
        self.spaces = tuple(spaces)
        self.out_dir = out_dir
        self.last_results: dict | None = None
        self._size: int | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the features of a batch of predictions."""
        self.results += [make_record(sample, self.spaces) for sample in data_samples]

    def evaluate(self, size: int) -> dict:
        """Collect over ranks and score; ``size`` is the length of the data set."""
        self._size = size
        return super().evaluate(size)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Flat numbers for mmengine; the nested ones stay in ``last_results``."""
        check_samples(results, self._size)
        for record in results:
            check_record(record)
        found = {space: paired_features(results, space) for space in self.spaces}
        lacking = [space for space in self.spaces if found[space] is None]
        if lacking:
            raise CoAVTError(
                f'no clip has {lacking[0]} features of both sound and picture'
            )
        ranks = {space: count_ranks(features) for space, features in found.items()}
        report = self._report(results, ranks)
        self.last_results = report
        print_log('\n' + markdown_table(report), logger='current')
        if self.out_dir:
            self._save(report, ranks)
        return {
            f'{direction}/{space}/{name}': value
            for direction in DIRECTIONS
            for space, summary in report[direction].items()
            for name, value in summary.items()
        }

    def _report(
        self, results: list[dict], ranks: dict[str, tuple[Tensor, Tensor]]
    ) -> dict:
        gallery = len(next(iter(ranks.values()))[0])
        ceilings = (self.dataset_meta or {}).get('ceilings') or {}
        report = {
            'metric': 'av_retrieval',
            **describe_clips(self.dataset_meta, results),
            'gallery': gallery,
            'chance': chance_level(gallery),
            'ceilings': ceilings.get('audio_visual'),
        }
        for i, direction in enumerate(DIRECTIONS):
            report[direction] = {s: recall_summary(r[i]) for s, r in ranks.items()}
        return report

    def _save(self, report: dict, ranks: dict[str, tuple[Tensor, Tensor]]) -> None:
        out_dir = Path(self.out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        dump(report, out_dir / 'av_retrieval.json', indent=2)
        (out_dir / 'av_retrieval.md').write_text(markdown_table(report), 'utf-8')
        depth = min(CURVE_DEPTH, report['gallery'])
        curves = {
            direction: {s: recall_curve(r[i], depth) for s, r in ranks.items()}
            for i, direction in enumerate(DIRECTIONS)
        }
        best = dict.fromkeys(ranks, report['ceilings'] or {})
        figure = recall_figure(
            curves,
            {d: dict.fromkeys(ranks, report['gallery']) for d in DIRECTIONS},
            dict.fromkeys(DIRECTIONS, best) if report['ceilings'] else None,
            f'{report["protocol"]}: {report["gallery"]} clips',
            SPACE_STYLE,
        )
        save_figure(figure, out_dir / 'av_recall_curves.png')


def markdown_table(report: dict) -> str:
    """Both directions and, below, chance and ceiling; R@k in per cent, ranks from 1."""
    names = list(report['chance'])
    rows = [
        [ARROWS[direction], space, *(f'{summary[name]:.1f}' for name in names)]
        for direction in DIRECTIONS
        for space, summary in report[direction].items()
    ]
    for label, numbers in (
        ('chance', report['chance']),
        ('ceiling', report['ceilings']),
    ):
        if numbers:
            rows.append(['both', label, *(f'{numbers[name]:.1f}' for name in names)])
    table = draw_table(['direction', 'features', *names], rows)
    return f'{heading(report)}, gallery {report["gallery"]}\n\n{table}'
