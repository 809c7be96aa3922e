"""Samples from shards against those from the raw files."""

import shutil

import fsspec
import numpy as np
import pytest
import torch
from media_files import write_rows
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from coavt_mm.datasets import AVTDataset, AVTShardDataset, stack_clips
from coavt_mm.datasets.shards import reading
from coavt_mm.datasets.shards.archive import unpack_piece
from coavt_mm.errors import ClipError, ConfigError, DatasetMissingError
from coavt_mm.models import AVTDataPreprocessor
from coavt_mm.preparation.shards import Settings, make_shards

RESIZE = dict(type='IfVisual', transforms=[
    dict(type='mmaction.Resize', scale=(48, 48), keep_ratio=False)])  # fmt: skip
REST = [dict(type='PickCaption'), dict(type='PackAVTInputs')]


def steps(pick='all', **sound):
    """A pipeline, of raw files and of shards alike."""
    sound = dict(dict(seconds=2.0), **sound)
    return [dict(type='LoadFrames', pick=pick), RESIZE,
            dict(type='LoadAudio', **sound), *REST]  # fmt: skip


def shards(folder, **options):
    options = dict(dict(pipeline=steps()), **options)
    return AVTShardDataset(str(folder / 'index.jsonl'), **options)


def psnr(one, other):
    """Peak signal-to-noise ratio of two uint8 tensors in dB."""
    error = (one.float() - other.float()).square().mean().item()
    return 10 * np.log10(255**2 / max(error, 1e-9))


@pytest.mark.parametrize('index', range(11))
def test_samples_equal_those_of_the_raw_files(corpus, made, index):
    raw = AVTDataset(str(corpus), pipeline=steps())[index]
    found = shards(made)[index]
    for key in ('sample_id', 'clip_path', 'texts', 'text_streams', 'has_audio',
                'has_visual', 'audio_samples', 'start', 'end'):  # fmt: skip
        assert found['data_samples'].get(key) == raw['data_samples'].get(key), key
    assert found['data_samples'].gt_label.equal(raw['data_samples'].gt_label)
    frames, expected = found['inputs']['frames'], raw['inputs']['frames']
    assert (frames is None) == (expected is None)
    if frames is not None:
        # JPEG at quality 95 after area scaling; the red corner is a hard edge
        assert frames.shape == expected.shape and psnr(frames, expected) > 28
        assert abs(frames.float().mean() - expected.float().mean()) < 1.5
        times = [sample['data_samples'].frame_times for sample in (found, raw)]
        assert np.allclose(*times, atol=1e-5)
    waveform, expected = found['inputs']['waveform'], raw['inputs']['waveform']
    assert (waveform is None) == (expected is None)
    if waveform is not None:  # 16 bit
        assert (waveform - expected).abs().max() <= 4e-5


def test_frames_of_the_same_size_differ_by_the_jpeg_only(corpus, made):
    raw = AVTDataset(str(corpus), pipeline=steps())[0]['inputs']['frames']
    assert psnr(shards(made)[0]['inputs']['frames'], raw) > 38


@pytest.mark.parametrize('crop', ['start', 'center', 'random'])
def test_a_seed_picks_the_same(corpus, made, crop):
    """Frame, window of the sound and caption; clip 8 is longer than the window."""
    options = dict(pick='random', seconds=1.0, crop=crop)
    raw = AVTDataset(str(corpus), pipeline=steps(**options))
    packed = shards(made, pipeline=steps(**options))
    drawn = set()
    for seed in range(4):
        one, other = raw[8, seed], packed[8, seed]
        times = [sample['data_samples'].frame_times for sample in (one, other)]
        assert np.allclose(*times, atol=1e-5)
        drawn.add(times[0][0])
        sounds = [sample['inputs']['waveform'] for sample in (one, other)]
        best = min(
            (sounds[0][2:-2] - sounds[1][2 + shift : len(sounds[1]) - 2 + shift])
            .abs().max()
            for shift in (-1, 0, 1)  # windows may begin a sample apart
        )  # fmt: skip
        assert best < 1e-3
        assert one['data_samples'].texts == other['data_samples'].texts
    assert len(drawn) > 1


