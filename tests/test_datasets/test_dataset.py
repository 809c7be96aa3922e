import json
import os
import random

import numpy as np
import pytest
import torch
from media_files import write_rows
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from coavt_mm.datasets import AVTDataset
from coavt_mm.datasets.dataset import random_state
from coavt_mm.errors import ClipError, ConfigError, DatasetMissingError, ManifestError

LOAD = [
    dict(type='LoadFrames', num_frames=4, pick='all'),
    dict(type='IfVisual', transforms=[
        dict(type='mmaction.Resize', scale=(32, 32), keep_ratio=False)]),
    dict(type='LoadAudio', seconds=1.0, silence_dbfs=-60.0),
    dict(type='PickCaption'),
    dict(type='PackAVTInputs'),
]  # fmt: skip

GOOD = {  # name of a horror -> (has_audio, has_visual)
    'strange_name': (True, True),
    'no_sound': (False, True),
    'silent': (False, True),
    'short_sound': (True, True),
    'mkv_short_sound': (True, True),
    'no_picture': (True, False),
    'six_channels': (True, True),
    'rate_8k': (True, True),
    'rate_96k': (True, True),
    'odd_size': (True, True),
    'one_frame': (True, True),
    'rotated': (True, True),
}
BAD = (
    'truncated', 'truncated_index_first', 'truncated_mkv', 'zero_bytes', 'text',
    'noise', 'folder', 'fifo',
)  # fmt: skip


@pytest.fixture
def chamber(horrors, tmp_path):
    """A manifest of all horrors, a FIFO among them."""
    os.mkfifo(tmp_path / 'pipe.mp4')
    paths = dict(horrors, fifo=tmp_path / 'pipe.mp4')
    rows = [
        {'id': name, 'clip': str(paths[name]), 'captions': [name]}
        for name in (*GOOD, *BAD)
    ]
    return write_rows(tmp_path / 'chamber.jsonl', rows)


def corpus(folder, clip, count=6, **row):
    """A manifest of `count` rows of the same clip."""
    rows = [
        dict({'id': f'c{i}', 'clip': str(clip), 'captions': [f'number {i}']}, **row)
        for i in range(count)
    ]
    return str(write_rows(folder / 'corpus.jsonl', rows))


def identity(row):
    return row


def test_labels_of_other_classes_may_be_dropped(tmp_path, clip):
    path = corpus(tmp_path, clip, count=2, labels=['cat', 'dog', 'rain'])
    options = dict(classes=['rain', 'cat'], pipeline=[lambda row: row])
    row = AVTDataset(path, other_labels='drop', **options)[0]
    assert (row['labels'], row['gt_label']) == (['cat', 'rain'], [1, 0])
    with pytest.raises(ManifestError, match="'dog' is not among the 2 classes"):
        AVTDataset(path, **options)
    with pytest.raises(ConfigError, match='other_labels'):
        AVTDataset(path, other_labels='keep', **options)


def test_metainfo(tmp_path, clip):
    path = corpus(tmp_path, clip, labels=['dog'], audio_captions=['x'])
    (tmp_path / 'corpus.meta.json').write_text(
        json.dumps({'protocol': 'p-6', 'missing': 2, 'ceilings': {'A': 1}})
    )
    info = AVTDataset(path, classes=['cat', 'dog']).metainfo
    assert len(info.pop('hash')) == 12
    assert info == dict(
        protocol='p-6', manifest=path, clips=6, captions=12, missing=2,
        missing_ids=[], excluded=0, classes=['cat', 'dog'], ceilings={'A': 1},
    )  # fmt: skip
    assert AVTDataset(path, protocol='mine').metainfo['protocol'] == 'mine'


def test_rows_reach_the_pipeline(tmp_path, clip):
    path = corpus(tmp_path, clip, labels=['dog', 'cat'])
    (tmp_path / 'classes.txt').write_text('cat\ndog\n')
    classes = str(tmp_path / 'classes.txt')
    row = AVTDataset(path, pipeline=[identity], classes=classes)[3]
    assert row['sample_id'] == 'c3' and row['sample_idx'] == 3
    assert row['gt_label'] == [1, 0] and row['clip_path'] == str(clip)


