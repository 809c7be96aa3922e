from itertools import islice

import pytest
from mmengine.registry import DATA_SAMPLERS

from coavt_mm.datasets import samplers
from coavt_mm.datasets.samplers import ResumableSampler


def take(sampler, count):
    return list(islice(iter(sampler), count))


def ranks(monkeypatch, world_size, size, **options):
    """One sampler for each rank."""
    result = []
    for rank in range(world_size):
        monkeypatch.setattr(
            samplers, 'get_dist_info', lambda rank=rank: (rank, world_size)
        )
        result.append(ResumableSampler(range(size), seed=5, **options))
    return result


def test_every_epoch_is_another_permutation():
    drawn = [index for index, _ in take(ResumableSampler(range(7), seed=0), 21)]
    epochs = [drawn[:7], drawn[7:14], drawn[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_seed_decides():
    first, same, other = (ResumableSampler(range(9), seed=s) for s in (1, 1, 2))
    assert take(first, 20) == take(same, 20) != take(other, 20)


def test_seeds_belong_to_positions():
    seeds = [seed for _, seed in take(ResumableSampler(range(5), seed=0), 50)]
    assert len(set(seeds)) == 50 and all(0 <= seed < 2**32 for seed in seeds)


def test_without_shuffling():
    sampler = ResumableSampler(range(3), shuffle=False, seed=0)
    assert [index for index, _ in take(sampler, 7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize('start', [0, 1, 6, 7, 8, 100])
def test_continues_from_any_position(start):
    whole = take(ResumableSampler(range(7), seed=3), start + 10)
    resumed = ResumableSampler(range(7), seed=3)
    resumed.start = start
    assert take(resumed, 10) == whole[start:]


@pytest.mark.parametrize('world_size', [2, 3])
def test_ranks_share_the_batches_of_one(monkeypatch, world_size):
    one = take(ResumableSampler(range(10), seed=5), 24)
    parts = [take(s, 24 // world_size) for s in ranks(monkeypatch, world_size, 10)]
    together = [sample for group in zip(*parts, strict=True) for sample in group]
    assert together == one


def test_two_ranks_see_an_odd_epoch_once(monkeypatch):
    parts = [take(s, 11) for s in ranks(monkeypatch, 2, 11)]
    seen = sorted(index for part in parts for index, _ in part)
    assert seen == sorted(list(range(11)) * 2)  # 22 positions, two epochs of 11


def test_length_is_an_epoch_of_the_rank(monkeypatch):
    assert [len(s) for s in ranks(monkeypatch, 2, 11)] == [6, 6]


def test_mmengine_builds_it_as_its_loader_does():
    sampler = DATA_SAMPLERS.build(
        dict(type='coavt_mm.ResumableSampler', shuffle=False),
        default_args=dict(dataset=range(6), seed=4),
    )
    assert isinstance(sampler, ResumableSampler) and sampler.seed == 4
