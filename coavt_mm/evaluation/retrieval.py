"""Text-to-clip and clip-to-text retrieval as an mmengine metric."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from ..compat import load_from_local
from ..errors import CoAVTError, ConfigError
from ..registry import METRICS
from .clips import check_samples, describe_clips
from .matching import PairScorer, matching_accuracy, matching_ranks
from .ranking import (
    StreamFeatures,
    count_ranks,
    dual_softmax_bias,
    recall_summary,
)
from .report import flat_metrics, markdown_table, save_report
from .retrieval_plots import save_retrieval_plots

STREAMS = ('AV', 'A', 'V')
MODES = ('cosine', 'matching', 'matching_only', 'dual_softmax')
MATCHING_MODES = ('matching', 'matching_only')
KEPT = ('clip_path', 'start', 'end', 'frame_times', 'error')
KEPT_META = ('protocol', 'manifest', 'manifest_hash', 'hash', 'missing', 'ceilings')
MIXED_SHAPES = 'the clips of stream {} differ in frames, queries or width: {}'


def make_record(sample: dict, dtype: torch.dtype, keep_tokens: bool) -> dict:
    """Take from a prediction what ranking needs, on the CPU.

    Args:
        sample: A prediction of ``CoAVT`` as a dict: ``clip_feats`` {stream: (F, Q, E)},
            ``caption_feats`` (C, E), ``texts``, ``text_streams`` and, for the matching
            head, ``tokens`` (F, N_av, D) and ``caption_ids``.
        dtype: In which the projected features are kept.
        keep_tokens: Keep what the matching head needs.
    """
    texts = list(sample.get('texts', []))
    record = {key: sample.get(key) for key in ('sample_idx', 'sample_id', *KEPT)}
    record['texts'] = texts
    record['text_streams'] = list(sample.get('text_streams', ['AV'] * len(texts)))
    # clone: a row of a batch would drag the whole batch through pickle
    record['clip_feats'] = {
        stream: feats.detach().to('cpu', dtype).clone()
        for stream, feats in sample.get('clip_feats', {}).items()
    }
    captions = sample.get('caption_feats')
    if captions is not None:
        record['caption_feats'] = captions.detach().to('cpu', dtype).clone()
    if keep_tokens:
        tokens, ids = sample.get('tokens'), sample.get('caption_ids')
        record['tokens'] = None if tokens is None else tokens.detach().cpu().clone()
        record['caption_ids'] = None if ids is None else [i.cpu().clone() for i in ids]
    _check_record(record)
    return record


def _check_record(record: dict) -> None:
    name, captions = record['sample_id'], record.get('caption_feats')
    found = 0 if captions is None else len(captions)
    if not found == len(record['texts']) == len(record['text_streams']):
        raise CoAVTError(
            f'sample {name!r} has {len(record["texts"])} texts, '
            f'{len(record["text_streams"])} text_streams and {found} caption features'
        )
    tensors = {f'clip_feats[{s}]': t for s, t in record['clip_feats'].items()}
    if captions is not None:
        tensors['caption_feats'] = captions
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CoAVTError(
                f'{key} of sample {name!r} holds NaN or inf; a rank of it would be '
                'meaningless. Look at the clip, or at the checkpoint it came from'
            )


def all_captions(records: list[dict]) -> Tensor:
    """Caption features of all samples in order, (M, E), (0, 0) where there are none."""
    found = [r['caption_feats'] for r in records if r['texts']]
    return torch.cat(found) if found else torch.zeros(0, 0)


def stream_features(
    records: list[dict],
    stream: str,
    captions: Tensor,
    device: torch.device | str = 'cpu',
) -> StreamFeatures | None:
    """Gather the clips that have a stream and the captions that speak of it.

    Args:
        records: One dict a sample, as :func:`make_record` gives it.
        stream: 'AV', 'A' or 'V'.
        captions: (M, E), as :func:`all_captions` gives it.
        device: Where chunks will be scored.

    Returns:
        None where no caption has its clip in the gallery.
    """
    rows, asked, first = [], [], 0  # asked: index, owner, column
    for row, record in enumerate(records):
        if stream in record['clip_feats']:
            asked += [
                (first + column, len(rows), column)
                for column, about in enumerate(record['text_streams'])
                if about in ('AV', stream)
            ]
            rows.append(row)
        first += len(record['texts'])
    if not asked:
        return None
    clips = [records[row]['clip_feats'][stream] for row in rows]
    shapes = {tuple(clip.shape) for clip in clips}
    if len(shapes) > 1:
        raise CoAVTError(MIXED_SHAPES.format(stream, sorted(shapes)))
    index, owner, columns = torch.tensor(asked).unbind(1)
    return StreamFeatures(
        clips=clips,
        captions=captions,
        index=index.contiguous(),
        owner=owner.contiguous(),
        rows=rows,
        columns=columns.tolist(),
        device=torch.device(device),
    )


def stream_texts(records: list[dict], features: StreamFeatures) -> list[str]:
    """The N captions of a stream, in order."""
    rows = [features.rows[clip] for clip in features.owner.tolist()]
    places = zip(rows, features.columns, strict=True)
    return [records[row]['texts'][column] for row, column in places]


def _read_features(path: str) -> dict:
    """``meta`` and ``records`` of a file that ``features_file`` named."""
    saved = load_from_local(path, 'cpu')
    if not isinstance(saved, dict) or set(saved) != {'meta', 'records'}:
        raise CoAVTError(
            f'{path}: no features that RetrievalMetric(features_file=...) saved'
        )
    return saved


@METRICS.register_module()
class RetrievalMetric(BaseMetric):
    """R@k, median and mean rank, both directions, streams AV, A and V apart.

    Similarity is the mean over frames of the best query's cosine. A rank is
    1 + #(better) + #(ties); similarities within 1e-6 are ties. A caption about the
    sound counts for stream A only, one about the picture for V only, one about both
    for all three. A clip asks with its best-ranked caption. Clips that lack a modality
    are not in that stream's gallery.

    Score modes, all from one extraction and each under its own label: 'cosine';
    'matching' (BLIP-2: the top k re-scored with matching logit + similarity);
    'matching_only' (VAST: the logit replaces the score); 'dual_softmax' (softmax over
    the queries of the test set times softmax over its gallery, which looks at all test
    queries at once).

    In float16, the three streams of 20,000 clips with 32 queries of width 256 take
    1 GB; in float32 twice that.

    Args:
        modes: Score modes to report.
        topk: Items per query that the matching head re-scores.
        matching_accuracy: Report the matching head's accuracy on hard held-out pairs.
        match_batch_size: Pairs in one pass of the matching head.
        temperature: Of the dual softmax; divides similarities.
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
        temperature: float = 0.01,
        feature_dtype: str = 'float32',
        out_dir: str | None = None,
        plots: bool = False,
        features_file: str | None = None,
        note: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        unknown = set(modes) - set(MODES)
        if unknown:
            raise ConfigError(f'unknown score modes {sorted(unknown)}; known: {MODES}')
        if feature_dtype not in ('float32', 'bfloat16', 'float16'):
            raise ConfigError(f'feature_dtype {feature_dtype!r} is not a float type')
        if plots and out_dir is None:
            raise ConfigError('plots=True needs an out_dir to save them in')
        self.modes = tuple(modes)
        self.topk = topk
        self.matching_accuracy = matching_accuracy
        self.match_batch_size = match_batch_size
        self.temperature = temperature
        self.feature_dtype = getattr(torch, feature_dtype)
        self.out_dir = out_dir
        self.plots = plots
        self.features_file = features_file
        self.note = note
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
        if self.features_file:
            self._save_features(results)
        report = self._describe(results)
        features = self._gather(results)
        ranks = {s: self._rank(s, features[s], results) for s in features}
        if self.matching_accuracy and 'AV' in features:
            self._add_accuracy(report, features['AV'], results)
        self._add_ranks(report, features, ranks)
        self.last_results = report
        print_log('\n' + markdown_table(report), logger='current')
        if self.out_dir:
            save_report(report, self.out_dir)
        if self.plots and features:
            cosine = {s: found['cosine'] for s, found in ranks.items()}
            save_retrieval_plots(self.out_dir, results, features, cosine, report)
        return flat_metrics(report)

    def _save_features(self, results: list[dict]) -> None:
        Path(self.features_file).parent.mkdir(parents=True, exist_ok=True)
        meta = {k: v for k, v in (self.dataset_meta or {}).items() if k in KEPT_META}
        torch.save({'meta': meta, 'records': results}, self.features_file)

    def evaluate_file(
        self, path: str, device: torch.device | str = 'cpu'
    ) -> dict[str, float]:
        """Score features that ``features_file`` saved, without extracting again.

        Args:
            path: The file.
            device: Where similarities are computed.

        Raises:
            CoAVTError: If the file is not of this kind.
        """
        saved = _read_features(path)
        self.dataset_meta, self._device = saved['meta'], torch.device(device)
        return self.compute_metrics(saved['records'])

    def _require_model(self) -> None:
        if self.needs_model and self.model is None:
            raise ConfigError(
                'RetrievalMetric was asked for the matching head, but has no model: '
                'add the hook that hands it over, or set metric.model'
            )

    def _describe(self, results: list[dict]) -> dict:
        whole = [record for record in results if not record['error']]
        return {
            'metric': 'retrieval',
            **describe_clips(self.dataset_meta, results),
            'captions': sum(len(record['texts']) for record in whole),
            'ceilings': (self.dataset_meta or {}).get('ceilings'),
            'note': self.note,
        }

    def _gather(self, records: list[dict]) -> dict[str, StreamFeatures]:
        captions = all_captions(records)
        found = {
            stream: stream_features(records, stream, captions, self._device)
            for stream in STREAMS
        }
        return {stream: feats for stream, feats in found.items() if feats is not None}

    def _rank(
        self, stream: str, features: StreamFeatures, records: list[dict]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Ranks of cosine and of the other modes asked: {mode: ((N,), (G,))}."""
        cosine = count_ranks(features)
        ranks = {'cosine': cosine}
        if 'dual_softmax' in self.modes:
            bias = dual_softmax_bias(features, self.temperature)
            ranks['dual_softmax'] = count_ranks(features, *bias)
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

    def _add_accuracy(
        self, report: dict, features: StreamFeatures, records: list[dict]
    ) -> None:
        scorer = PairScorer(self.model, records, features, self.match_batch_size)
        shares = matching_accuracy(features, scorer, stream_texts(records, features))
        report['matching_accuracy'] = shares.pop('all')
        report['matching_accuracy_parts'] = shares