def test_paths_start_from_the_data_root(tmp_path, clip):
    write_rows(tmp_path / 'm.jsonl', [{'clip': 'a/b.mp4', 'audio': 'c.wav'}])
    dataset = AVTDataset('m.jsonl', str(tmp_path), pipeline=[identity])
    assert dataset[0]['clip_path'] == str(tmp_path / 'a/b.mp4')
    assert dataset[0]['audio_path'] == str(tmp_path / 'c.wav')


def test_indices_count(tmp_path, clip):
    info = AVTDataset(corpus(tmp_path, clip), indices=2).metainfo
    assert info['clips'] == info['captions'] == 2


def test_exclude(tmp_path, clip):
    (tmp_path / 'leak.txt').write_text('c1\nc4\nunknown\n')
    dataset = AVTDataset(
        corpus(tmp_path, clip), exclude=str(tmp_path / 'leak.txt'), pipeline=[identity]
    )
    assert [dataset[i]['sample_id'] for i in range(4)] == ['c0', 'c2', 'c3', 'c5']
    assert dataset.metainfo['excluded'] == 2 and dataset.metainfo['clips'] == 4


def test_unknown_labels_are_errors(tmp_path, clip):
    path = corpus(tmp_path, clip, labels=['dgo'])
    with pytest.raises(ManifestError, match="c0: label 'dgo'.*'dog'"):
        AVTDataset(path, classes=['dog'])


def test_missing_manifest(tmp_path):
    with pytest.raises(DatasetMissingError, match='vgg.jsonl.*see docs/data.md'):
        AVTDataset('vgg.jsonl', str(tmp_path), how_to_get='see docs/data.md')


def test_empty_manifest(tmp_path):
    (tmp_path / 'm.jsonl').write_text('\n')
    with pytest.raises(ManifestError, match='no rows'):
        AVTDataset(str(tmp_path / 'm.jsonl'))