def test_opus_sounds_the_same(corpus, tmp_path):
    make_shards(corpus, tmp_path, settings=Settings(short_side=48, codec='opus'))
    raw = AVTDataset(str(corpus), pipeline=steps())
    packed = shards(tmp_path)
    for index in (0, 2, 9, 10):
        sounds = [s[index]['inputs']['waveform'].numpy() for s in (raw, packed)]
        assert np.corrcoef(*sounds)[0, 1] > 0.99
        assert np.abs(sounds[0] - sounds[1]).mean() < 0.02


def test_metainfo_is_that_of_the_manifest(corpus, made):
    raw, packed = AVTDataset(str(corpus)).metainfo, shards(made).metainfo
    assert raw.keys() == packed.keys()
    changed = {key for key in raw if raw[key] != packed[key]}
    assert changed == {'manifest', 'clips', 'captions', 'missing', 'missing_ids'}
    assert packed['missing'] == raw['missing'] + 1 == 4
    assert packed['missing_ids'] == ['broken']
    assert packed['clips'] == raw['clips'] - 1 == 11 and packed['captions'] == 22


def test_exclude_and_indices(made, tmp_path):
    (tmp_path / 'leak.txt').write_text('plain\n')
    dataset = shards(made, exclude=str(tmp_path / 'leak.txt'), indices=3)
    assert dataset[0]['data_samples'].sample_id == 'wide' and len(dataset) == 3
    assert dataset.metainfo['excluded'] == 1 and dataset.metainfo['clips'] == 3


@pytest.fixture
def bucket(made):
    """The shards behind an address."""
    memory = fsspec.filesystem('memory')
    for path in made.iterdir():
        memory.pipe(f'/bucket/train/{path.name}', path.read_bytes())
    yield 'memory://bucket/train/index.jsonl'
    memory.rm('/bucket', recursive=True)


@pytest.mark.parametrize('cached', [False, True])
def test_any_address_that_fsspec_opens(made, bucket, tmp_path, cached):
    cache_dir = str(tmp_path / 'cache') if cached else None
    remote = AVTShardDataset(
        bucket, pipeline=steps(), cache_dir=cache_dir, test_mode=True
    )
    local = shards(made)
    for index in (10, 0, 5, 1):
        one, other = (d[index]['inputs']['frames'] for d in (remote, local))
        assert (one is None and other is None) or one.equal(other)
    if cached:  # now without the address
        fsspec.filesystem('memory').rm('/bucket/train/shard-000000.tar')
        assert remote[3]['data_samples'].sample_id == 'odd'
        assert len(list((tmp_path / 'cache').glob('*.tar'))) == 3


def test_a_root_may_be_an_address(bucket):
    dataset = AVTShardDataset('train/index.jsonl', 'memory://bucket')
    assert len(dataset) == 11


def test_a_damaged_copy_is_not_kept(bucket, tmp_path):
    memory = fsspec.filesystem('memory')
    content = memory.cat('/bucket/train/shard-000000.tar')
    memory.pipe('/bucket/train/shard-000000.tar', content[:-1] + b'x')
    dataset = AVTShardDataset(
        bucket, pipeline=steps(), cache_dir=str(tmp_path), on_error='raise'
    )
    with pytest.raises(ClipError, match='clip plain: .*000000.tar: its checksum'):
        dataset[0]
    assert not list(tmp_path.glob('*.tar')) and not list(tmp_path.glob('*.tmp'))


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_damage_is_one_bad_clip(copied):
    flip(copied / 'shard-000001.tar', 700)
    strict = shards(copied, test_mode=True)
    with pytest.raises(
        ClipError,
        match=r'clip no_sound: .*shard-000001.tar, sample 00000004: .*damaged',
    ):
        strict[4]
    assert strict[5]['data_samples'].sample_id == 'silent'
    training = shards(copied)
    assert training[4, 0]['data_samples'].sample_id != 'no_sound'
    assert training.bad_ids == ['no_sound']
    counting = shards(copied, test_mode=True, on_error='skip')
    sample = counting[4]
    assert 'damaged' in sample['data_samples'].error
    assert sample['inputs']['frames'] is None and sample['inputs']['waveform'] is None


