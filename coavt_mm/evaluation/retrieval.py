"""Text-to-clip and clip-to-text retrieval as an mmengine metric."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from coavt_mm.errors import ConfigError
from coavt_mm.evaluation.clips import check_samples, describe_clips
from coavt_mm.evaluation.features import (
    StreamFeatures,
    all_captions,
    stream_features,
    stream_texts,
)
from coavt_mm.evaluation.matching import PairScorer, matching_accuracy, matching_ranks
from coavt_mm.evaluation.ranking import count_ranks, recall_summary
from coavt_mm.evaluation.records import (
    check_record,
    make_record,
    read_records,
    save_records,
)
from coavt_mm.evaluation.report import (
    EQUAL_TEXTS,
    OWN_CLIP,
    flat_metrics,
    markdown_table,
    save_report,
)
from coavt_mm.evaluation.retrieval_plots import save_retrieval_plots
from coavt_mm.evaluation.score_modes import (
    MATCHING_MODES,
    check_modes,
    softmax_ranks,
    temperatures,
)
from coavt_mm.evaluation.text_ceilings import shared_texts, text_ceilings
from coavt_mm.registry import METRICS
from coavt_mm.streams import STREAMS


@METRICS.register_module()
class RetrievalMetric(BaseMetric):
    """R@k, median and mean rank, both directions, streams AV, A and V apart.

    Similarity is the mean over frames of the best query's cosine. A rank is
    1 + #(better) + #(ties), of wrong answers; similarities within 1e-6 are ties. A
    caption about the sound counts for stream A only, one about the picture for V only,
    one about both for all three. A clip asks with its best-ranked caption. Clips that
    lack a modality are not in that stream's gallery.

    Score modes, all from one extraction and each under its own label: 'cosine';
    'matching' (BLIP-2: the top k re-scored with matching logit + similarity);
    'matching_only' (VAST: the logit replaces the score); 'query_softmax' (PE-AV, VALOR:
    similarity times its softmax over the queries); 'softmax_product' (ours: softmax
    over the queries times softmax over the gallery). The last two look at all queries
    of the test at once.

    In float16, the three streams of 20,000 clips with 32 queries of width 256 take
    1 GB; in float32 twice that.

    Args:
        modes: Score modes to report.
        equal_texts: A caption that several clips carry, whatever its case and spaces,
            is right for each of them; for class labels as text, where few texts serve
            many clips. Each caption is a query and an answer still. The protocol's
            name says so. Default: only the clip that it was written for.
        topk: Items per query that the matching head re-scores.
        matching_accuracy: Report the matching head's accuracy on hard held-out pairs.
        match_batch_size: Pairs in one pass of the matching head.
        temperature: Of the softmax modes; divides similarities. Default: 0.1 for
            'query_softmax' (PE-AV's), 0.01 for 'softmax_product'.
        feature_dtype: In which features are kept between batches: 'float32',
            'bfloat16' or 'float16'.
        out_dir: Where retrieval.json, retrieval.md and plots go; None saves nothing.
        plots: Save plots as well.
        features_file: Save features here (.pth) for :meth:`evaluate_file`.
        note: What a reader has to know of these numbers; stands beside them in all
            that is written.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.

    Attributes:
        model: What the matching modes ask; a hook or a script sets it.
        last_results: The nested results of the last evaluation (main process).
    """

    default_prefix = 'retrieval'

    def __init__(
        self,
        modes: Sequence[str] = ('cosine',),
        topk: int = 128,
        matching_accuracy: bool = False,
        match_batch_size: int = 64,
        temperature: float | None = None,
        feature_dtype: str = 'float32',
        out_dir: str | None = None,
        plots: bool = False,
        features_file: str | None = None,
        note: str | None = None,
        equal_texts: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        check_modes(modes)
        if temperature is not None and not temperature > 0:
            raise ConfigError(f'temperature {temperature} must be above 0')
        if feature_dtype not in ('float32', 'bfloat16', 'float16'):
            raise ConfigError(f'feature_dtype {feature_dtype!r} is not a float type')
        if plots and out_dir is None:
            raise ConfigError('plots=True needs an out_dir to save them in')
        self.modes = tuple(modes)
        self.topk = topk
        self.matching_accuracy = matching_accuracy
        self.match_batch_size = match_batch_size
        self.temperatures = temperatures(modes, temperature)
        self.feature_dtype = getattr(torch, feature_dtype)
        self.out_dir = out_dir
        self.plots = plots
        self.features_file = features_file
        self.note = note
        self.equal_texts = equal_texts
        self.model: torch.nn.Module | None = None
        self.last_results: dict | None = None
        self._device = torch.device('cpu')
        self._size: int | None = None

    @property
    def needs_model(self) -> bool:
        """Whether the matching head is asked, so that ``model`` and tokens are."""
        return self.matching_accuracy or bool(set(self.modes) & set(MATCHING_MODES))

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what ranking needs of a batch of predictions."""
        self._require_model()
        for sample in data_samples:
            for feats in sample.get('clip_feats', {}).values():
                self._device = feats.device
            record = make_record(sample, self.feature_dtype, self.needs_model)
            self.results.append(record)

    def evaluate(self, size: int) -> dict:
        """Collect over ranks and score; ``size`` is the length of the data set."""
        self._size = size
        return super().evaluate(size)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Flat numbers for mmengine; the nested ones stay in ``last_results``."""
        self._require_model()
        check_samples(results, self._size)
        for record in results:
            check_record(record)
        if self.features_file:
            save_records(self.features_file, self.dataset_meta, results)
        report = self._describe(results)
        features = self._gather(results)
        ranks = {s: self._rank(s, features[s], results) for s in features}
        if self.matching_accuracy and 'AV' in features:
            self._add_accuracy(report, features['AV'], results)
        self._add_ranks(report, features, ranks)
        self._add_texts(report, features, results)
        self.last_results = report
        print_log('\n' + markdown_table(report), logger='current')
        if self.out_dir:
            save_report(report, self.out_dir)
        if self.plots and features:
            cosine = {s: found['cosine'] for s, found in ranks.items()}
            save_retrieval_plots(self.out_dir, results, features, cosine, report)
        return flat_metrics(report)

    def evaluate_file(
        self, path: str, device: torch.device | str = 'cpu'
    ) -> dict[str, float]:
        """Score features that ``features_file`` saved, without extracting again.

        Args:
            path: The file.
            device: Where similarities are computed.

        Raises:
            CoAVTError: If the file is not of this kind, or holds NaN or inf.
        """
        self._device = torch.device(device)
        self.dataset_meta, records = read_records(path)
        return self.compute_metrics(records)

    def _require_model(self) -> None:
        if self.needs_model and self.model is None:
            raise ConfigError(
                'RetrievalMetric was asked for the matching head, but has no model: '
                'add the hook that hands it over, or set metric.model'
            )

    def _describe(self, results: list[dict]) -> dict:
        whole = [record for record in results if not record['error']]
        about = describe_clips(self.dataset_meta, results)
        right = EQUAL_TEXTS if self.equal_texts else OWN_CLIP
        if self.equal_texts:
            about['protocol'] = f'{about["protocol"] or "not named"} ({right})'
        return {
            'metric': 'retrieval',
            **about,
            'right_answers': right,
            'temperatures': self.temperatures,
            'captions': sum(len(record['texts']) for record in whole),
            'ceilings': (self.dataset_meta or {}).get('ceilings'),
            'note': self.note,
        }

    def _gather(self, records: list[dict]) -> dict[str, StreamFeatures]:
        captions = all_captions(records)
        found = {
            stream: stream_features(
                records, stream, captions, self._device, self.equal_texts
            )
            for stream in STREAMS
        }
        return {stream: feats for stream, feats in found.items() if feats is not None}

    def _rank(
        self, stream: str, features: StreamFeatures, records: list[dict]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Ranks of cosine and of the other modes asked: {mode: ((N,), (G,))}."""
        cosine = count_ranks(features)
        ranks = {'cosine': cosine}
        for mode, temperature in self.temperatures.items():
            ranks[mode] = softmax_ranks(features, mode, temperature)
        modes = [mode for mode in MATCHING_MODES if mode in self.modes]
        if modes and stream == 'AV':
            scorer = PairScorer(self.model, records, features, self.match_batch_size)
            add = tuple(mode == 'matching' for mode in modes)
            found = matching_ranks(features, scorer, cosine, self.topk, add)
            ranks.update(zip(modes, found, strict=True))
        return ranks

    def _add_ranks(self, report: dict, features: dict, ranks: dict) -> None:
        report['streams'] = {
            stream: {
                'gallery': len(found.clips),
                'captions': len(found.owner),
                'missing': report['clips'] - len(found.clips),
            }
            for stream, found in features.items()
        }
        for mode in self.modes:
            suffix = '' if mode == 'cosine' else f'_{mode}'
            modes = {s: ranks[s][mode] for s in ranks if mode in ranks[s]}
            report['text_to_clip' + suffix] = {
                stream: recall_summary(found[0]) for stream, found in modes.items()
            }
            report['clip_to_text' + suffix] = {
                stream: recall_summary(found[1][features[stream].answered])
                for stream, found in modes.items()
            }

    def _add_texts(self, report: dict, features: dict, records: list[dict]) -> None:
        """How many texts are shared, and what that allows; {} where none is."""
        report['shared_texts'], report['text_ceilings'] = {}, {}
        for stream, found in features.items():
            texts: list[list[str]] = [[] for _ in found.clips]
            named = zip(found.owner.tolist(), stream_texts(records, found), strict=True)
            for clip, text in named:
                texts[clip].append(text)
            report['shared_texts'][stream] = shared_texts(texts)
            if report['shared_texts'][stream]['shared']:
                report['text_ceilings'][stream] = text_ceilings(texts)

    def _add_accuracy(
        self, report: dict, features: StreamFeatures, records: list[dict]
    ) -> None:
        scorer = PairScorer(self.model, records, features, self.match_batch_size)
        shares = matching_accuracy(features, scorer, stream_texts(records, features))
        report['matching_accuracy'] = shares.pop('all')
        report['matching_accuracy_parts'] = shares
