import numpy as np
import pytest
import torch
from torch import nn
from torchaudio.compliance.kaldi import fbank

from coavt_mm.models import AVTDataPreprocessor
from coavt_mm.models.logmel import LogMel


def reference(waveform, rate=16000, bins=128):
    """torchaudio's filterbank of one clip, (L, M)."""
    return fbank(
        waveform[None],
        htk_compat=True,
        sample_frequency=rate,
        use_energy=False,
        window_type='hanning',
        num_mel_bins=bins,
        dither=0.0,
        frame_shift=10,
        frame_length=25,
    )


def signals(rate, samples):
    """Tones, noise, a speech-like buzz, a click and silence: (5, S)."""
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(samples) / rate
    harmonics = torch.stack(
        [torch.sin(6.2832 * 120 * k * time) / k for k in range(1, 9)]
    )
    buzz = harmonics.sum(0) * (0.5 + 0.5 * torch.sin(6.2832 * 4 * time)) * 0.2
    click = torch.zeros(samples)
    click[samples // 3] = 1.0
    return torch.stack(
        [
            torch.sin(6.2832 * 440 * time),
            torch.randn(samples, generator=generator) * 0.1,
            buzz,
            click,
            torch.zeros(samples),
        ]
    )


@pytest.mark.parametrize(
    'rate, bins, samples',
    [(16000, 128, 32000), (16000, 128, 7777), (16000, 40, 400), (22050, 80, 11025),
     (8000, 64, 4001)],
)  # fmt: skip
def test_equals_torchaudio(rate, bins, samples):
    waveform = signals(rate, samples)
    result = LogMel(sample_rate=rate, num_mel_bins=bins)(waveform)
    expected = torch.stack([reference(w, rate, bins) for w in waveform])
    assert result.shape == expected.shape
    assert (result - expected).abs().max() < 1e-3


def test_stays_float32_under_autocast():
    waveform = signals(16000, 4000)
    with torch.autocast('cpu', torch.bfloat16):
        result = LogMel()(waveform)
    assert result.dtype == torch.float32
    assert torch.equal(result, LogMel()(waveform))


def test_shorter_than_a_window_gives_no_frames():
    assert LogMel()(torch.ones(2, 399)).shape == (2, 0, 128)


@pytest.mark.parametrize(('samples', 'frames'), [(399, 0), (400, 1), (1600, 8)])
def test_no_clips_give_no_spectrograms(samples, frames):
    assert LogMel()(torch.ones(0, samples)).shape == (0, frames, 128)


@pytest.mark.parametrize('samples', [401, 15999, 40960, 200000])
def test_a_batch_equals_its_clips_and_the_sound_stays(samples):
    # the clips of ten seconds are computed at once, whatever is left over by itself
    waveform = torch.randn(7, samples, generator=torch.Generator().manual_seed(2))
    before, logmel = waveform.clone(), LogMel(num_mel_bins=40)
    one_by_one = [logmel(clip) for clip in waveform.split(1)]
    torch.testing.assert_close(logmel(waveform), torch.cat(one_by_one))
    assert torch.equal(waveform, before)


@pytest.mark.parametrize('samples', [0, 1, 399, 400, 559, 560, 16000])
def test_num_frames_is_that_of_the_output(samples):
    logmel = LogMel()
    frames = logmel(torch.ones(1, samples)).shape[1]
    assert logmel.num_frames(torch.tensor([samples])).tolist() == [frames]


def test_nothing_of_it_is_stored_in_checkpoints():
    assert not LogMel().state_dict()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_gpu_equals_torchaudio():
    waveform = signals(16000, 160000)
    with torch.autocast('cuda', torch.bfloat16):
        result = LogMel().cuda()(waveform.cuda()).cpu()
    expected = torch.stack([reference(w) for w in waveform])
    assert np.abs(result - expected).max() < 1e-3


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_of_a_model_leaves_its_filters_alone(dtype):
    whole, cast = AVTDataPreprocessor(), AVTDataPreprocessor()
    model = nn.Sequential(nn.Linear(2, 2), cast).to(dtype)
    assert model[0].weight.dtype == dtype
    for (name, one), other in zip(whole.named_buffers(), cast.buffers(), strict=True):
        assert torch.equal(one, other), name
    waveform = torch.randn(1, 16000)
    logmels = [
        next(m for m in part.modules() if isinstance(m, LogMel))(waveform)
        for part in (whole, cast)
    ]
    assert torch.equal(*logmels)
