"""Mixup: partners, shares, and what the preprocessor makes of them."""

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement

from coavt_mm.errors import ConfigError
from coavt_mm.models import AVTDataPreprocessor
from coavt_mm.models.mixup import Mix, draw_mix


def test_partners_are_others_of_the_same_kind():
    torch.manual_seed(0)
    kind = torch.tensor([3, 3, 1, 3, 2, 1, 3])
    seen = {i: set() for i in range(7)}
    for _ in range(60):
        mix = draw_mix(kind, 1.0, 10.0)
        for i, partner in enumerate(mix.partner.tolist()):
            seen[i].add(partner)
            assert partner == i if i == 4 else (0 < mix.share[i] < 1)
    assert seen[4] == {4} and seen[2] == {5} and seen[5] == {2}
    assert seen[0] == {1, 3, 6}
    assert mix.share[4] == 1


def test_probability_and_spread_of_shares():
    torch.manual_seed(0)
    mix = draw_mix(torch.zeros(4000, dtype=torch.int64), 0.5, 10.0)
    mixed = mix.share < 1
    assert 0.47 < mixed.float().mean() < 0.53
    assert torch.equal(mix.partner == torch.arange(4000), ~mixed)
    shares = mix.share[mixed]
    # Beta(10, 10): mean 1/2, variance 1/84
    assert abs(shares.mean() - 0.5) < 0.01
    assert abs(shares.var() - 1 / 84) < 0.001


@pytest.mark.parametrize('clips', [1, 2])
def test_small_batches(clips):
    mix = draw_mix(torch.zeros(clips, dtype=torch.int64), 1.0, 10.0)
    assert mix.partner.tolist() == ([0] if clips == 1 else [1, 0])
    x = torch.randn(clips, 2, 3)
    expected = mix.share.view(-1, 1, 1) * x
    expected += (1 - mix.share.view(-1, 1, 1)) * x.flip(0)
    torch.testing.assert_close(mix(x), expected)


def packed(name, samples=4000, frames=1):
    generator = torch.Generator().manual_seed(len(name))
    waveform = torch.zeros(6000)
    waveform[:samples] = 0.1 * torch.randn(samples, generator=generator) + 0.2
    picture = torch.randint(
        0, 256, (1, 3, 5, 4), dtype=torch.uint8, generator=generator
    )
    meta = dict(sample_id=name, audio_samples=samples)
    return dict(
        inputs=dict(
            frames=picture if frames else None,
            waveform=waveform if samples else None,
            input_ids=None,
            caption_lengths=None,
        ),
        data_samples=BaseDataElement(metainfo=meta),
    )


def run(clips, training=True, probability=1.0):
    preprocessor = AVTDataPreprocessor(
        spec_frames=40, augment=dict(mixup=probability, mixup_alpha=10)
    )
    torch.manual_seed(3)
    return preprocessor(pseudo_collate(clips), training)['inputs'], preprocessor


def test_waveforms_and_frames_are_mixed_in_one_proportion():
    clips = [packed('a', 4000), packed('bb', 6000)]
    inputs, preprocessor = run(clips)
    assert inputs['mix_partner'].tolist() == [1, 0]
    share = inputs['mix_share']
    raw = [c['inputs']['frames'][0].float() for c in clips]
    waves = [c['inputs']['waveform'].clone() for c in clips]
    for wave, length in zip(waves, (4000, 6000), strict=True):
        wave[:length] -= wave[:length].mean()
    for i in range(2):
        picture = share[i] * raw[i] + (1 - share[i]) * raw[1 - i]
        expected = (picture - preprocessor.frame_mean) / preprocessor.frame_std
        torch.testing.assert_close(inputs['frames'][i, 0], expected)
        wave = share[i] * waves[i] + (1 - share[i]) * waves[1 - i]
        mel = preprocessor.logmel(wave[None])[0]  # 36 frames, as the longer one has
        expected = torch.zeros(40, 128)
        expected[: len(mel)] = mel
        expected = (expected + 5.081) / 4.4849
        got = inputs['spectrogram'][i]
        torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-3)


def test_a_silent_clip_is_mixed_with_silent_ones_only():
    clips = [
        packed('a'),
        packed('bb', 0),
        packed('ccc', 300),
        packed('dd'),
        packed('e', 0),
    ]
    inputs, _ = run(clips)  # 300 samples are shorter than a window: nothing to hear
    assert inputs['mix_partner'].tolist()[::3] == [3, 0]
    assert set(inputs['mix_partner'].tolist()[1:3]) <= {1, 2, 4}
    assert inputs['has_audio'].tolist() == [True, False, False, True, False]


@pytest.mark.parametrize(('training', 'probability'), [(False, 1.0), (True, 0.0)])
def test_not_at_test_and_not_by_default(training, probability):
    inputs, _ = run([packed('a'), packed('bb')], training, probability)
    plain, _ = run([packed('a'), packed('bb')], False)
    assert 'mix_share' not in inputs
    assert torch.equal(inputs['frames'], plain['frames'])


@pytest.mark.parametrize('augment', [dict(mixup=1.5), dict(mixup=0.5, mixup_alpha=0)])
def test_settings_that_make_no_sense(augment):
    with pytest.raises(ConfigError, match='mixup is a probability'):
        AVTDataPreprocessor(augment=augment)


def test_mix_keeps_what_is_not_mixed_exactly():
    x = torch.randn(3, 4)
    mix = Mix(torch.arange(3), torch.ones(3))
    assert torch.equal(mix(x), x)
