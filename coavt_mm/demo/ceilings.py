"""What a perfect model could reach on a test set, from the factors alone."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def _tail_counts(groups: np.ndarray, rank: int) -> np.ndarray:
    """Distribution of how many queries have a rank of at most ``rank``.

    Args:
        groups: (Q,) size of each query's group of ties.
        rank: Rank to count up to.

    Returns:
        (Q + 1,) probabilities of 0 ... Q queries.
    """
    distribution = np.ones(1)
    for size, number in Counter(groups.tolist()).items():
        p = min(1.0, rank / size)
        for _ in range(number):
            distribution = np.convolve(distribution, (1 - p, p))
    return distribution


def _expected_median(groups: np.ndarray) -> float:
    """Expected median of independent ranks, each uniform in its group."""
    n = len(groups)
    middles = {(n - 1) // 2, n // 2}
    expected = [1.0] * len(middles)
    for rank in range(1, int(groups.max())):
        cumulative = np.cumsum(_tail_counts(groups, rank))
        for i, middle in enumerate(sorted(middles)):
            # the middle-th (from 0) smallest rank is above `rank`
            # when at most `middle` queries are not
            expected[i] += cumulative[middle]
    return float(np.mean(expected))


def group_ceiling(groups: Sequence[int]) -> dict[str, float]:
    """Expected retrieval numbers where a query's candidates tie.

    Args:
        groups: (Q,) for each query, how many gallery entries fit it equally well,
            its own included. A perfect model puts these first, in random order.

    Returns:
        ``R@1``, ``R@5``, ``R@10`` in per cent, ``MedR`` and ``MeanR`` (1 is best).
    """
    sizes = np.asarray(groups)
    numbers = {
        f'R@{k}': 100 * np.mean(np.minimum(k, sizes) / sizes) for k in (1, 5, 10)
    }
    numbers['MedR'] = _expected_median(sizes)
    numbers['MeanR'] = np.mean((sizes + 1) / 2)
    return {key: round(float(value), 4) for key, value in numbers.items()}


def retrieval_ceilings(
    pictures: Sequence[Hashable], sounds: Sequence[Hashable]
) -> dict[str, dict[str, float]]:
    """Expected retrieval numbers of perfect AV, A and V models on a test set.

    Captions name the factors only, so clips that share the picture can't be told
    apart by sight, nor clips that share the sound by ear. The numbers hold in both
    directions, with one caption a clip.

    Args:
        pictures: (B,) the visual combination of each clip.
        sounds: (B,) the audio combination of each clip.

    Returns:
        Stream -> numbers of :func:`group_ceiling`.
    """
    keys: dict[str, list] = {
        'AV': list(zip(pictures, sounds, strict=True)),
        'A': list(sounds),
        'V': list(pictures),
    }
    ceilings = {}
    for stream, values in keys.items():
        counts = Counter(values)
        ceilings[stream] = group_ceiling([counts[value] for value in values])
    return ceilings
