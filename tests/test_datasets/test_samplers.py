import pickle
import random
from collections import Counter
from itertools import islice

import pytest
import torch
from mmengine.registry import DATA_SAMPLERS

from coavt_mm.datasets import samplers
from coavt_mm.datasets.samplers import (
    EpochSampler,
    ResumableSampler,
    SampleRequest,
    balanced_weights,
)
from coavt_mm.errors import ConfigError


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
    drawn = [index for index, *_ in take(ResumableSampler(range(7), seed=0), 21)]
    epochs = [drawn[:7], drawn[7:14], drawn[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_seed_decides():
    first, same, other = (ResumableSampler(range(9), seed=s) for s in (1, 1, 2))
    assert take(first, 20) == take(same, 20) != take(other, 20)


def test_seeds_belong_to_positions():
    seeds = [seed for _, seed, _ in take(ResumableSampler(range(5), seed=0), 50)]
    assert len(set(seeds)) == 50 and all(0 <= seed < 2**32 for seed in seeds)


def test_requests_tell_the_epoch():
    drawn = take(ResumableSampler(range(5), seed=0, start=3), 9)
    assert [request.epoch for request in drawn] == [0, 0, 1, 1, 1, 1, 1, 2, 2]


def test_a_request_reaches_a_worker_whole():
    request = SampleRequest(4, 7, 1, dict(epochs=2))
    copy = pickle.loads(pickle.dumps(request))
    assert (copy, copy.stage) == ((4, 7, 1), dict(epochs=2))


def test_without_shuffling():
    sampler = ResumableSampler(range(3), shuffle=False, seed=0)
    assert [index for index, *_ in take(sampler, 7)] == [0, 1, 2, 0, 1, 2, 0]


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
    seen = sorted(index for part in parts for index, *_ in part)
    assert seen == sorted(list(range(11)) * 2)  # 22 positions, two epochs of 11


def test_length_is_an_epoch_of_the_rank(monkeypatch):
    assert [len(s) for s in ranks(monkeypatch, 2, 11)] == [6, 6]


def test_mmengine_builds_it_as_its_loader_does():
    sampler = DATA_SAMPLERS.build(
        dict(type='coavt_mm.ResumableSampler', shuffle=False),
        default_args=dict(dataset=range(6), seed=4),
    )
    assert isinstance(sampler, ResumableSampler) and sampler.seed == 4


class Labelled:
    """A data set of labels alone."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def get_data_info(self, index):
        return dict(labels=self.labels[index])


def slow_groups(labels, order, size, generator):
    """Clip after clip, by lists."""
    names = sorted({name for each in labels for name in each})
    ranks = torch.randperm(len(names), generator=generator).tolist()
    rank = dict(zip(names, ranks, strict=True))
    keys = [sorted(rank[name] for name in each) for each in labels]
    groups = torch.tensor(sorted(order.tolist(), key=keys.__getitem__)).split(size)
    dealt = torch.randperm(len(groups), generator=generator).tolist()
    return torch.cat([groups[i] for i in dealt])


@pytest.mark.parametrize('most', [0, 1, 3])
@pytest.mark.parametrize('count, size', [(1, 4), (5, 2), (37, 4), (300, 8)])
def test_groups_equal_the_slow_version(count, size, most):
    """Also of clips without labels, with some twice and of those that begin alike."""
    draw = random.Random(count)
    labels = [draw.choices('abcdefg', k=draw.randint(0, most)) for _ in range(count)]
    options = dict(seed=3, curriculum=[dict(group_size=size)])
    sampler = ResumableSampler(Labelled(labels), **options)
    for epoch in range(3):
        generator = torch.Generator().manual_seed(3 + epoch)
        order = torch.randperm(count, generator=generator)
        expected = slow_groups(labels, order, size, generator)
        assert torch.equal(sampler._order(epoch), expected)


SKEWED = Labelled([['dog']] * 90 + [['cat']] * 9 + [['cat', 'owl']])


def test_balanced_weights():
    weights = balanced_weights([['a'], ['a', 'b'], ['a', 'a'], ['b', 'c']])
    assert weights.tolist() == pytest.approx([1 / 3, 1 / 3 + 1 / 2, 1 / 3, 1 / 2 + 1])
    with pytest.raises(ConfigError, match='1 of 2 samples have none, .* number 1'):
        balanced_weights([['a'], []])


def test_balanced_draws_follow_the_weights():
    drawn = take(ResumableSampler(SKEWED, seed=0, balanced=True), 30 * 100)
    counts = Counter(SKEWED.labels[index][-1] for index, *_ in drawn)
    # dogs and cats weigh 1 each in all; the owl 1 and its share of the cats, 0.1
    assert counts['dog'] == pytest.approx(1000, abs=120)
    assert counts['cat'] == pytest.approx(900, abs=120)
    assert counts['owl'] == pytest.approx(1100, abs=120)


@pytest.mark.parametrize('start', [1, 99, 100, 257])
def test_balanced_draws_continue_and_are_shared_by_ranks(monkeypatch, start):
    options = dict(seed=5, balanced=True)
    whole = take(ResumableSampler(SKEWED, **options), start + 40)
    assert take(ResumableSampler(SKEWED, start=start, **options), 40) == whole[start:]
    parts = []
    for rank in range(2):
        monkeypatch.setattr(samplers, 'get_dist_info', lambda rank=rank: (rank, 2))
        parts.append(take(ResumableSampler(SKEWED, start=start, **options), 20))
    together = [sample for group in zip(*parts, strict=True) for sample in group]
    assert together == whole[start:]


def test_balanced_needs_shuffling():
    with pytest.raises(ConfigError, match='shuffle=True'):
        ResumableSampler(SKEWED, shuffle=False, balanced=True)


FACTORS = Labelled([[f'a{i % 3}', f'b{i % 5}', f'c{i % 2}'] for i in range(120)])


def shared(indices):
    return len(set.intersection(*(set(FACTORS.labels[i]) for i in indices)))


def grouped(group_size, after=0, **options):
    stages = [dict(epochs=after)] if after else []
    stages.append(dict(group_size=group_size))
    return ResumableSampler(FACTORS, curriculum=stages, **options)


def test_clips_that_share_labels_come_in_groups():
    drawn = [index for index, *_ in take(grouped(4, seed=0), 240)]
    for epoch in (drawn[:120], drawn[120:]):
        assert sorted(epoch) == list(range(120))
        groups = [epoch[i : i + 4] for i in range(0, 120, 4)]
        assert all(shared(group) == 3 for group in groups)  # 4 clips of each kind
        assert len({tuple(FACTORS.labels[g[0]]) for g in groups[:8]}) > 4  # shuffled
    assert drawn[:120] != drawn[120:]


def test_what_groups_share_changes_from_epoch_to_epoch():
    drawn = [index for index, *_ in take(grouped(12, seed=0), 720)]
    common = set()
    for start in range(0, 720, 12):
        group = [FACTORS.labels[i] for i in drawn[start : start + 12]]
        common |= {name[0] for name in set.intersection(*map(set, group))}
    assert common == {'a', 'b', 'c'}


@pytest.mark.parametrize('start', [1, 119, 120, 257])
def test_groups_continue_from_any_position(start):
    whole = take(grouped(8, seed=5), start + 40)
    assert take(grouped(8, seed=5, start=start), 40) == whole[start:]


@pytest.mark.parametrize('options', [dict(shuffle=False), dict(balanced=True)])
def test_groups_need_shuffling_and_no_weights(options):
    with pytest.raises(ConfigError, match='exclude each other'):
        grouped(2, **options)


def indices(sampler, count):
    return [request.index for request in take(sampler, count)]


def test_first_epochs_may_be_mixed():
    whole = indices(grouped(4, after=1, seed=0), 240)
    assert whole[:120] == indices(ResumableSampler(FACTORS, seed=0), 120)
    assert whole[120:] == indices(grouped(4, seed=0), 240)[120:]


def test_groups_may_end_again():
    stages = [dict(epochs=1, group_size=4)]
    whole = indices(ResumableSampler(FACTORS, seed=0, curriculum=stages), 240)
    assert whole[:120] == indices(grouped(4, seed=0), 120)
    assert whole[120:] == indices(ResumableSampler(FACTORS, seed=0), 240)[120:]


def test_the_old_options_mean_the_same_and_say_the_new_ones():
    for old, new in (
        (dict(alike=4), grouped(4, seed=0)),
        (dict(alike=4, alike_from=1), grouped(4, after=1, seed=0)),
    ):
        with pytest.warns(
            FutureWarning, match=r'curriculum=\[.*group_size.: 4'
        ) as told:
            sampler = ResumableSampler(FACTORS, seed=0, **old)
        assert len(told) == 1
        assert take(sampler, 240) == take(new, 240)
    with pytest.raises(ConfigError, match='alike and curriculum exclude'):
        ResumableSampler(FACTORS, alike=2, curriculum=[dict(group_size=2)])


STAGES = [dict(epochs=2, captions=dict(captions=1.0)), dict(epochs=1.5), dict()]


@pytest.mark.parametrize('world_size', [1, 2, 3])
def test_stages_begin_at_the_same_samples_for_any_number_of_ranks(
    monkeypatch, world_size
):
    parts = [
        take(sampler, 40)
        for sampler in ranks(monkeypatch, world_size, 7, curriculum=STAGES)
    ]
    requests = [request for step in zip(*parts, strict=True) for request in step]
    numbers = [STAGES.index(request.stage) for request in requests[:40]]
    assert numbers == [0] * 14 + [1] * 11 + [2] * 15  # 2 x 7, up to 3.5 x 7 = 24.5


def test_an_epoch_ends_and_the_next_goes_on(monkeypatch):
    stream = take(ResumableSampler(range(7), seed=5), 21)
    sampler = EpochSampler(range(7), seed=5)
    for epoch in (0, 2, 1):  # in any order, as after a resume
        sampler.set_epoch(epoch)
        assert list(sampler) == stream[7 * epoch :][:7]
    assert sorted(index for index, *_ in sampler) == list(range(7))


def test_ranks_share_an_epoch_in_equal_parts(monkeypatch):
    stream = take(ResumableSampler(range(7), seed=5), 16)
    for rank in range(2):
        monkeypatch.setattr(samplers, 'get_dist_info', lambda rank=rank: (rank, 2))
        sampler = EpochSampler(range(7), seed=5)
        sampler.set_epoch(1)
        assert list(sampler) == stream[8 + rank :: 2]  # 4 each, 8 in an epoch


def test_balanced_epochs():
    rows = [dict(labels=['a'])] * 30 + [dict(labels=['b'])] * 2

    class Rows(list):
        get_data_info = list.__getitem__

    sampler = EpochSampler(Rows(rows), seed=0, balanced=True)
    counts = Counter()
    for epoch in range(40):
        sampler.set_epoch(epoch)
        counts.update(rows[index]['labels'][0] for index, *_ in sampler)
    assert counts.total() == 40 * 32
    assert 0.45 < counts['b'] / counts.total() < 0.55
