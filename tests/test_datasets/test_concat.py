"""Two data sets in one training."""

import json
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from media_files import write_rows
from mmengine.structures import BaseDataElement

from coavt_mm.batches import stack_inputs
from coavt_mm.datasets import (
    AVTDataset,
    AVTShardDataset,
    ConcatDataset,
    ResumableSampler,
    ShardSampler,
)
from coavt_mm.errors import ConfigError


@pytest.fixture
def sets(tmp_path):
    """Configs of a set with labels and one with captions of the sound, no media."""

    def make(name, count, pipeline, about=None, **row):
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            {'id': f'{name}{i}', 'clip': f'{i}.mp4'} | {k: [v] for k, v in row.items()}
            for i in range(count)
        ]
        write_rows(folder / 'train.jsonl', rows)
        if about:
            (folder / 'train.meta.json').write_text(json.dumps(about))
        return dict(
            type='AVTDataset', ann_file='train.jsonl', data_root=str(folder),
            pipeline=pipeline, on_error='raise',
        )  # fmt: skip

    template = dict(type='PickCaption', templates=['a video of {}', 'one sees {}'])
    sound = dict(type='PickCaption', fields=dict(audio_captions=1.0))
    return [
        make('labels', 5, [template], dict(protocol='vgg', missing=2), labels='rain'),
        make('sounds', 3, [sound], audio_captions='it rains'),
    ]


def test_each_keeps_its_folder_and_its_captions(sets, tmp_path):
    data = ConcatDataset(sets)
    assert len(data) == 8
    assert [data.get_data_info(i)['sample_id'] for i in (0, 4, 5, 7)] == [
        'labels0', 'labels4', 'sounds0', 'sounds2'
    ]  # fmt: skip
    last = data[7]
    assert last['clip_path'] == str(tmp_path / 'sounds/2.mp4')
    assert (last['texts'], last['text_streams']) == (['it rains'], ['A'])
    assert data[0]['texts'][0] in ('a video of rain', 'one sees rain')


def test_an_epoch_is_all_clips_and_goes_on_where_it_was(sets):
    data = ConcatDataset(sets)
    curriculum = [dict(epochs=1), dict(hardness=0.5)]
    stream = [*islice(ResumableSampler(data, seed=1, curriculum=curriculum), 24)]
    assert sorted(x.index for x in stream[:8]) == [*range(8)]
    assert [x.epoch for x in stream] == [0] * 8 + [1] * 8 + [2] * 8
    resumed = ResumableSampler(data, seed=1, start=11, curriculum=curriculum)
    assert [*islice(resumed, 13)] == stream[11:]

    seen = [data[request] for request in stream]
    assert [row['epoch'] for row in seen] == [x.epoch for x in stream]
    assert [row['stage'].get('hardness') for row in seen] == [None] * 8 + [0.5] * 16
    again = [data[request] for request in stream]
    assert [row['texts'] for row in again] == [row['texts'] for row in seen]
    assert len({row['texts'][0] for row in seen}) == 3  # both templates


def test_the_captions_of_a_stage_hold_for_both(sets):
    sets[0]['pipeline'] = sets[1]['pipeline'] = [
        dict(type='PickCaption', templates=['{}'])
    ]
    stage = dict(captions=dict(audio_captions=1.0))
    data = ConcatDataset(sets)
    requests = islice(ResumableSampler(data, seed=0, curriculum=[stage]), 8)
    texts = {text for request in requests for text in data[request]['texts']}
    assert texts == {'rain', 'it rains'}


def test_what_is_known_of_both(sets):
    about = ConcatDataset(sets).metainfo
    assert (about['protocol'], about['clips'], about['captions']) == (
        'vgg + train',
        8,
        3,
    )
    assert about['missing'] == 2 and about['classes'] is None
    assert len(about['hash'].split(' + ')) == 2