@pytest.mark.parametrize('options', [dict(missing='ignore'), dict(on_error='log')])
def test_bad_policies_are_errors(tmp_path, clip, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        AVTDataset(corpus(tmp_path, clip), **options)


def test_mistyped_arguments_are_errors(tmp_path, clip):
    with pytest.raises(TypeError, match='piepline'):
        AVTDataset(corpus(tmp_path, clip), piepline=[])


@pytest.fixture
def half_gone(tmp_path, clip):
    rows = [
        {'id': str(i), 'clip': str(clip if i % 2 else f'/gone/{i}.mp4'),
         'captions': ['x', 'y']}
        for i in range(6)
    ]  # fmt: skip
    return str(write_rows(tmp_path / 'm.jsonl', rows))


def test_missing_clips_stop_a_test(half_gone):
    with pytest.raises(DatasetMissingError, match='3 of 6 clips .* 0, 2, 4'):
        AVTDataset(half_gone, test_mode=True)


def test_missing_clips_are_counted(half_gone):
    dataset = AVTDataset(half_gone, test_mode=True, missing='skip', pipeline=[identity])
    info = dataset.metainfo
    assert info['missing'] == 3 and info['missing_ids'] == ['0', '2', '4']
    assert info['clips'] == 3 and info['captions'] == 6
    assert [dataset[i]['sample_id'] for i in range(3)] == ['1', '3', '5']


def test_all_missing_is_an_error(tmp_path):
    path = corpus(tmp_path, '/gone.mp4')
    with pytest.raises(DatasetMissingError, match='6 of 6'):
        AVTDataset(path, missing='skip', check_files=True)


def test_in_training_a_missing_clip_is_found_when_drawn(half_gone):
    dataset = AVTDataset(half_gone, pipeline=LOAD)
    assert dataset.metainfo['missing'] == 0
    with pytest.raises(DatasetMissingError, match='3 of 6 clips .* 2'):
        dataset[2]
    sample = AVTDataset(half_gone, pipeline=LOAD, missing='skip')[2]
    assert sample['data_samples'].sample_id in ('1', '3', '5')


def draw(row):
    shape = np.random.rand(), random.random(), torch.rand(1).item()
    return dict(row, drawn=shape)


def test_a_seed_fixes_every_choice(tmp_path, clip):
    dataset = AVTDataset(corpus(tmp_path, clip), pipeline=[draw])
    first, again, other = (dataset[2, seed]['drawn'] for seed in (7, 7, 8))
    assert first == again and not set(first) & set(other)


def test_seeding_leaves_the_training_alone(tmp_path, clip):
    dataset = AVTDataset(corpus(tmp_path, clip), pipeline=[draw])
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first = torch.rand(1)
    assert dataset[0, 5]['sample_idx'] == 0
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


def test_random_state_without_a_seed_changes_nothing():
    np.random.seed(0)
    with random_state(None):
        first = np.random.rand()
    np.random.seed(0)
    assert np.random.rand() == first


def fails_on(*names):
    def pipeline(row):
        np.random.rand()
        if row['sample_id'] in names:
            raise ClipError(f'{row["clip_path"]}: broken')
        return draw(row)

    return pipeline


@pytest.mark.parametrize('test_mode', [True, False])
def test_a_transform_that_runs_dry_ends_no_epoch(tmp_path, clip, test_mode):
    def pipeline(row):
        return next(iter([] if row['sample_id'] == 'c1' else [row['sample_id']]))

    rows = corpus(tmp_path, clip)
    dataset = AVTDataset(
        rows, pipeline=[pipeline], test_mode=test_mode, on_error='raise'
    )
    with pytest.raises(ClipError, match='clip c1: a transform ended with StopIter'):
        list(DataLoader(dataset, collate_fn=lambda batch: batch))


@pytest.mark.parametrize('test_mode', [True, False])
def test_a_transform_that_forgets_its_results_is_said(tmp_path, clip, test_mode):
    path = corpus(tmp_path, clip, count=1)
    forgets = dict(pipeline=[lambda row: None], test_mode=test_mode, on_error='raise')
    dataset = AVTDataset(path, **forgets)
    with pytest.raises(ClipError, match='clip c0: a transform returned None'):
        dataset[0]


def test_training_draws_another_clip_and_counts(tmp_path, clip):
    dataset = AVTDataset(corpus(tmp_path, clip), pipeline=[fails_on('c1', 'c2')])
    drawn = [dataset[1, seed]['sample_id'] for seed in range(20)]
    assert not {'c1', 'c2'} & set(drawn) and len(set(drawn)) > 1
    assert dataset.bad_ids == ['c1', 'c2']


def test_the_other_clip_follows_from_the_seed(tmp_path, clip):
    path, pipeline = corpus(tmp_path, clip), [fails_on('c1', 'c2', 'c4')]
    fresh = [AVTDataset(path, pipeline=pipeline)[1, seed] for seed in range(9)]
    experienced = AVTDataset(path, pipeline=pipeline)
    for index in range(6):
        experienced[index, 100 + index]
    assert [experienced[1, seed]['drawn'] for seed in range(9)] == [
        sample['drawn'] for sample in fresh
    ]


def test_a_bad_clip_is_read_and_logged_once(tmp_path, clip, monkeypatch):
    said = []
    monkeypatch.setattr(
        'coavt_mm.datasets.dataset.print_log', lambda text, **_: said.append(text)
    )
    dataset = AVTDataset(corpus(tmp_path, clip), pipeline=[fails_on('c1')])
    for seed in range(5):
        dataset[1, seed]
    assert said == [f'skipped clip c1: {clip}: broken']


def test_too_many_bad_clips_stop_the_training(tmp_path, clip):
    dataset = AVTDataset(
        corpus(tmp_path, clip, 20), pipeline=[fails_on('c3', 'c5')], max_bad_share=0.08
    )
    with pytest.raises(ClipError, match=r'max_bad_share=0.08: 2 different.*c3, c5'):
        for position in range(200):
            dataset[position % 20, position]
    assert 100 <= position + 1 <= 125
    lenient = AVTDataset(
        corpus(tmp_path, clip, 20), pipeline=[fails_on('c3', 'c5')], max_bad_share=0.2
    )
    assert all(lenient[position % 20, position] for position in range(200))


def test_test_mode_raises_with_the_name(tmp_path, clip):
    dataset = AVTDataset(
        corpus(tmp_path, clip), pipeline=[fails_on('c1')], test_mode=True
    )
    with pytest.raises(ClipError, match=f'clip c1: {clip}: broken'):
        dataset[1]


def test_test_mode_can_go_on_and_say_what_is_missing(chamber):
    dataset = AVTDataset(str(chamber), pipeline=LOAD, test_mode=True, on_error='skip')
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        name = dataset.get_data_info(index)['sample_id']
        assert sample.sample_id == name and sample.texts == [name]
        expected = GOOD.get(name, (False, False))
        assert (sample.has_audio, sample.has_visual) == expected
        assert ('error' in sample) == (name in BAD)
    assert dataset.bad_ids == list(BAD)


@pytest.mark.parametrize('backend', ['decord', 'pyav'])
@pytest.mark.parametrize('workers', [0, 2])
def test_the_chamber_of_horrors_in_a_loader(chamber, backend, workers):
    pipeline = [dict(LOAD[0], backend=backend), *LOAD[1:]]
    with DefaultScope.overwrite_default_scope('coavt_mm'):
        loader = Runner.build_dataloader(
            dict(
                dataset=dict(type='AVTDataset', ann_file=str(chamber),
                             pipeline=pipeline, max_bad_share=0.9),
                sampler=dict(type='ResumableSampler', shuffle=False),
                batch_size=5, num_workers=workers, persistent_workers=workers > 0,
            ),
            seed=0,
        )  # fmt: skip
        batches = [batch for batch, _ in zip(loader, range(8), strict=False)]
    samples = [sample for batch in batches for sample in batch['data_samples']]
    seen = {sample.sample_id: sample for sample in samples}
    assert set(seen) == set(GOOD) and len(samples) == 40
    for name, flags in GOOD.items():
        assert (seen[name].has_audio, seen[name].has_visual) == flags, name
    assert sorted(loader.dataset.bad_ids) == sorted(BAD)


def test_loader_and_workers_agree(tmp_path, make_clip):
    path = corpus(tmp_path, make_clip(), 5)
    pipeline = [
        dict(type='LoadFrames', num_frames=10, pick='random'),
        dict(type='LoadAudio', seconds=0.5, crop='random'),
        dict(type='PickCaption'),
        dict(type='PackAVTInputs'),
    ]

    def batches(workers, start=0):
        loader = Runner.build_dataloader(
            dict(
                dataset=AVTDataset(path, pipeline=pipeline),
                sampler=dict(type='coavt_mm.ResumableSampler', start=start),
                batch_size=2,
                num_workers=workers,
            ),
            seed=3,
        )
        return [batch['inputs'] for batch, _ in zip(loader, range(6), strict=False)]

    alone, helped, resumed = batches(0), batches(2), batches(1, start=4)
    for one, other in zip(alone + alone[2:], helped + resumed[:4], strict=True):
        for key in ('frames', 'waveform'):
            assert all(map(torch.equal, one[key], other[key]))


def test_a_subset_copies_its_own_objects(tmp_path, clip, monkeypatch):
    """mmengine keeps one memo of copies, by ids that go to other objects later."""
    dataset = AVTDataset(corpus(tmp_path, clip), pipeline=[fails_on('c1')])
    (memo,) = BaseDataset._copy_without_annotation.__defaults__
    if memo is None:
        pytest.skip('this mmengine has no such memo')
    known, another = dict(memo), object()
    for value in vars(dataset).values():
        monkeypatch.setitem(memo, id(value), another)
    subset = dataset.get_subset([4, 2, 1])
    assert all(value is not another for value in vars(subset).values())
    assert subset.metainfo['clips'] == 3 and dataset.metainfo['clips'] == 6
    monkeypatch.undo()
    assert memo.keys() == known.keys()


@pytest.mark.parametrize(
    'indices, bad', [([4, 2, 1], ['c2', 'c1']), (2, ['c1']), (-4, ['c2']), ([], [])]
)
@pytest.mark.parametrize('in_place', [True, False])
def test_a_subset_remembers_its_bad_clips(tmp_path, clip, indices, bad, in_place):
    dataset = AVTDataset(corpus(tmp_path, clip), pipeline=[fails_on('c1', 'c2')])
    for index in range(6):
        dataset[index, index]
    subset = dataset if in_place else dataset.get_subset(indices)
    if in_place:
        dataset.get_subset_(indices)
    assert subset.bad_ids == bad
    assert subset.metainfo['clips'] == len(subset)
    assert int(subset._bad.counts.sum()) == 0
    if not in_place:
        assert dataset.bad_ids == ['c1', 'c2'] and dataset.metainfo['clips'] == 6
