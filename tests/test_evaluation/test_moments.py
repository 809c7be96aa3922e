"""Scores of moments, by hand."""

import numpy as np
import pytest

from coavt_mm.errors import CoAVTError
from coavt_mm.evaluation import MomentMetric
from coavt_mm.evaluation.moments import average_precision, iou, moment_scores


def test_iou():
    found = np.array([[0.0, 2.0], [5.0, 6.0]])
    true = np.array([[1.0, 3.0], [0.0, 2.0], [6.0, 7.0]])
    expected = [[1 / 3, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(iou(found, true), expected)


def test_average_precision():
    overlaps = np.array([[0.9, 0.0], [0.8, 0.0], [0.0, 0.6]])
    assert average_precision(overlaps, 0.5) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(overlaps, 0.7) == pytest.approx(1 / 2)
    assert average_precision(overlaps[2:], 0.95) == 0


def test_scores():
    found = [[(0, 2), (4, 6)], [(0, 1)], []]
    true = [[(0, 1.2)], [(0, 1)], [(3, 4)]]
    scores = moment_scores(found, true)
    assert scores['R1@0.5'] == pytest.approx(200 / 3)  # 0.6, 1 and none
    assert scores['R1@0.7'] == pytest.approx(100 / 3)
    assert scores['mAP@0.5'] == pytest.approx(200 / 3)
    assert scores['mAP'] == pytest.approx(100 * (3 / 10 + 1) / 3)  # 0.5 0.55 0.6


def test_the_metric_is_the_function():
    metric = MomentMetric()
    metric.process(None, [dict(moments=[(0, 1)], true_moments=[(0, 1)])])
    assert metric.evaluate(1)['moments/R1@0.7'] == 100


@pytest.mark.parametrize('true', [[], [[]], [[(1, 1)]]])
def test_a_query_needs_a_true_moment(true):
    with pytest.raises(CoAVTError, match='true moments'):
        moment_scores([[(0, 1)]], true)
