import time
from itertools import islice

import pytest
import torch
from media_files import write_rows
from mmengine.runner import Runner

from coavt_mm.datasets import ShardSampler, samplers
from coavt_mm.preparation.shards import Settings, make_shards


class Numbered:
    """Stands for a data set of samples in shards of unlike sizes."""

    shard_numbers = torch.tensor([0] * 5 + [1] * 3 + [2] * 6 + [3] * 1 + [4] * 4)

    def __len__(self):
        return len(self.shard_numbers)


def take(count, **options):
    sampler = ShardSampler(Numbered(), **dict(dict(seed=1), **options))
    return [index for index, *_ in islice(iter(sampler), count)]


@pytest.mark.parametrize('buffer', [1, 2, 3, 100])
def test_every_epoch_has_every_sample_once_in_another_order(buffer):
    drawn = take(57, buffer=buffer)
    epochs = [drawn[:19], drawn[19:38], drawn[38:]]
    assert all(sorted(epoch) == list(range(19)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert take(57, buffer=buffer) == drawn != take(57, buffer=buffer, seed=2)


@pytest.mark.parametrize('buffer, at_once', [(1, 1), (2, 2)])
def test_few_shards_are_open_at_a_time(buffer, at_once):
    shards = Numbered.shard_numbers[take(19, buffer=buffer)].tolist()
    changes = sum(a != b for a, b in zip(shards, shards[1:], strict=False))
    assert (changes == 4) == (buffer == 1)
    first = [shards.index(n) for n in range(5)]
    last = [18 - shards[::-1].index(n) for n in range(5)]
    for position in range(19):
        live = sum(f <= position <= e for f, e in zip(first, last, strict=True))
        assert live <= at_once


def test_shards_are_shuffled():
    orders = {tuple(Numbered.shard_numbers[take(19, seed=s)].tolist()) for s in (0, 1)}
    assert len(orders) == 2
    assert take(19, shuffle=False) == list(range(19))


def test_rows_are_sorted_by_shard_once():
    """Not looked for shard by shard, which takes shards times rows."""

    class Many(Numbered):
        shard_numbers = torch.arange(400_000) * 7919 % 40_000

    began = time.process_time()
    members = ShardSampler(Many(), seed=0).members
    assert time.process_time() - began < 2  # 40,000 looks at 400,000 rows take a minute
    assert len(members) == 40_000
    for number in (0, 1, 39_999):
        expected = (Many.shard_numbers == number).nonzero()[:, 0]
        assert torch.equal(members[number], expected)


@pytest.mark.parametrize('start', [1, 18, 19, 45])
def test_continues_anywhere(start):
    assert take(10, start=start, buffer=2) == take(start + 10, buffer=2)[start:]


KINDS = {
    'AVTDataset': ('m.jsonl', 'ResumableSampler'),
    'AVTShardDataset': ('index.jsonl', 'ShardSampler'),
}


def epoch(folder, kind):
    """What a rank with two workers sees in 7 batches of 2, and its bad clips."""
    file, sampler = KINDS[kind]
    pipeline = [
        dict(type='LoadFrames', num_frames=2),
        dict(type='LoadAudio', seconds=0.1),
        dict(type='PickCaption'),
        dict(type='PackAVTInputs'),
    ]
    dataset = dict(
        type=f'coavt_mm.{kind}',
        ann_file=f'{folder}/{file}',
        pipeline=pipeline,
        max_bad_share=0.9,
    )
    sampler = dict(type=f'coavt_mm.{sampler}', seed=0)
    loader = Runner.build_dataloader(
        dict(dataset=dataset, sampler=sampler, batch_size=2, num_workers=2), seed=0
    )
    batches = [batch for batch, _ in zip(loader, range(7), strict=False)]
    ids = [s.sample_id for batch in batches for s in batch['data_samples']]
    return ids, loader.dataset.bad_ids


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_two_ranks_with_two_workers_see_every_sample_once(
    tmp_path, clip, kind, monkeypatch
):
    """28 samples: 7 batches of 2 on each rank; one is bad in its file and in its
    shard, and its place is taken by another, which is counted where it was drawn."""
    rows = [{'id': f'c{i}', 'clip': str(clip), 'captions': ['x']} for i in range(28)]
    make_corpus(tmp_path, rows)
    damage(tmp_path, rows)
    ranks = []
    for rank in range(2):
        monkeypatch.setattr(samplers, 'get_dist_info', lambda rank=rank: (rank, 2))
        ranks.append(epoch(tmp_path, kind))
    (one, bad_one), (two, bad_two) = ranks
    assert len(one) == len(two) == 14
    assert set(bad_one + bad_two) == {'c20'}  # workers read ahead: maybe on both
    missing = {f'c{i}' for i in range(28)} - set(one) - set(two)
    assert missing == {'c20'} and len(set(one + two)) == 27


def make_corpus(folder, rows):
    manifest = write_rows(folder / 'm.jsonl', rows)
    settings = Settings(num_frames=2, short_side=24, seconds=0.1)
    make_shards(manifest, folder, settings=settings, per_shard=5)


def damage(folder, rows):
    """Makes the clip c20 unreadable, in its file and in its shard."""
    (folder / 'broken.mp4').write_text('no film')
    rows[20]['clip'] = str(folder / 'broken.mp4')
    write_rows(folder / 'm.jsonl', rows)
    path = folder / 'shard-000004.tar'
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