@pytest.mark.parametrize('cut', [True, False])
def test_missing_shards(copied, cut):
    path = copied / 'shard-000001.tar'
    if cut:
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.unlink()
    with pytest.raises(
        DatasetMissingError,
        match='1 shards with 4 of 11 clips are missing or cut short: .*000001.tar',
    ):
        shards(copied, test_mode=True)
    info = shards(copied, test_mode=True, missing='skip').metainfo
    assert info['clips'] == 7 and info['missing'] == 8
    with pytest.raises(DatasetMissingError, match='000001.tar'):
        shards(copied)[7]


def test_missing_index(tmp_path):
    with pytest.raises(DatasetMissingError, match='no index of shards; run it'):
        shards(tmp_path, how_to_get='run it')
    with pytest.raises(DatasetMissingError, match='nosuch'):
        AVTShardDataset('nosuch://bucket/index.jsonl')


def test_frames_must_be_those_that_were_stored(made):
    pipeline = [dict(type='LoadFrames', num_frames=5)]
    with pytest.raises(ConfigError, match='have 10 frames .* num_frames=5'):
        shards(made, pipeline=pipeline)[0]


@pytest.mark.slow
@pytest.mark.parametrize('sampler', ['ResumableSampler', 'ShardSampler'])
def test_a_resumed_loader_gives_what_was_not_seen(made, sampler):
    def seen(start, batches, workers=2):
        loader = Runner.build_dataloader(
            dict(
                dataset=shards(made),
                sampler=dict(type=f'coavt_mm.{sampler}', seed=3, start=start),
                batch_size=2,
                num_workers=workers,
            ),
            seed=0,
        )
        pairs = zip(loader, range(batches), strict=False)
        return [s.sample_id for batch, _ in pairs for s in batch['data_samples']]

    whole = seen(0, 8)
    assert len(set(whole[:11])) == 11
    assert seen(6, 5) == whole[6:] == seen(6, 5, workers=0)


@pytest.mark.parametrize('member', ['01.jpg', 'flac'])
@pytest.mark.parametrize('on_error', ['raise', 'skip'])
def test_a_sample_without_a_member_ends_no_epoch(made, monkeypatch, member, on_error):
    """A StopIteration in a worker would be taken for the end of the data."""

    def unpack(piece):
        members = unpack_piece(piece)
        if b'"wide"' in members['json']:
            del members[member]
        return members

    monkeypatch.setattr(reading, 'unpack_piece', unpack)
    loader = DataLoader(
        shards(made, test_mode=True, on_error=on_error), collate_fn=lambda batch: batch
    )
    if on_error == 'raise':
        with pytest.raises(ClipError, match=f'clip wide: .* has no .*{member}'):
            list(loader)
        return
    samples = [sample['data_samples'] for (sample,) in loader]
    assert [s.sample_id for s in samples if 'error' in s] == ['wide']
    assert len(samples) == 11


@pytest.fixture
def folder_of_many(tmp_path, clip):
    """Shards of 13 clips, and the manifest beside them."""
    rows = [{'id': f'c{i}', 'clip': str(clip), 'captions': ['x']} for i in range(13)]
    manifest = write_rows(tmp_path / 'm.jsonl', rows)
    settings = Settings(num_frames=1, short_side=16, seconds=0.1)
    make_shards(manifest, tmp_path, settings=settings, per_shard=3)
    return tmp_path


@pytest.mark.slow
def test_the_folder_can_be_moved(folder_of_many, tmp_path_factory):
    target = tmp_path_factory.mktemp('elsewhere') / 'shards'
    shutil.move(folder_of_many, target)
    pipeline = [dict(type='LoadFrames', num_frames=1), dict(type='PackAVTInputs')]
    assert len([shards(target, pipeline=pipeline)[i] for i in range(13)]) == 13


def test_sound_of_shards_crosses_as_whole_numbers_without_a_loss(made):
    dataset, preprocess, heard = shards(made), AVTDataPreprocessor(spec_frames=64), 0
    for sample in dataset:
        one, other = (
            preprocess(stack_clips([sample], sound=kind))['inputs']
            for kind in ('float32', 'int16')
        )
        assert set(one) == set(other)
        assert all(torch.equal(one[key], other[key]) for key in one)
        heard += 'spectrogram' in one
    assert heard > 3
