"""The numbers equal scikit-learn's, with ties, classes without clips, one clip."""

import math

import numpy as np
import pytest
from sklearn import metrics

from coavt_mm.errors import CoAVTError
from coavt_mm.evaluation.class_scores import (
    best_classes,
    ceiling,
    confusion,
    d_prime,
    label_ranks,
    multi_label_scores,
    single_label_scores,
)


def draw(clips, classes, seed=0, single=False):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (clips, classes)) / 5  # many ties
    labels = rng.random((clips, classes)) < 0.4
    if single:
        labels = np.eye(classes, dtype=bool)[rng.integers(0, classes - 1, clips)]
    return scores, labels


def slow_average_precision(score, truth):
    """Precision at every threshold, weighted by the recall that it adds."""
    total, found = 0.0, 0
    for threshold in sorted(set(score), reverse=True):
        chosen = score >= threshold
        right = int((chosen & truth).sum())
        total += (right - found) / truth.sum() * right / chosen.sum()
        found = right
    return total


@pytest.mark.parametrize('seed', range(3))
def test_multi_label_equals_the_slow_version_and_sklearn(seed):
    scores, labels = draw(23, 7, seed)
    got = multi_label_scores(scores, labels)
    slow = [
        slow_average_precision(s, t) for s, t in zip(scores.T, labels.T, strict=True)
    ]
    assert got['per_class'] == pytest.approx(slow)
    macro = dict(average='macro')
    assert got['mAP'] == pytest.approx(
        metrics.average_precision_score(labels, scores, **macro)
    )
    auc = metrics.roc_auc_score(labels, scores, **macro)
    assert got['mAUC'] == pytest.approx(auc)
    # the area between two unit normals at distance d' is Phi(d' / sqrt 2)
    assert (1 + math.erf(got['d_prime'] / 2)) / 2 == pytest.approx(auc)


def test_classes_without_positives_or_negatives_are_left_out():
    scores, labels = draw(9, 4)
    labels[:, 1], labels[:, 2] = False, True
    got = multi_label_scores(scores, labels)
    kept = multi_label_scores(scores[:, [0, 3]], labels[:, [0, 3]])
    assert got['per_class'][1] is None and got['per_class'][2] == 1
    assert got['mAUC'] == pytest.approx(kept['mAUC'])
    assert got['mAP'] == pytest.approx((2 * kept['mAP'] + 1) / 3)


def test_one_clip():
    got = multi_label_scores(np.array([[0.2, 0.9]]), np.array([[True, False]]))
    assert got == dict(mAP=1.0, mAUC=None, d_prime=None, per_class=[1.0, None])
    got = single_label_scores(np.array([[0.2, 0.9]]), np.array([[True, False]]))
    assert (got['top1'], got['per_class']) == (0.0, [0.0, None])


def test_a_constant_score_has_the_share_of_positives_as_ap():
    labels = np.array([[True], [False], [False], [True], [False]])
    got = multi_label_scores(np.full((5, 1), 0.3), labels)
    assert got['mAP'] == pytest.approx(0.4) and got['mAUC'] == pytest.approx(0.5)


@pytest.mark.parametrize(('auc', 'expected'), [(0.5, 0.0), (1.0, None), (None, None)])
def test_d_prime_at_its_ends(auc, expected):
    assert d_prime(auc) == expected


@pytest.mark.parametrize('seed', range(3))
def test_single_label_equals_sklearn(seed):
    _, labels = draw(40, 8, seed, single=True)
    scores = np.random.default_rng(seed).permutation(320).reshape(40, 8) / 320
    truth = labels.argmax(1)
    got = single_label_scores(scores, labels)
    every = dict(labels=np.arange(8))
    for k in (1, 5):
        expected = metrics.top_k_accuracy_score(truth, scores, k=k, **every)
        assert got[f'top{k}'] == pytest.approx(expected)
    best = np.argsort(scores, axis=1, kind='stable')[:, -1]
    table = metrics.confusion_matrix(truth, best, **every)
    assert np.array_equal(confusion(scores, labels), table)
    occurring = metrics.recall_score(
        truth, best, labels=np.unique(truth), average='macro'
    )
    assert got['mean_class_accuracy'] == pytest.approx(occurring)
    assert got['per_class'][7] is None  # the class never drawn
    assert 'f1' not in got


