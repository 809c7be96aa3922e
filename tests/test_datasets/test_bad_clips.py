"""What is known of clips that can't be read."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from coavt_mm.datasets.bad_clips import BadClips


def known(*bad, size=6):
    clips = BadClips(torch.zeros(size, dtype=torch.bool))
    for index in bad:
        clips.add(index)
    return clips


def test_a_clip_is_new_once():
    clips = known()
    assert clips.add(3) and not clips.add(3)
    assert 3 in clips and 2 not in clips and clips.indices == [3]


@pytest.mark.parametrize(
    ('indices', 'bad'), [([4, 2, 1], [1, 2]), (2, [1]), (-4, [0]), ([], []), (0, [])]
)
def test_some_of_the_clips(indices, bad):
    clips = known(1, 2)
    part = clips.among(indices)
    assert part.indices == bad
    part.flags.fill_(True)
    assert clips.indices == [1, 2]


def test_too_many_are_more_than_a_share_of_enough_draws():
    clips = known()
    for draw in range(99):
        clips.count(good=draw >= 11)
    assert clips.too_many(0.05) is None
    clips.count(good=True)
    assert clips.too_many(0.10) == (100, 11)
    assert clips.too_many(0.11) is None
    assert clips.among(6).too_many(0.0) is None


class Spoils:
    """A data set that finds every third clip bad."""

    def __init__(self):
        self.bad = known(size=12)

    def __len__(self):
        return 12

    def __getitem__(self, index):
        self.bad.count(good=index % 3 > 0)
        return index % 3 > 0 or self.bad.add(index)


@pytest.mark.parametrize('workers', [0, 2])
def test_workers_share_it(workers):
    dataset = Spoils()
    assert len(list(DataLoader(dataset, num_workers=workers))) == 12
    assert dataset.bad.indices == [0, 3, 6, 9]
    assert dataset.bad.counts.sum(0).tolist() == [12, 4]
    assert pickle.loads(pickle.dumps(dataset.bad)).indices == [0, 3, 6, 9]
