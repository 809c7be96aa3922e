"""The position table against the formula, and the helpers of the losses."""

import math

import pytest
import torch

from coavt_mm.errors import ConfigError
from coavt_mm.models.layers import draw_negatives, global_mean, sincos_table


@pytest.mark.parametrize('grid', [(2, 5), (5, 2), (1, 7), (8, 64)])
@pytest.mark.parametrize('dims', [4, 12])
def test_sincos_table_equals_the_formula(grid, dims):
    rows, cols = grid
    table = sincos_table(dims, rows, cols)
    assert table.shape == (rows * cols, dims)
    quarter = dims // 4
    for token in {0, cols - 1, rows * cols // 2, rows * cols - 1}:
        row, col = divmod(token, cols)
        expected = []
        for position in (col, row):
            angles = [position / 10000 ** (k / quarter) for k in range(quarter)]
            expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert table[token].tolist() == pytest.approx(expected, abs=1e-6)


def test_width_must_be_divisible():
    with pytest.raises(ConfigError, match='multiple of 4'):
        sincos_table(6, 2, 2)


def test_negatives_follow_softmax_and_are_never_forbidden():
    torch.manual_seed(0)
    similarity = torch.tensor([[50.0, math.log(3.0), 0.0], [0.0, 0.0, 0.0]])
    allowed = torch.tensor([[False, True, True], [False, False, False]])
    draws = [draw_negatives(similarity, allowed) for _ in range(2000)]
    first = torch.stack([index[0] for index, _ in draws])
    assert set(first.tolist()) == {1, 2}
    assert (first == 1).float().mean().item() == pytest.approx(0.75, abs=0.04)
    assert draws[0][1].tolist() == [True, False]


def test_global_mean_counts_what_counts():
    values = torch.tensor([1.0, float('inf'), 3.0], requires_grad=True)
    mean = global_mean(values, torch.tensor([True, False, True]))
    assert mean.item() == 2
    nothing = global_mean(values, torch.zeros(3, dtype=torch.bool))
    nothing.backward()
    assert nothing.item() == 0 and values.grad.isfinite().all()