def slow_rank(scores, labels):
    """By loops: 1 + other classes that are not below the best label."""
    best = max(s for s, is_label in zip(scores, labels, strict=True) if is_label)
    others = [s for s, is_label in zip(scores, labels, strict=True) if not is_label]
    return 1 + sum(score >= best - 1e-6 * abs(best) for score in others)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('single', [True, False])
def test_ties_count_against_the_clip(seed, single):
    scores, labels = draw(40, 8, seed, single)
    labels[~labels.any(1), 2] = True
    ranks = label_ranks(scores, labels)
    assert ranks.tolist() == [
        slow_rank(*pair) for pair in zip(scores, labels, strict=True)
    ]
    got = single_label_scores(scores, labels)
    assert got['top1'] == pytest.approx((ranks == 1).mean())
    assert got['top5'] == pytest.approx((ranks <= 5).mean())
    best = best_classes(scores, labels)
    assert np.array_equal(labels[range(40), best], ranks == 1)
    tied_with_the_top = scores[range(40), best] == scores.max(1)
    assert tied_with_the_top.all()


def test_a_dead_head_is_never_right():
    labels = np.eye(3, dtype=bool)[[0, 0, 0, 2]]
    got = single_label_scores(np.full((4, 3), 0.3), labels)
    assert got['top1'] == got['mean_class_accuracy'] == 0
    assert confusion(np.full((4, 3), 0.3), labels).diagonal().sum() == 0
    assert label_ranks(np.full((4, 3), 0.3), labels).tolist() == [3] * 4


def test_small_probabilities_are_no_ties_but_last_bits_are():
    labels = np.eye(3, dtype=bool)[[1]]
    assert label_ranks(np.array([[1 - 3e-9, 2e-9, 1e-9]]), labels).tolist() == [2]
    assert label_ranks(np.array([[0.5, 0.5 + 1e-7, 0.0]]), labels).tolist() == [2]
    assert label_ranks(np.array([[0.5, 0.5 + 1e-5, 0.0]]), labels).tolist() == [1]
    assert label_ranks(np.array([[-2.0, -1.0, -2.0]]), labels).tolist() == [1]


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    'function', [multi_label_scores, single_label_scores, confusion, label_ranks]
)
def test_scores_that_are_not_finite_are_an_error(function, bad):
    scores, labels = draw(6, 4, single=True)
    scores[3, 1] = bad
    with pytest.raises(CoAVTError, match='number 3'):
        function(scores, labels)


def test_a_clip_with_several_labels_is_right_with_any_of_them():
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.1], [0.1, 0.2, 0.8]])
    labels = np.array([[1, 1, 0], [1, 0, 1], [0, 0, 1]], dtype=bool)
    got = single_label_scores(scores, labels)
    assert got['top1'] == pytest.approx(2 / 3)
    assert got['per_class'] == [0.5, 0.0, 0.5]
    # 2 of 3 best classes are labels, of 5 labels 2 are found
    assert got['f1'] == pytest.approx(2 * (2 / 3 * 2 / 5) / (2 / 3 + 2 / 5))
    assert 'top5' not in got


def test_ceiling_of_a_model_that_knows_some_classes():
    _, labels = draw(20, 4)
    sensed = np.array([True, False, True, False])
    shares = labels.mean(0)
    got = ceiling('multi_label', labels, sensed)
    assert got['mAP'] == pytest.approx((2 + shares[1] + shares[3]) / 4)
    _, single = draw(20, 4, single=True)
    blind = ceiling('single_label', single, np.zeros(4, dtype=bool))
    assert blind['top1'] == pytest.approx(single.mean(0).max())
    assert ceiling('single_label', single, sensed | True)['top1'] == 1
    # classes of one size do not tie: a model may guess one of them
    even = np.eye(4, dtype=bool)[[0, 1, 2, 3] * 2]
    assert ceiling('single_label', even, np.zeros(4, dtype=bool))['top1'] == 0.25
