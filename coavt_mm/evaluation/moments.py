"""When in a long clip: found spans against true ones.

Letters: Q queries, M found moments, T true ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from coavt_mm.errors import CoAVTError
from coavt_mm.registry import METRICS

RECALL_AT = (0.5, 0.7)  # IoU
AVERAGED = tuple(np.arange(50, 100, 5) / 100)  # IoU that mAP is the mean over


def iou(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Intersection over union of spans: (M, T).

    Args:
        found: (M, 2), start and end in s.
        true: (T, 2).
    """
    start = np.maximum(found[:, None, 0], true[None, :, 0])
    end = np.minimum(found[:, None, 1], true[None, :, 1])
    shared = np.clip(end - start, 0, None)
    lengths = np.diff(found)[:, 0][:, None] + np.diff(true)[:, 0][None]
    return shared / np.maximum(lengths - shared, 1e-9)


def average_precision(overlaps: np.ndarray, least: float) -> float:
    """Average precision of one query, the precision made monotone as in QVHighlights.

    A found moment takes the true one that it covers best among those that no better
    ranked one has taken.

    Args:
        overlaps: (M, T) IoU, the found moments best first.
        least: IoU that counts.
    """
    free = np.ones(overlaps.shape[1], bool)
    hits = []
    for row in overlaps:
        left = np.where(free, row, -1.0)
        best = int(left.argmax())
        hits.append(bool(left[best] >= least))
        free[best] &= not hits[-1]
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    best_behind = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_behind[np.array(hits, bool)].sum() / len(free))


def moment_scores(
    found: Sequence[Sequence[Sequence[float]]],
    true: Sequence[Sequence[Sequence[float]]],
) -> dict[str, float]:
    """Score the moments of Q queries, in per cent.

    Args:
        found: For each query its moments (start, end in s), best first.
        true: For each query the true ones, at least one.

    Returns:
        ``R1@0.5``, ``R1@0.7`` (the first moment overlaps so much with a true one),
        ``mAP@0.5``, ``mAP@0.75`` and ``mAP``, the mean over IoU 0.5, 0.55 ... 0.95.

    Raises:
        CoAVTError: There is no query, or one has no true moment or an empty one.
    """
    if not true or len(found) != len(true):
        raise CoAVTError(f'{len(found)} queries have answers, {len(true)} true moments')
    tables = []
    for spans, wanted in zip(found, true, strict=True):
        target = np.array(wanted, float).reshape(-1, 2)
        if not len(target) or not (target[:, 1] > target[:, 0]).all():
            raise CoAVTError(f'a query needs true moments that last, not {wanted}')
        tables.append(iou(np.array(spans, float).reshape(-1, 2), target))
    scores = {
        f'R1@{least:g}': np.mean([t.size and t[0].max() >= least for t in tables])
        for least in RECALL_AT
    }
    precisions = {
        least: np.mean([average_precision(t, least) if t.size else 0.0 for t in tables])
        for least in AVERAGED
    }
    scores |= {f'mAP@{least:g}': precisions[least] for least in (0.5, 0.75)}
    scores['mAP'] = np.mean(list(precisions.values()))
    return {name: 100 * float(value) for name, value in scores.items()}


@METRICS.register_module()
class MomentMetric(BaseMetric):
    """R@1 at IoU 0.5 and 0.7, and mAP, of moments found in long clips.

    A data sample is a query: ``moments``, (start, end) in s, the best first, and
    ``true_moments``. :func:`moment_scores` is the same without mmengine.

    Args:
        **kwargs: ``collect_device``, ``collect_dir`` and ``prefix`` of mmengine.
    """

    default_prefix = 'moments'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the queries of a batch."""
        for sample in data_samples:
            self.results.append((sample['moments'], sample['true_moments']))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Score all queries; see :func:`moment_scores`."""
        found, true = zip(*results, strict=True)
        return moment_scores(found, true)
