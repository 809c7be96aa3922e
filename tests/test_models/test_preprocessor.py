import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement
from torchaudio.compliance.kaldi import fbank

from coavt_mm.batches import caption_key, stable_key
from coavt_mm.errors import ConfigError
from coavt_mm.models.preprocessor import AVTDataPreprocessor
from coavt_mm.registry import MODELS


def packed(name, samples=4000, length=8000, frames=1, size=(6, 5), texts=('a dog',),
           streams=('AV',)):  # fmt: skip
    """A packed sample with `samples` of true sound padded to `length`."""
    generator = torch.Generator().manual_seed(len(name) + (samples or 0))
    waveform = None
    if samples:
        waveform = torch.zeros(length)
        waveform[:samples] = torch.randn(samples, generator=generator) * 0.1 + 0.3
    shape = (frames, 3, *size)
    picture = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    lengths = torch.tensor([len(t.split()) + 2 for t in texts])
    return dict(
        inputs=dict(
            frames=picture if frames else None,
            waveform=waveform,
            input_ids=torch.arange(int(lengths.sum())) + 1,
            caption_lengths=lengths,
        ),
        data_samples=BaseDataElement(
            metainfo=dict(
                sample_id=name,
                texts=list(texts),
                text_streams=list(streams),
                audio_samples=samples,
            )
        ),
    )


def run(samples, training=False, **options):
    options.setdefault('spec_frames', 64)
    preprocessor = MODELS.build(dict(type=AVTDataPreprocessor, **options))
    return preprocessor(pseudo_collate(samples), training)['inputs']


def test_frames_are_normalised():
    sample = packed('a')
    inputs = run([sample])
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    expected = (sample['inputs']['frames'].float() - mean) / std
    assert inputs['frames'].shape == (1, 1, 3, 6, 5)
    assert torch.allclose(inputs['frames'][0], expected, atol=1e-6)


@pytest.mark.parametrize('divisor', [1, 2])
def test_spectrogram_goes_the_way_of_cav_mae(divisor):
    sample = packed('a', samples=4321)
    true = sample['inputs']['waveform'][:4321]
    mel = fbank(
        (true - true.mean())[None], htk_compat=True, window_type='hanning',
        use_energy=False, num_mel_bins=128, dither=0.0, frame_shift=10,
        sample_frequency=16000,
    )  # fmt: skip
    mel = torch.nn.functional.pad(mel, (0, 0, 0, 64 - len(mel)))
    expected = (mel + 5.081) / (4.4849 * divisor)
    result = run([sample], spec_divisor=divisor)['spectrogram'][0]
    assert (result - expected).abs().max() < 1e-3


def test_a_long_sound_is_cropped():
    assert run([packed('a', 8000)], spec_frames=7)['spectrogram'].shape == (1, 7, 128)


def test_mixed_lengths_equal_one_by_one():
    samples = [packed('a', 3000, 3000), packed('bb', 8000), packed('ccc', 401, 900)]
    together = run(samples)['spectrogram']
    alone = torch.cat([run([sample])['spectrogram'] for sample in samples])
    assert torch.allclose(together, alone, atol=1e-4)


def test_missing_modalities_are_flagged_and_zero():
    samples = [packed('a'), packed('b', samples=0), packed('c', frames=0)]
    inputs = run(samples)
    assert inputs['has_audio'].tolist() == [True, False, True]
    assert inputs['has_visual'].tolist() == [True, True, False]
    assert not inputs['spectrogram'][1].any() and not inputs['frames'][2].any()
    assert inputs['spectrogram'][0].any() and inputs['frames'][1].any()


@pytest.mark.parametrize('first', [0, 1])
def test_a_first_clip_without_a_modality_does_not_decide_for_all(first):
    samples = [packed('a', samples=0, frames=0), packed('b')]
    inputs = run(samples[first:] + samples[:first])
    assert sorted(inputs['has_audio'].tolist()) == [False, True]


def test_batches_that_lack_a_modality_have_no_tensor_for_it():
    assert 'frames' not in run([packed('a', frames=0)])
    inputs = run([packed('a', samples=0)])
    assert 'spectrogram' not in inputs and inputs['has_audio'].tolist() == [False]


def test_a_sound_shorter_than_a_window_counts_as_none():
    inputs = run([packed('a', samples=399), packed('b')])
    assert inputs['has_audio'].tolist() == [False, True]
    assert not inputs['spectrogram'][0].any()


def test_captions():
    samples = [
        packed('a', texts=('one two three', 'x'), streams=('AV', 'A')),
        packed('b', texts=('X ',), streams=('V',)),
    ]
    inputs = run(samples, pad_token_id=9)
    assert inputs['input_ids'].tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 9],
                                            [1, 2, 3, 9, 9]]  # fmt: skip
    assert inputs['attention_mask'].sum(1).tolist() == [5, 3, 3]
    assert inputs['caption_clip'].tolist() == [0, 0, 1]
    assert inputs['caption_key'][1] == inputs['caption_key'][2]
    assert inputs['caption_streams'].tolist() == [
        [True, True, True], [False, True, False], [False, False, True],
    ]  # fmt: skip
    assert inputs['clip_key'].tolist() == [stable_key('a'), stable_key('b')]


