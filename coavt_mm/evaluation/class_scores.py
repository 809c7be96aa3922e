"""Numbers of a classification, from scores and labels; scikit-learn's definitions.

Letters: B clips, C classes.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

TASKS = ('multi_label', 'single_label')
TOP = (1, 5)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def d_prime(auc: float | None) -> float | None:
    """Distance of two unit normal distributions with this area under the ROC curve.

    None where the area is 0 or 1 (d' is infinite) or not known.
    """
    if auc is None or not 0 < auc < 1:
        return None
    return float(np.sqrt(2) * norm.ppf(auc))


def multi_label_scores(scores: np.ndarray, labels: np.ndarray) -> dict:
    """Average precision and area under the ROC curve, averaged over classes.

    A class without a positive clip has no AP, one without a negative clip no AUC; they
    are left out of the means. Scores that tie count as one threshold, so a constant
    score has the share of positives as its AP.

    Args:
        scores: (B, C).
        labels: (B, C) bool.

    Returns:
        ``mAP``, ``mAUC``, ``d_prime`` (of mAUC), and ``per_class``: C times AP or None.
    """
    ap = [
        float(average_precision_score(truth, score)) if truth.any() else None
        for truth, score in zip(labels.T, scores.T, strict=True)
    ]
    auc = [
        roc_auc_score(truth, score)
        for truth, score in zip(labels.T, scores.T, strict=True)
        if truth.any() and not truth.all()
    ]
    mean_auc = _mean(auc)
    return {
        'mAP': _mean([value for value in ap if value is not None]),
        'mAUC': mean_auc,
        'd_prime': d_prime(mean_auc),
        'per_class': ap,
    }


def confusion(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often a class (row) had which class (column) as its best: (C, C) counts."""
    best = np.eye(scores.shape[1], dtype=np.int64)[_order(scores)[:, 0]]
    return labels.astype(np.int64).T @ best


def single_label_scores(scores: np.ndarray, labels: np.ndarray) -> dict:
    """Top-k accuracy, and accuracy averaged over the classes that occur.

    A clip may have several labels (VGGSounder): it counts as right at k when one of
    them is among the k best (VGGSounder's hit rate), and ``f1``, over all pairs of clip
    and class, is given as well. Scores that tie are taken in the order of
    scikit-learn's ``top_k_accuracy_score``, later classes first.

    Args:
        scores: (B, C).
        labels: (B, C) bool, a label or more in each row.

    Returns:
        ``top1``, ``top5`` (with more than five classes), ``mean_class_accuracy``,
        perhaps ``f1``, and ``per_class``: C times accuracy or None.
    """
    classes = scores.shape[1]
    order = _order(scores)
    hits = np.take_along_axis(labels, order, axis=1)  # (B, C), best first
    numbers = {
        f'top{k}': _mean(hits[:, :k].any(axis=1)) for k in TOP if k == 1 or k < classes
    }
    table = confusion(scores, labels)
    accuracy = [
        float(row[i] / row.sum()) if row.any() else None for i, row in enumerate(table)
    ]
    numbers['mean_class_accuracy'] = _mean([a for a in accuracy if a is not None])
    if (labels.sum(axis=1) > 1).any():
        best = np.eye(classes, dtype=bool)[order[:, 0]]
        numbers['f1'] = float(f1_score(labels, best, average='micro'))
    return {**numbers, 'per_class': accuracy}


def _order(scores: np.ndarray) -> np.ndarray:
    """(B, C) class indices, best first."""
    return np.argsort(scores, axis=1, kind='stable')[:, ::-1]


def class_scores(task: str, scores: np.ndarray, labels: np.ndarray) -> dict:
    """The numbers of one of the two tasks."""
    function = multi_label_scores if task == 'multi_label' else single_label_scores
    return function(scores, labels)


def ceiling(task: str, labels: np.ndarray, sensed: np.ndarray) -> dict:
    """What a model reaches that knows some classes for certain and others not at all.

    It scores a class that it can sense with the truth, another one with its share of
    the clips.

    Args:
        task: One of :data:`TASKS`.
        labels: (B, C) bool.
        sensed: (C,) bool.

    Returns:
        The means of :func:`class_scores`.
    """
    numbers = class_scores(task, np.where(sensed, labels, labels.mean(axis=0)), labels)
    del numbers['per_class']
    return numbers