@pytest.mark.parametrize(
    ('lists', 'shared'),
    [
        ((['dog', 'rain'], ['dog', 'rain']), ['dog', 'rain']),
        ((['rain'], ['dog', 'rain']), None),
        ((['rain'], None), None),
    ],
)
def test_class_indices_are_kept_where_they_mean_the_same(sets, lists, shared):
    def pack(row):
        sample = BaseDataElement(gt_label=torch.tensor(row.get('gt_label', [])))
        return dict(data_samples=sample)

    for config, names in zip(sets, lists, strict=True):
        config.update(classes=names, pipeline=[pack])
    data = ConcatDataset(sets)
    assert data.metainfo['classes'] == shared
    assert all(('gt_label' in data[i]['data_samples']) == bool(shared) for i in (0, 7))


def test_a_set_named_twice_is_drawn_twice_as_often(sets):
    data = ConcatDataset([sets[0], sets[1], sets[1]])
    ids = [data.get_data_info(i)['sample_id'] for i in range(len(data))]
    assert ids.count('sounds0') == 2 and len(ids) == 11


def test_what_can_not_be_mixed_is_said(sets, vocabulary, tmp_path):
    def refused(datasets, reason):
        with pytest.raises(ConfigError, match=reason):
            ConcatDataset(datasets)

    refused([], 'datasets is empty')
    refused([sets[0], dict(sets[1], test_mode=True, missing='skip', check_files=False)],
            'data set 1 has test_mode=True; evaluate one')  # fmt: skip
    refused([torch.utils.data.TensorDataset(torch.zeros(2))], '0 is a TensorDataset')
    other = tmp_path / 'other.txt'
    other.write_text(vocabulary.read_text())
    tokenizers = [
        dict(type='TokenizeText', tokenizer=str(p)) for p in (vocabulary, other)
    ]
    pipelines = [[*sets[i]['pipeline'], tokenizers[i]] for i in (0, 1)]
    refused([dict(sets[i], pipeline=pipelines[i]) for i in (0, 1)],
            '0 and 1 can not be mixed: TokenizeText.tokenizer .*other.txt')  # fmt: skip
    refused([dict(sets[0], pipeline=pipelines[0]), sets[1]], 'vocab.* and None')
    rates = [
        [dict(type='LoadAudio', seconds=1.0, sample_rate=x)] for x in (16000, 8000)
    ]
    refused([dict(sets[i], pipeline=rates[i]) for i in (0, 1)], 'sample_rate is 16000')


def test_a_list_of_manifests_is_pointed_here():
    with pytest.raises(ConfigError, match="type='ConcatDataset', datasets="):
        AVTDataset(ann_file=['a.jsonl', 'b.jsonl'])


def test_shards_of_both_are_told_apart(sets, monkeypatch):
    with pytest.raises(ConfigError, match='data set 0 reads files and no shards'):
        ShardSampler(ConcatDataset(sets))
    with pytest.raises(ConfigError, match='reads files and no shards'):
        ShardSampler(AVTDataset(**{k: v for k, v in sets[0].items() if k != 'type'}))
    numbers = property(lambda self: torch.arange(len(self)) // 2)
    monkeypatch.setattr(AVTDataset, 'shard_numbers', numbers, raising=False)
    assert issubclass(AVTShardDataset, AVTDataset)
    data = ConcatDataset(sets)
    assert data.shard_numbers.tolist() == [0, 0, 1, 1, 2, 3, 3, 4]
    order = [x.index for x in islice(ShardSampler(data, seed=0, buffer=2), 8)]
    assert sorted(order) == [*range(8)]


def test_a_batch_of_clips_with_and_without_text_is_said():
    samples = [SimpleNamespace(sample_id=x, texts=[], audio_samples=0) for x in 'ab']
    packed = dict(frames=[None] * 2, waveform=[None] * 2, caption_lengths=[None] * 2)
    assert 'input_ids' not in stack_inputs({**packed, 'input_ids': [None] * 2}, samples)
    mixed = {**packed, 'input_ids': [torch.tensor([2, 3]), None]}
    with pytest.raises(ConfigError, match='some, such as b, have none: the pipelines'):
        stack_inputs(mixed, samples)
