import numpy as np
import pytest

from coavt_mm.demo.ceilings import (
    group_ceiling,
    retrieval_ceilings,
)
from coavt_mm.demo.splits import choose_pairs


def _simulate(keys, draws, rng):
    """Rank a gallery by a perfect model, ties in random order."""
    keys = np.asarray(keys)
    fits = keys[:, None] == keys[None]
    numbers = []
    for _ in range(draws):
        scores = fits + 0.5 * rng.random(fits.shape)
        ranks = 1 + (scores > np.diag(scores)[:, None]).sum(1)
        recalls = [100 * np.mean(ranks <= k) for k in (1, 5, 10)]
        numbers.append([*recalls, np.median(ranks), ranks.mean()])
    return np.mean(numbers, axis=0)


@pytest.mark.parametrize('sizes', [[1, 2, 3, 5], [4] * 6, [13, 2, 2, 1, 1, 1], [3]])
def test_against_simulation(sizes):
    keys = np.repeat(np.arange(len(sizes)), sizes)
    groups = [sizes[key] for key in keys]
    expected = _simulate(keys, 4000, np.random.default_rng(0))
    assert list(group_ceiling(groups).values()) == pytest.approx(expected, rel=0.02)


def test_demo_test_set_against_simulation():
    _, _, test = choose_pairs(1, 0, 200, seed=0)
    pictures, sounds = zip(*test, strict=True)
    ceilings = retrieval_ceilings(pictures, sounds)
    rng = np.random.default_rng(1)
    for stream, keys in (('A', sounds), ('V', pictures)):
        expected = _simulate(keys, 300, rng)
        assert list(ceilings[stream].values()) == pytest.approx(expected, rel=0.02)
    assert ceilings['AV'] == {
        'R@1': 100.0,
        'R@5': 100.0,
        'R@10': 100.0,
        'MedR': 1.0,
        'MeanR': 1.0,
    }
    assert ceilings['V']['R@1'] == 25.0
    assert ceilings['A']['R@1'] < 35.0


def test_repeated_combinations_tie_for_both_modalities():
    ceilings = retrieval_ceilings([0, 0, 1], [5, 5, 5])
    assert ceilings['AV']['R@1'] == pytest.approx(100 * 2 / 3)
    assert ceilings['A']['MeanR'] == 2.0
