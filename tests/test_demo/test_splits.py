from collections import Counter

import numpy as np
import pytest

from coavt_mm.demo.grammar import PICTURES, SOUNDS
from coavt_mm.demo.splits import (
    bound_sound,
    choose_bound_pairs,
    choose_pairs,
    held_out_pairs,
)
from coavt_mm.errors import ConfigError


@pytest.mark.parametrize(
    'train, val, test', [(2000, 100, 200), (33, 0, 1), (13, 2, 7), (300, 37, 4000)]
)
def test_sets_share_no_combination(train, val, test):
    sets = choose_pairs(train, val, test, seed=5)
    assert [len(pairs) for pairs in sets] == [train, val, test]
    train_set, val_set, test_set = map(set, sets)
    assert len(test_set) == test and len(val_set) == val
    assert not test_set & train_set
    assert not val_set & train_set
    assert not val_set & test_set


def test_neither_half_tells_test_clips_apart():
    pairs = held_out_pairs(200, set(), np.random.default_rng(0))
    per_picture = Counter(picture for picture, _ in pairs)
    per_sound = Counter(sound for _, sound in pairs)
    assert set(per_picture.values()) == {4}
    assert set(per_sound.values()) == {3, 4}


@pytest.mark.parametrize('number', [1, 2, 5, 11, 72, 289, 1201, 6000])
def test_held_out_pairs_are_distinct_and_balanced(number):
    pairs = held_out_pairs(number, set(), np.random.default_rng(number))
    assert len(set(pairs)) == number
    for half in (0, 1):
        counts = Counter(pair[half] for pair in pairs).values()
        assert max(counts) - min(counts) <= 2


def test_held_out_pairs_avoid_taken_ones_on_a_tiny_grid():
    taken = {(p, s) for p in range(len(PICTURES)) for s in range(len(SOUNDS) - 1)}
    pairs = held_out_pairs(3, taken, np.random.default_rng(0))
    assert len(set(pairs)) == 3 and not set(pairs) & taken


def test_training_is_balanced_and_saw_both_halves_of_the_test():
    train, _, test = choose_pairs(2000, 100, 200, seed=0)
    pictures = Counter(picture for picture, _ in train)
    sounds = Counter(sound for _, sound in train)
    assert set(pictures) == set(range(288)) and set(sounds) == set(range(72))
    assert max(pictures.values()) - min(pictures.values()) <= 4
    assert len(set(train)) == len(train)
    assert {picture for picture, _ in test} <= set(pictures)


def test_small_training_set_begins_with_the_tested_pictures():
    train, _, test = choose_pairs(60, 0, 200, seed=0)
    tested = {picture for picture, _ in test}
    seen = {picture for picture, _ in train}
    assert len(tested & seen) >= 40


def test_every_combination_comes_before_any_repeats():
    train, val, test = choose_pairs(20_736, 40, 96, seed=1)
    free = 20_736 - 40 - 96
    assert len(set(train[:free])) == free
    assert len(set(train)) == free


def test_choice_depends_on_the_seed_only():
    assert choose_pairs(50, 10, 20, seed=3) == choose_pairs(50, 10, 20, seed=3)
    assert choose_pairs(50, 10, 20, seed=3) != choose_pairs(50, 10, 20, seed=4)
    longer = choose_pairs(80, 10, 20, seed=3)
    assert longer[0][:50] == choose_pairs(50, 10, 20, seed=3)[0]


def test_too_many_held_out_clips():
    with pytest.raises(ConfigError, match='20736 combinations'):
        choose_pairs(10, 400, 10_000, seed=0)


def test_bound_sounds_follow_shape_colour_and_ground():
    keys = {
        picture: (shape, colour, ground)
        for picture, (shape, colour, _, ground) in enumerate(PICTURES)
    }
    sounds = {key: set() for key in keys.values()}
    for picture, key in keys.items():
        sounds[key].add(bound_sound(picture))
    assert all(len(found) == 1 for found in sounds.values())
    assert set().union(*sounds.values()) == set(range(72))
    timbres = {(PICTURES[p][0], SOUNDS[bound_sound(p)][0]) for p in keys}
    assert len(timbres) == 6


def test_bound_pairs():
    train, val, test = choose_bound_pairs(300, 50, 100, seed=0)
    assert [len(pairs) for pairs in (train, val, test)] == [300, 50, 100]
    for pairs in (train, val, test):
        assert all(sound == bound_sound(picture) for picture, sound in pairs)
    assert not set(test) & set(train) and not set(val) & set(train)
    assert not set(val) & set(test)
    assert {sound for _, sound in test} <= {sound for _, sound in train}
    assert max(Counter(test).values()) == 2