def test_without_text_there_are_no_captions():
    sample = packed('a')
    sample['inputs'].update(input_ids=None, caption_lengths=None)
    assert 'input_ids' not in run([sample])


def test_keys_are_stable():
    assert stable_key('a') == 2340832890917691671  # the same in every process
    assert 0 <= stable_key('x') < 2**63
    assert caption_key('A  Dog\n') == caption_key('a dog') != caption_key('adog')


def test_unlike_shapes_are_named():
    with pytest.raises(ConfigError, match='of a, .* of b'):
        run([packed('a'), packed('b', size=(6, 7))])


AUGMENT = dict(freq_mask=40, time_mask=20, noise=0.1, time_roll=30)


def test_augments_in_training_only():
    samples = [packed('a'), packed('b')]
    plain = run(samples)['spectrogram']
    assert torch.equal(run(samples, augment=AUGMENT)['spectrogram'], plain)
    torch.manual_seed(0)
    assert not torch.equal(run(samples, True, augment=AUGMENT)['spectrogram'], plain)


def test_masks_differ_between_clips_and_hold_zero_before_normalisation():
    torch.manual_seed(0)
    samples = [packed('a', 8000, 12000)] * 6
    masked = run(samples, True, augment=dict(freq_mask=60))['spectrogram'][:, :48]
    hidden = (masked - 5.081 / 4.4849).abs().amax(dim=1) < 1e-5  # (B, M)
    widths = hidden.sum(1)
    assert widths.max() < 60 and widths.max() > 0
    assert len({tuple(row) for row in hidden.tolist()}) > 1


def test_time_roll_is_circular():
    torch.manual_seed(0)
    sample = packed('a', 8000)
    plain = run([sample])['spectrogram'][0]
    rolled = run([sample], True, augment=dict(time_roll=30))['spectrogram'][0]
    assert any(torch.equal(rolled, plain.roll(k, 0)) for k in range(-30, 31))


def test_noise_is_bounded():
    torch.manual_seed(0)
    sample = packed('a', 8000)
    noise = run([sample], True, augment=dict(noise=0.1))['spectrogram']
    noise = noise - run([sample])['spectrogram']
    assert noise.min() >= 0 and 0 < noise.max() <= 0.1 + 1e-5


def test_a_mistyped_augmentation_is_an_error():
    with pytest.raises(ConfigError, match='freq_msk'):
        AVTDataPreprocessor(augment=dict(freq_msk=3))


def test_float32_inside_autocast():
    with torch.autocast('cpu', torch.bfloat16):
        inputs = run([packed('a')], True, augment=AUGMENT)
    assert inputs['spectrogram'].dtype == inputs['frames'].dtype == torch.float32


def test_sound_of_another_rate_is_refused():
    sample = packed('a')
    sample['data_samples'].set_metainfo(dict(sample_rate=8000))
    with pytest.raises(
        ConfigError, match='sound of a was read at 8000 Hz, .* takes 16000 Hz'
    ):
        run([sample])


def test_the_front_end_knows_size_hop_and_scale():
    front_end = AVTDataPreprocessor(
        spec_frames=40, spec_mean=-4.0, spec_std=2.0, spec_divisor=2.0,
        logmel=dict(sample_rate=32000, num_mel_bins=64, frame_shift=20.0),
    ).front_end  # fmt: skip
    assert front_end.size == (40, 64) and front_end.sample_rate == 32000
    assert front_end.hop == 0.02 and front_end.seconds == pytest.approx(0.8)
    energies = torch.randn(2, 40, 64)
    normalised = front_end.normalise(energies)
    torch.testing.assert_close(normalised, (energies + 4.0) / 4.0)
    torch.testing.assert_close(front_end.invert(normalised), energies)


class Loudness(torch.nn.Module):
    """A front end that is no log-mel: the loudness of each 100 samples."""

    sample_rate, hop, size, seconds = 8000, 100 / 8000, (8, 1), 0.1

    def num_frames(self, samples):
        return samples // 100

    def forward(self, waveform, valid):
        energies = waveform.unfold(1, 100, 100).square().mean(2)[:, :8, None]
        return energies * (torch.arange(8) < valid[:, None])[..., None]

    def normalise(self, energies):
        return 10 * energies

    def invert(self, spectrogram):
        return spectrogram / 10


def test_another_front_end_is_named_by_the_config():
    MODELS.register_module(module=Loudness, name='Loudness', force=True)
    own = dict(spec_frames=1024, front_end=dict(type='Loudness'))  # the default
    inputs = run([packed('a', samples=400)], **own)
    spectrogram = inputs['spectrogram']
    assert spectrogram.shape == (1, 8, 1) and inputs['has_audio'].tolist() == [True]
    assert (spectrogram[0, :4] > 0).all() and not spectrogram[0, 4:].any()
    with pytest.raises(ConfigError, match='front_end takes the place of spec_frames'):
        run([packed('a')], front_end=dict(type='Loudness'), spec_frames=40)
