"""Between mmaction2's pipelines and ours."""

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate

from coavt_mm.datasets.transforms import (
    LoadAudio,
    LoadFrames,
    PackAVTInputs,
)
from coavt_mm.datasets.transforms.video import build_transforms
from coavt_mm.errors import ClipError, ConfigError
from coavt_mm.models import AVTDataPreprocessor
from coavt_mm.openmmlab import LoadLogMel

PREPROCESSOR = dict(type='AVTDataPreprocessor', spec_frames=300, spec_mean=-7.0)


def row(path, start=0.0, end=None):
    return dict(clip_path=str(path), start=start, end=end)


def sampler(**options):
    return dict(type='mmaction.SampleFrames', **{'clip_len': 1, **options})


@pytest.mark.parametrize(
    'options',
    [
        dict(num_clips=4, test_mode=True),
        dict(clip_len=5, frame_interval=3, test_mode=True),
        dict(num_clips=3),
    ],
)
def test_sampled_frames_are_those_of_mmaction2(clip, options):
    theirs = build_transforms(
        [dict(type='mmaction.DecordInit'), sampler(**options),
         dict(type='mmaction.DecordDecode')]
    )  # fmt: skip
    np.random.seed(3)
    want = Compose(theirs)(dict(filename=str(clip), start_index=0, modality='RGB'))
    np.random.seed(3)
    got = LoadFrames(sampler=sampler(**options))(row(clip))
    assert got['has_visual'] and got['clip_len'] == len(want['imgs'])
    np.testing.assert_array_equal(np.stack(got['imgs']), np.stack(want['imgs']))


def test_a_span_is_a_film_of_its_own(clip):
    load = LoadFrames(sampler=sampler(num_clips=2, test_mode=True))
    times = load(row(clip, 1.0, 1.8))['frame_times']  # frames 10 to 17 of 0.1 s
    assert np.allclose(times, [1.2, 1.6], atol=1e-3)
    whole = LoadFrames(num_frames=2, pick='all')(row(clip))
    again = load(row(clip))
    np.testing.assert_array_equal(np.stack(again['imgs']), np.stack(whole['imgs']))


def test_no_picture_is_flagged(horrors):
    for path in (horrors['no_picture'], horrors['one_frame']):
        results = LoadFrames(sampler=sampler(num_clips=3))(row(path))
        assert results['has_visual'] == (path == horrors['one_frame'])
        assert len(results.get('imgs', [])) in (0, 3)


def test_a_mistyped_sampler_argument_is_an_error():
    with pytest.raises(ConfigError, match='takes no num_clip; it takes clip_len'):
        LoadFrames(sampler=sampler(num_clip=3))


@pytest.mark.parametrize('key', ['filename', 'audio_path'])
def test_log_mel_is_that_of_pre_training(clip, key):
    got = LoadLogMel(PREPROCESSOR, seconds=1.5)({key: str(clip)})['audios']
    assert got.shape == (1, 300, 128) and got.dtype == np.float32
    sound = LoadAudio(1.5)(dict(audio_path=str(clip), start=0.0, end=None))
    sample = PackAVTInputs()(dict(sound, sample_id='x'))
    options = {k: v for k, v in PREPROCESSOR.items() if k != 'type'}
    ours = AVTDataPreprocessor(**options)(pseudo_collate([sample]))
    assert torch.equal(torch.from_numpy(got), ours['inputs']['spectrogram'])


def test_log_mel_augments_in_training_only(clip):
    options = dict(PREPROCESSOR, augment=dict(noise=0.5))
    plain = LoadLogMel(PREPROCESSOR, 1.5)(dict(filename=str(clip)))['audios']
    for training in (False, True):
        load = LoadLogMel(options, 1.5, training=training)
        same = np.array_equal(load(dict(filename=str(clip)))['audios'], plain)
        assert same != training


def test_no_sound_is_an_error_and_not_zeros(horrors):
    with pytest.raises(ClipError, match='no sound; leave the clip out'):
        LoadLogMel(PREPROCESSOR)(dict(filename=str(horrors['no_sound'])))
    with pytest.raises(ClipError, match='not_there.mp4: No such file'):
        LoadLogMel(PREPROCESSOR)(dict(audio_path=str(horrors['missing'])))
