import pytest

from coavt_mm.visualization import best_and_worst, over_all_ranks


@pytest.mark.parametrize(
    ('ranks', 'number', 'best', 'worst'),
    [
        ([], 3, [], []),
        ([4], 3, [0], []),
        ([4, 1], 3, [1], [0]),
        ([9, 1, 5, 2], 1, [1], [0]),
        ([9, 1, 5, 2], 9, [1, 3], [0, 2]),
        ([1] * 100, 2, [0, 49], [99, 50]),
        ([1, 1, 1, 1, 1, 2, 3, 4, 4, 4], 2, [0, 4], [9, 7]),
    ],
)
def test_best_and_worst(ranks, number, best, worst):
    assert best_and_worst(ranks, number) == (best, worst)


@pytest.mark.parametrize(
    ('ranks', 'number', 'chosen'),
    [
        ([], 6, []),
        ([3], 6, [0]),
        ([3, 1], 6, [1, 0]),
        ([1, 7, 1, 1, 1, 2], 3, [0, 3, 1]),
        ([1, 7, 1], 1, [0]),
    ],
)
def test_over_all_ranks(ranks, number, chosen):
    assert over_all_ranks(ranks, number) == chosen
