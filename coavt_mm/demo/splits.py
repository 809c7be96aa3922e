"""Which combinations of picture and sound are in the training, val and test sets."""

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np

from coavt_mm.demo.grammar import PICTURES, SOUNDS
from coavt_mm.errors import ConfigError

#: (index of the picture in PICTURES, index of the sound in SOUNDS)
Pair = tuple[int, int]

CLIPS_PER_PICTURE = 4.0
CLIPS_PER_SOUND = 3.5
#: at least half of the 20,736 combinations stay for training
MAX_HELD_OUT = len(PICTURES) * len(SOUNDS) // 2


def held_out_pairs(
    number: int, taken: set[Pair], rng: np.random.Generator
) -> list[Pair]:
    """Draw combinations for a test set in which neither half suffices.

    The pairs lie on a grid of few pictures and few sounds: about four clips share
    each picture and about 3.5 share each sound, so a model that sees or hears only
    one half can't tell them apart. All pairs are distinct.

    Args:
        number: Pairs wanted.
        taken: Pairs that may not be used (of another held-out set).
        rng: Source of the choice.

    Returns:
        ``number`` pairs in random order.
    """
    pictures = rng.permutation(len(PICTURES))
    sounds = rng.permutation(len(SOUNDS))
    side = math.ceil(math.sqrt(number))
    rows = min(len(PICTURES), max(side, round(number / CLIPS_PER_PICTURE)))
    columns = min(len(SOUNDS), max(side, round(number / CLIPS_PER_SOUND)))
    pairs: list[Pair] = []
    while len(pairs) < number:
        period = math.lcm(rows, columns)
        steps = range(rows * columns)
        # the shift by one after each period visits every cell of the grid once
        cells = ((k % rows, (k + k // period) % columns) for k in steps)
        grid = ((int(pictures[r]), int(sounds[c])) for r, c in cells)
        pairs = list(islice((pair for pair in grid if pair not in taken), number))
        rows = min(len(PICTURES), rows + 1)
        columns = min(len(SOUNDS), columns + 1)
    return [pairs[i] for i in rng.permutation(number)]


def training_pairs(held_out: set[Pair], rng: np.random.Generator) -> Iterator[Pair]:
    """Yield combinations for training without end, none of them held out.

    They come in rounds of 288: a round shows every picture once and every sound
    four times (but for held-out pairs), and 72 rounds visit each combination once
    before any repeats. The first round begins with the pictures that are held out,
    so that even a small training set has seen them, with other sounds.

    Args:
        held_out: Pairs never yielded.
        rng: Source of the order.
    """
    tested = {picture for picture, _ in held_out}
    n_sounds = len(SOUNDS)
    while True:
        pictures = rng.permutation(len(PICTURES)).reshape(-1, n_sounds)
        sounds = rng.permutation(n_sounds)
        # every block of 72 pictures walks through the sounds in its own order
        shifts = [rng.permutation(n_sounds) for _ in pictures]
        for r in range(n_sounds):
            pairs = [
                (int(picture), int(sounds[(i + shift[r]) % n_sounds]))
                for block, shift in zip(pictures, shifts, strict=True)
                for i, picture in enumerate(block)
            ]
            pairs = [pairs[i] for i in rng.permutation(len(pairs))]
            pairs.sort(key=lambda pair: pair[0] not in tested)
            yield from (pair for pair in pairs if pair not in held_out)


def bound_sound(picture: int) -> int:
    """Return the one sound that belongs to a picture in a bound data set.

    The timbre follows the shape; contour and count together follow colour and
    ground. The place stays free, so four pictures share each sound.

    Args:
        picture: Index in PICTURES.

    Returns:
        Index in SOUNDS.
    """
    shape, colour, _, ground = np.unravel_index(picture, (6, 6, 4, 2))
    return int(shape * 12 + colour * 2 + ground)


def _bound_pools(rng: np.random.Generator) -> tuple[list[Pair], ...]:
    """Deal the four pictures of each sound: two to training, one to val and test."""
    pictures: dict[int, list[int]] = {}
    for picture in rng.permutation(len(PICTURES)).tolist():
        pictures.setdefault(bound_sound(picture), []).append(picture)
    hands = (slice(0, 2), slice(2, 3), slice(3, 4))
    return tuple(
        [(p, sound) for sound, four in pictures.items() for p in four[hand]]
        for hand in hands
    )


def _cycle(pool: list[Pair], rng: np.random.Generator) -> Iterator[Pair]:
    while True:
        yield from (pool[i] for i in rng.permutation(len(pool)))


def choose_bound_pairs(
    train: int, val: int, test: int, seed: int
) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Choose pairs in which picture and sound determine each other.

    Each of the 72 sounds is shown at two places in training, at a third in
    validation and at the fourth in the test; pairs repeat with other nuisance.

    Args:
        train: Training clips.
        val: Validation clips.
        test: Test clips.
        seed: Seed of the choice.

    Returns:
        The pairs of training, validation and test clips. No pair is in two sets.
    """
    rng = np.random.default_rng([seed, 3])
    train_pool, val_pool, test_pool = _bound_pools(rng)
    return (
        list(islice(_cycle(train_pool, rng), train)),
        list(islice(_cycle(val_pool, rng), val)),
        list(islice(_cycle(test_pool, rng), test)),
    )


def choose_pairs(
    train: int, val: int, test: int, seed: int
) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Choose the combinations of the three sets.

    Args:
        train: Training clips; beyond the number of combinations they repeat.
        val: Validation clips.
        test: Test clips.
        seed: Seed of the choice.

    Returns:
        The pairs of training, validation and test clips. No pair is in two sets.

    Raises:
        ConfigError: If more than half of all combinations would be held out.
    """
    if val + test > MAX_HELD_OUT:
        raise ConfigError(
            f'{test} test and {val} val clips hold out more than {MAX_HELD_OUT} of '
            f'the {2 * MAX_HELD_OUT} combinations; ask for fewer.'
        )
    test_pairs = held_out_pairs(test, set(), np.random.default_rng([seed, 0]))
    val_pairs = held_out_pairs(val, set(test_pairs), np.random.default_rng([seed, 1]))
    stream = training_pairs({*test_pairs, *val_pairs}, np.random.default_rng([seed, 2]))
    return list(islice(stream, train)), val_pairs, test_pairs
