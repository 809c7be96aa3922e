"""Batches stacked in the worker; tests/test_models/test_steps.py has more of them."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement

from coavt_mm.batches import as_float, as_int16
from coavt_mm.datasets import stack_clips
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.models import AVTDataPreprocessor


def clip(name, waveform):
    meta = dict(
        sample_id=name,
        texts=[],
        text_streams=[],
        audio_samples=0 if waveform is None else len(waveform),
    )
    packed = dict.fromkeys(('frames', 'waveform', 'input_ids', 'caption_lengths'))
    return dict(
        inputs=dict(packed, waveform=waveform),
        data_samples=BaseDataElement(metainfo=meta),
    )


def spectrogram(batch):
    return AVTDataPreprocessor(spec_frames=64)(batch)['inputs']['spectrogram']


def test_sixteen_bits_halve_the_sound_and_round_it():
    g = torch.Generator().manual_seed(0)
    sounds = [0.3 * torch.randn(n, generator=g).clamp(-3, 3) for n in (4000, 3111)]
    clips = [clip('a', sounds[0]), clip('mute', None), clip('b', sounds[1])]
    whole, half = stack_clips(clips), stack_clips(clips, sound='int16')
    crossing = half['inputs']['waveform']
    assert crossing.nbytes * 2 == whole['inputs']['waveform'].nbytes
    assert not crossing[1].any()
    error = as_float(crossing) - whole['inputs']['waveform']
    assert 0 < error.abs().max() <= 0.5 / 2**15
    expected = spectrogram(whole)
    torch.testing.assert_close(spectrogram(half), expected, atol=2e-3, rtol=0)
    quiet = [clip('mute', None)]
    assert 'waveform' not in stack_clips(quiet, sound='int16')['inputs']


def test_sound_of_sixteen_bits_stays_as_it_is():
    steps = torch.arange(-(2**15), 2**15, dtype=torch.int32)
    sound = torch.from_numpy((steps.numpy() / 2**15).astype(np.float32))  # all there is
    assert torch.equal(as_int16(sound).int(), steps)
    assert torch.equal(as_float(as_int16(sound)), sound)
    assert torch.equal(as_float(sound), sound)


def test_clips_of_whole_numbers_are_as_loud():
    sound = as_int16(torch.linspace(-0.5, 0.5, 4000))
    clips = [clip('a', sound), clip('b', as_float(sound))]
    stacked = stack_clips(clips)['inputs']['waveform']
    assert torch.equal(stacked[0], stacked[1]) and stacked[0].abs().max() <= 0.5


def test_what_is_too_loud_is_cut_off():
    sound = torch.tensor([1.0, 7.5, -1.0, -9.0, 0.99999])
    most = 1 - 2**-15
    assert as_float(as_int16(sound)).tolist() == [most, most, -1.0, -1.0, most]


def test_other_kinds_of_sound_are_refused():
    with pytest.raises(ConfigError, match="sound='int8' is not 'float32' or 'int16'"):
        stack_clips([clip('a', torch.zeros(9))], sound='int8')


def test_whole_numbers_have_no_nan():
    clips = [clip('a', torch.zeros(9)), clip('b', torch.full((9,), torch.nan))]
    assert stack_clips(clips)['inputs']['waveform'][1].isnan().all()  # others look
    with pytest.raises(CoAVTError, match='the sound of b holds NaN'):
        stack_clips(clips, sound='int16')
