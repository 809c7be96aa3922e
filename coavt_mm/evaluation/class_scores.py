"""Numbers of a classification, from scores and labels.

Ties count against the clip, as everywhere (:mod:`coavt_mm.evaluation.ranking`): a label
is among the k best classes when fewer than k other ones reach its score. Average
precision and area under the ROC curve are scikit-learn's; they know thresholds and no
order, so that tied clips fall together.

Letters: B clips, C classes.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from coavt_mm.datasets.manifest import nearest
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.models.similarity import TIE_TOLERANCE

#: Task -> the mean that stands for it, and what each class has.
MAIN = {'multi_label': 'mAP', 'single_label': 'top1'}
VALUE = {'multi_label': 'AP', 'single_label': 'accuracy'}
TOP = (1, 5)
SHARES = ('mAP', 'mAUC', 'top1', 'top5', 'mean_class_accuracy', 'f1')
TITLES = {
    'd_prime': "d'",
    'top1': 'top-1',
    'top5': 'top-5',
    'f1': 'F1',
    'mean_class_accuracy': 'mean-class',
}
BEST_CLASSES = 'best_classes.json'


def check_task(task: str) -> None:
    """Refuse a task that is neither of the two.

    Raises:
        ConfigError: The message names them.
    """
    if task not in MAIN:
        raise ConfigError(f'task {task!r} is none of {", ".join(MAIN)}')


def renamed_sensed(
    observable_classes: Mapping[str, Sequence[str]] | None,
    sensed: Mapping[str, Sequence[str]] | None,
) -> dict[str, Sequence[str]]:
    """Take the option under its new name or, with a warning, its old one."""
    if sensed is not None:
        warnings.warn(
            "the option 'sensed' is called 'observable_classes' now, and 'sensed' will "
            'go with the next release',
            FutureWarning,
            stacklevel=3,
        )
    return dict(observable_classes or sensed or {})


def label_indices(sample: dict) -> np.ndarray:
    """Indices of the labels of a prediction.

    Raises:
        ConfigError: If the data set gave it none.
    """
    if 'gt_label' not in sample:
        raise ConfigError(
            f'the clip {sample.get("sample_id")!r} has no gt_label; give the data set '
            'its `classes`'
        )
    return np.asarray(sample['gt_label'].cpu())


def class_mask(names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """(C,) bool, which classes are named.

    Raises:
        ConfigError: If a name is none of the classes.
    """
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ConfigError(
            f'{unknown[0]!r} is none of the {len(classes)} classes'
            f'{nearest(unknown[0], classes)}'
        )
    return np.isin(classes, names)


def label_matrix(labels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """Indices of the labels of B clips -> (B, C) bool."""
    matrix = np.zeros((len(labels), classes), dtype=bool)
    for row, own in zip(matrix, labels, strict=True):
        row[list(own)] = True
    return matrix


def class_names_of(meta: dict | None, metric: str) -> list[str]:
    """Class names of the data set.

    Raises:
        ConfigError: If it has none.
    """
    classes = (meta or {}).get('classes')
    if not classes:
        raise ConfigError(
            f'{metric}: the data set names no classes; give it `classes`, or a '
            'manifest whose sidecar has them'
        )
    return list(classes)


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _check_finite(scores: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise CoAVTError(
            f'the class scores of {len(bad)} clips hold NaN or inf, first those of '
            f'number {bad[0]}; a number of them would be meaningless'
        )


def d_prime(auc: float | None) -> float | None:
    """Distance of two unit normal distributions with this area under the ROC curve.

    None where the area is 0 or 1 (d' is infinite) or not known.
    """
    if auc is None or not 0 < auc < 1:
        return None
    from scipy.special import ndtri

    return float(np.sqrt(2) * ndtri(auc))


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

    Raises:
        CoAVTError: If a score is NaN or inf.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    _check_finite(scores)
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


def label_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rank of each clip's best label: 1 + better other classes + those that tie.

    Scores tie when they differ by less than a millionth of the label's: a constant
    distance would let the small probabilities of a sure model tie.

    Args:
        scores: (B, C).
        labels: (B, C) bool, a label or more in each row.

    Returns:
        (B,) int64.

    Raises:
        CoAVTError: If a score is NaN or inf.
    """
    _check_finite(scores)
    best = np.where(labels, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + (reaches(scores, best) & ~labels).sum(axis=1)


def reaches(scores: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Which scores are better than another one, or tie with it: bool."""
    return scores >= best - TIE_TOLERANCE * np.abs(best)


def best_classes(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class that each clip is taken for, (B,); a wrong one if that ties."""
    beaten = (label_ranks(scores, labels) > 1)[:, None]
    return np.where(labels == beaten, -np.inf, scores).argmax(axis=1)


def confusion(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often a class (row) had which class (column) as its best: (C, C) counts."""
    best = np.eye(scores.shape[1], dtype=np.int64)[best_classes(scores, labels)]
    return labels.astype(np.int64).T @ best


def single_label_scores(scores: np.ndarray, labels: np.ndarray) -> dict:
    """Top-k accuracy, and accuracy averaged over the classes that occur.

    A clip may have several labels (VGGSounder): it counts as right at k when one of
    them is among the k best (VGGSounder's hit rate), and ``f1``, over all pairs of clip
    and class, is given as well.

    Args:
        scores: (B, C).
        labels: (B, C) bool, a label or more in each row.

    Returns:
        ``top1``, ``top5`` (with more than five classes), ``mean_class_accuracy``,
        perhaps ``f1``, and ``per_class``: C times accuracy or None.

    Raises:
        CoAVTError: If a score is NaN or inf.
    """
    classes = scores.shape[1]
    ranks = label_ranks(scores, labels)
    numbers = {f'top{k}': _mean(ranks <= k) for k in TOP if k == 1 or k < classes}
    table = confusion(scores, labels)
    accuracy = [
        float(row[i] / row.sum()) if row.any() else None for i, row in enumerate(table)
    ]
    numbers['mean_class_accuracy'] = _mean([a for a in accuracy if a is not None])
    if (labels.sum(axis=1) > 1).any():
        from sklearn.metrics import f1_score

        best = np.eye(classes, dtype=bool)[best_classes(scores, labels)]
        numbers['f1'] = float(f1_score(labels, best, average='micro'))
    return {**numbers, 'per_class': accuracy}


def class_scores(task: str, scores: np.ndarray, labels: np.ndarray) -> dict:
    """The numbers of one of the two tasks."""
    function = multi_label_scores if task == 'multi_label' else single_label_scores
    return function(scores, labels)


def ceiling(task: str, labels: np.ndarray, observable: np.ndarray) -> dict:
    """What a model reaches that knows some classes for certain and others not at all.

    It scores an observable class with the truth, the others in the order of their
    shares of the clips.

    Args:
        task: One of :data:`MAIN`.
        labels: (B, C) bool.
        observable: (C,) bool, which classes it knows.

    Returns:
        The means of :func:`class_scores`.
    """
    order = labels.mean(axis=0).argsort(kind='stable').argsort()
    guess = (order + 1) / (len(order) + 1)  # no two alike, between false and true
    return mean_numbers(class_scores(task, np.where(observable, labels, guess), labels))


def names_of_best(
    records: Iterable[dict], classes: Sequence[str]
) -> dict[str, dict[str, list[str]]]:
    """Stream -> clip id -> the class with the highest score; several where it ties.

    Scores tie as in :func:`label_ranks`.

    Args:
        records: One dict a clip with ``sample_id``, ``stream`` and ``scores`` (C,).
        classes: C names.
    """
    best: dict[str, dict[str, list[str]]] = {}
    for record in records:
        scores = record['scores']
        top = [classes[int(i)] for i in np.flatnonzero(reaches(scores, scores.max()))]
        best.setdefault(record['stream'], {})[record['sample_id']] = top
    return best


def best_of_clips(
    report: dict, records: Iterable[dict], classes: Sequence[str]
) -> dict:
    """What was tested, and :func:`names_of_best`: the content of best_classes.json."""
    facts = {key: report[key] for key in ('protocol', 'manifest', 'manifest_hash')}
    return {**facts, 'best': names_of_best(records, classes)}


def cell(name: str, value: float | None) -> str:
    """Shares in per cent, d' as it is, '-' for what is not known."""
    if value is None:
        return '-'
    return f'{100 * value:.1f}' if name in SHARES else f'{value:.2f}'


def mean_numbers(report: dict) -> dict[str, float | None]:
    """The means of a report or a part of one: mAP, top1, ..."""
    return {name: report[name] for name in (*SHARES, 'd_prime') if name in report}
