"""Text-to-clip and clip-to-text retrieval as an mmengine metric."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from mmengine.dist import broadcast_object_list, collect_results, get_world_size
from torch import Tensor

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation.features import (
    StreamFeatures,
    all_captions,
    stream_features,
    stream_texts,
)
from coavt_mm.evaluation.matching import PairScorer, matching_accuracy, matching_ranks
from coavt_mm.evaluation.metric import ReportingMetric
from coavt_mm.evaluation.pairs import Bench, Judge
from coavt_mm.evaluation.ranking import (
    MATCHING_MODES,
    check_modes,
    count_ranks,
    softmax_ranks,
    temperatures,
)
from coavt_mm.evaluation.records import (
    check_record,
    keep_features,
    read_records,
    save_records,
)
from coavt_mm.evaluation.retrieval_report import (
    Ranked,
    logged_numbers,
    markdown_table,
    retrieval_figures,
)
from coavt_mm.evaluation.text_ceilings import RULES
from coavt_mm.models.similarity import texts_for
from coavt_mm.registry import METRICS
from coavt_mm.streams import STREAMS

if TYPE_CHECKING:
    from coavt_mm.models.coavt import CoAVT

HALF = dict(bf16=torch.bfloat16, fp16=torch.float16)


@METRICS.register_module()
class RetrievalMetric(ReportingMetric):
    """R@k, median and mean rank, both directions, streams AV, A and V apart.

    Similarity is the mean over frames of the best query's cosine. A rank is
    1 + #(better) + #(ties), of wrong answers; similarities within 1e-6 are ties. A
    caption about the sound counts for stream A only, one about the picture for V only,
    one about both for all three. A clip asks with its best-ranked caption. Clips that
    lack a modality are not in that stream's gallery.

    Score modes, all from one extraction and each under its own label: 'cosine';
    'matching' (BLIP-2: the top k re-scored with matching logit + similarity, which has
    the head's ``similarity_weight``);
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
        features_file: Save features here (.pth) for :meth:`evaluate_file`. With several
            processes and the matching head the first one then holds the tokens of all
            clips, which else stay with the process that made them.
        note: What a reader has to know of these numbers; stands beside them in all
            that is written.
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.

    Attributes:
        model: What the matching modes ask; a hook or a script sets it.
    """

    name = default_prefix = 'retrieval'
    table = staticmethod(markdown_table)
    numbers = staticmethod(logged_numbers)
    check = staticmethod(check_record)

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
        super().__init__(out_dir, plots, **kwargs)
        check_modes(modes)
        if temperature is not None and not temperature > 0:
            raise ConfigError(f'temperature {temperature} must be above 0')
        if feature_dtype not in ('float32', 'bfloat16', 'float16'):
            raise ConfigError(f'feature_dtype {feature_dtype!r} is not a float type')
        self.modes = tuple(modes)
        self.topk = topk
        self.matching_accuracy = matching_accuracy
        self.match_batch_size = match_batch_size
        self.temperatures = temperatures(modes, temperature)
        self.feature_dtype = getattr(torch, feature_dtype)
        self.features_file = features_file
        self.note = note
        self.equal_texts = equal_texts
        self.model: CoAVT | None = None
        self._bench: Bench | None = None
        self._device = torch.device('cpu')

    @property
    def needs_tokens(self) -> bool:
        """Whether the matching head is asked, so that ``model`` and tokens are."""
        return self.matching_accuracy or bool(set(self.modes) & set(MATCHING_MODES))

    def record(self, sample: dict) -> dict:
        """Keep features and captions."""
        self._require_model()
        for feats in sample.get('clip_feats', {}).values():
            self._device = feats.device
        record = keep_features(sample, self.feature_dtype, self.needs_tokens)
        if self.precision in HALF and record.get('tokens') is not None:
            # what the matching head's products take; it goes on in this precision
            record['tokens'] = record['tokens'].to(HALF[self.precision])
        return record

    def evaluate(self, size: int) -> dict:
        """Collect over ranks and score; the pairs of the matching head are shared out.

        Args:
            size: Length of the data set.

        Raises:
            CoAVTError: On all processes, where one of them failed.
        """
        if not self.needs_tokens or get_world_size() == 1:
            return super().evaluate(size)
        self._require_model()
        judge = Judge(self.model, self.match_batch_size)
        self._size = size
        self._bench = bench = self._bench or Bench()
        place = {} if self.collect_device != 'cpu' else {'tmpdir': self.collect_dir}
        # the file has the tokens of all clips; else they stay where they are
        own = self.results if self.features_file else bench.keep(self.results)
        records = collect_results(own, size, self.collect_device, **place)
        numbers: list = [None]
        if records is None:
            bench.serve(judge)
        else:
            try:
                with bench:
                    found = self.compute_metrics(records)
                numbers = [{f'{self.prefix}/{key}': v for key, v in found.items()}]
            except CoAVTError as error:  # all end by it, and none waits for the rest
                numbers = [error]
        broadcast_object_list(numbers)
        self.results.clear()
        bench.kept.clear()
        if isinstance(numbers[0], CoAVTError):
            raise numbers[0]
        return numbers[0]

    def score(self, records: list[dict]) -> Ranked:
        """Rank every stream by every score mode."""
        self._require_model()
        if self.features_file:
            save_records(self.features_file, self.dataset_meta, records)
        captions = all_captions(records)
        streams = {
            stream: stream_features(
                records,
                stream,
                texts_for(captions, stream),
                self._device,
                self.equal_texts,
            )
            for stream in STREAMS
        }
        features = {s: feats for s, feats in streams.items() if feats is not None}
        ranks = {s: self._rank(s, feats, records) for s, feats in features.items()}
        return Ranked(records, features, ranks)

    def describe(self, records: list[dict]) -> dict:
        """Say what was evaluated; the protocol says whether equal texts are right."""
        about = super().describe(records)
        if self.equal_texts:
            rule = RULES['equal_texts']
            about['protocol'] = f'{about["protocol"] or "not named"} ({rule})'
        return about

    def report(self, scored: Ranked) -> dict:
        """The nested numbers: direction and mode -> stream -> R@1, ..., MeanR."""
        records = scored.records
        report = {
            'right_answers': RULES['equal_texts' if self.equal_texts else 'own_clip'],
            'temperatures': self.temperatures,
            'captions': sum(len(r['texts']) for r in records if not r['error']),
            'ceilings': (self.dataset_meta or {}).get('ceilings'),
            'note': self.note,
        }
        if self.matching_accuracy and 'AV' in scored.features:
            features = scored.features['AV']
            texts = stream_texts(records, features)
            scorer = self._scorer(features, records)
            head = scorer.model.matching_head
            fused = getattr(head, 'similarity_offset', None) is not None
            more = head.with_similarity if fused else None
            shares = matching_accuracy(features, scorer, texts, more)
            report['matching_accuracy'] = shares.pop('all')
            report['matching_accuracy_parts'] = shares
        whole = sum(not record['error'] for record in records)
        report['streams'] = {
            stream: {
                'gallery': len(feats.gallery),
                'captions': len(feats.target),
                'missing': whole - len(feats.gallery),
            }
            for stream, feats in scored.features.items()
        }
        for mode in self.modes:
            report.update(scored.recalls(mode))
        return {**report, **scored.texts()}

    def figures(self, report: dict, scored: Ranked) -> dict[str, Figure]:
        """Recall curves, similarities and a contact sheet, of the cosine."""
        return retrieval_figures(report, scored) if scored.features else {}

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
        if self.needs_tokens and self.model is None:
            raise ConfigError(
                'RetrievalMetric was asked for the matching head, but has no model: '
                'add the hook that hands it over, or set metric.model'
            )
        if self.needs_tokens and getattr(self.model, 'matching_head', '') is None:
            raise ConfigError(
                f'RetrievalMetric was asked for the matching head, which this '
                f"{type(self.model).__name__} lacks: leave modes at ('cosine',)"
            )

    def _scorer(self, features: StreamFeatures, records: list[dict]) -> PairScorer:
        size = self.match_batch_size
        return PairScorer(self.model, records, features, size, self._bench)

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
            scorer = self._scorer(features, records)
            own = scorer.model.matching_head.similarity_weight
            weights = [own if mode == 'matching' else 0.0 for mode in modes]
            found = matching_ranks(features, scorer, cosine, self.topk, weights)
            ranks.update(zip(modes, found, strict=True))
        return ranks
