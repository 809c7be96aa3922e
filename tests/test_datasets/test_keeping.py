"""Decoded clips in a worker's memory: the same samples, without a second reading."""

import shutil

import numpy as np
import pytest

from coavt_mm.datasets.keeping import Kept
from coavt_mm.datasets.sources import ArraySource, FileSource, is_named
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.errors import ClipError, ConfigError


def row(path, start=0.0, end=None):
    return dict(clip_path=str(path), audio_path=str(path), start=start, end=end)


def drawn(transforms, rows, times=3):
    np.random.seed(5)
    return [t(dict(r)) for _ in range(times) for r in rows for t in transforms]


@pytest.mark.parametrize('pick', ['random', 'middle', 'all', 3])
def test_the_samples_are_the_same(make_clip, pick):
    rows = [row(make_clip()), row(make_clip(), 0.5, 1.5), row(make_clip(sound=False))]
    rows.append(row(make_clip(picture=False)))
    found = [
        drawn([LoadFrames(pick=pick, **keep), LoadAudio(seconds=1.0, **keep)], rows)
        for keep in ({}, dict(keep=0.1))
    ]
    for plain, kept in zip(*found, strict=True):
        assert plain.keys() == kept.keys()
        for name, value in plain.items():
            np.testing.assert_equal(kept[name], value)


def test_a_file_is_read_once(make_clip, tmp_path):
    file = tmp_path / 'clip.mp4'
    shutil.copy(make_clip(), file)
    transforms = [LoadFrames(keep=0.1), LoadAudio(seconds=1.0, keep=0.1)]
    before = drawn(transforms, [row(file)])
    file.unlink()
    after = drawn(transforms, [row(file)])
    np.testing.assert_equal([b['frame_times'] for b in before[::2]],
                            [a['frame_times'] for a in after[::2]])  # fmt: skip
    np.testing.assert_equal(before[1]['waveform'], after[1]['waveform'])
    with pytest.raises(ClipError):  # another span was not read
        drawn(transforms, [row(file, 1.0)])


def test_whoever_writes_to_a_sample_changes_no_other(clip):
    transform, rows = LoadFrames(pick='all', keep=0.1), row(clip)
    sound = LoadAudio(seconds=1.0, keep=0.1)
    first, heard = transform(dict(rows)), sound(dict(rows))
    expected, tone = first['imgs'][0].copy(), heard['waveform'].copy()
    first['imgs'][0][:], heard['waveform'][:] = 0, 0
    np.testing.assert_equal(transform(dict(rows))['imgs'][0], expected)
    np.testing.assert_equal(sound(dict(rows))['waveform'], tone)


def test_no_more_than_fits():
    kept, reads = Kept(1e-6), []  # 1000 bytes

    def read(name, size):
        return kept.get(name, lambda: reads.append(name) or np.zeros(size, np.uint8))

    for _ in range(2):
        for name, size in (('a', 600), ('large', 500), ('b', 400), ('c', 1)):
            assert read(name, size).shape == (size,)
    assert reads == ['a', 'large', 'b', 'c', 'large', 'c']
    assert kept.get('none', lambda: None) is None


@pytest.mark.parametrize('keep', [-1, '2', float('nan')])
def test_a_wrong_limit(keep):
    for transform in (LoadFrames, LoadAudio):
        with pytest.raises(ConfigError, match='no number of GB'):
            transform(keep=keep)


def test_what_is_drawn_anew_is_not_kept():
    with pytest.raises(ConfigError, match="keep needs crop='start'"):
        LoadAudio(crop='random', keep=1)
    sampler = dict(type='mmaction.SampleFrames', clip_len=1, num_clips=2)
    with pytest.raises(ConfigError, match='and keep'):
        LoadFrames(sampler=sampler, keep=1)


def test_arrays_and_bytes_have_no_name_to_keep_them_by(clip):
    assert is_named(FileSource(clip)) and is_named(FileSource(str(clip)))
    assert not is_named(FileSource(clip.read_bytes()))
    assert not is_named(ArraySource(np.zeros((1, 2, 2, 3), np.uint8)))
