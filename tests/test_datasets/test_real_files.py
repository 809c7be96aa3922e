"""Real files through loader and preprocessor: memory, and the losses' masks."""

from fractions import Fraction

import numpy as np
import psutil
import pytest
import torch
from media_files import tone, write_rows, write_sound
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from PIL import Image
from strange_media import cut, write_pcm_wav, write_strange
from tiny_coavt import VOCAB, tiny_coavt

from coavt_mm.datasets import AVTDataset
from coavt_mm.datasets.decoding import backend_order
from coavt_mm.models.preprocessor import AVTDataPreprocessor

pytestmark = pytest.mark.slow

LOAD = [
    dict(type='LoadFrames', num_frames=4, pick=1),
    dict(type='IfVisual', transforms=[
        dict(type='mmaction.Resize', scale=(32, 32), keep_ratio=False)]),
    dict(type='LoadAudio', seconds=0.5, silence_dbfs=-60.0),
]  # fmt: skip


def resident(row):
    """The last transform of the memory test: the worker's memory in MB."""
    return dict(memory=psutil.Process().memory_info().rss / 2**20, id=row['sample_id'])


def strange_clips(folder):
    """One of each build that has killed a process, or taken another way to be read."""
    whole = write_strange(folder / 'whole.mp4')
    picture = folder / 'still.png'
    Image.new('RGB', (40, 30), (200, 100, 50)).save(picture)
    return [
        cut(whole, folder / 'cut.mp4', 1.55, 1.0),
        write_strange(folder / 'offset.ts', video_start=600, audio_start=600),
        write_strange(folder / 'wide.mp4', aspect=Fraction(2)),
        write_strange(folder / 'x.avi', audio='libmp3lame', pts=list(range(30))),
        write_strange(folder / 'r.webm', 'webm', 'libvpx', 'libopus', piped=True,
                      options={'live': '1'}),
        write_pcm_wav(folder / 'film.wav', np.zeros((8, 44100))),
        picture,
    ]  # fmt: skip


@pytest.mark.parametrize('backend', backend_order('decord'))
def test_300_clips_leave_no_memory_behind(make_clip, tmp_path, backend):
    """Read by a loader's worker, many of them over and over; the first 60 warm up."""
    clips = [make_clip(), make_clip(seconds=4.0, size=(160, 96)),
             make_clip(channels=6, sound_rate=48000)]  # fmt: skip
    clips += strange_clips(tmp_path)
    rows = [{'id': f'c{i}', 'clip': str(clips[i % len(clips)])} for i in range(300)]
    manifest = write_rows(tmp_path / 'm.jsonl', rows)
    load = [dict(LOAD[0], pick='all', backend=backend), *LOAD[1:], resident]
    loader = Runner.build_dataloader(
        dict(
            dataset=AVTDataset(str(manifest), pipeline=load),
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1, num_workers=1,
        ),
        seed=0,
    )  # fmt: skip

    samples = list(loader)
    assert len({sample['id'][0] for sample in samples}) == 300
    memory = [sample['memory'][0] for sample in samples]
    assert max(memory) - memory[60] < 50
    assert len({round(value, 1) for value in memory}) > 1  # it was measured


@pytest.mark.parametrize('suffix', ['.wav', '.flac', '.opus'])
def test_sound_in_a_file_of_its_own(make_clip, tmp_path, suffix):
    rate = 48000 if suffix == '.opus' else 22050
    if suffix == '.opus':
        sound = make_clip('.opus', picture=False, codec='libopus', sound_rate=rate,
                          frequency=880.0)  # fmt: skip
    else:
        sound = write_sound(tmp_path / f's{suffix}', tone(880.0, 2.0, rate), rate)
    picture = make_clip(frequency=220.0)  # whose own sound is not to be taken
    rows = [{'id': 'a', 'clip': str(picture), 'audio': str(sound), 'start': 0.5},
            {'id': 'b', 'audio': str(sound), 'start': 0.5}]  # fmt: skip
    manifest = write_rows(tmp_path / 'm.jsonl', rows)
    dataset = AVTDataset(str(manifest), pipeline=[*LOAD, dict(type='PackAVTInputs')])
    both, alone = dataset[0], dataset[1]
    assert both['data_samples'].has_visual and not alone['data_samples'].has_visual
    for sample in (both, alone):
        waveform = sample['inputs']['waveform']
        assert sample['data_samples'].audio_samples == 8000
        assert torch.fft.rfft(waveform).abs().argmax() * 2 == 880  # bins of 2 Hz


KINDS = ('plain', 'silent', 'no_picture', 'no_sound')


@pytest.fixture
def batch(make_clip, tmp_path):
    """Inputs of a model, made of real files, a row for each of `KINDS` and one more."""
    clips = dict(
        plain=make_clip(),
        silent=make_clip(silent=True),
        no_picture=make_clip(picture=False),
        no_sound=make_clip(sound=False),
        another=make_clip(frequency=700.0, size=(80, 64)),
    )
    rows = [
        {'id': name, 'clip': str(path), 'captions': [f'about {name}']}
        for name, path in clips.items()
    ]
    manifest = write_rows(tmp_path / 'm.jsonl', rows)
    pipeline = [*LOAD, dict(type='PickCaption'), dict(type='PackAVTInputs')]
    dataset = AVTDataset(str(manifest), pipeline=pipeline)
    samples = []
    for index in range(5):
        sample = dataset[index]
        sample['inputs']['input_ids'] = torch.tensor([2, 6 + index, 12 + index, 3])
        sample['inputs']['caption_lengths'] = torch.tensor([4])
        samples.append(sample)
    assert VOCAB > 17
    preprocessor = AVTDataPreprocessor(spec_frames=48, logmel=dict(num_mel_bins=32))
    return preprocessor(pseudo_collate(samples), training=True)['inputs']


def stream_losses(model, inputs):
    losses = model(inputs, None, mode='loss')
    return {name: value for name, value in losses.items() if 'loss' in name}


def test_flags_of_real_files(batch):
    assert batch['has_audio'].tolist() == [True, False, True, False, True]
    assert batch['has_visual'].tolist() == [True, True, False, True, True]


@pytest.mark.parametrize('stream', ['AV', 'A', 'V'])
def test_a_clip_takes_part_only_in_what_it_has(batch, stream):
    """The gradient of a stream's contrastive loss at the inputs of each clip."""
    model = tiny_coavt(matching_head=None, lm_head=None)
    for key in ('spectrogram', 'frames'):
        batch[key] = batch[key].clone().requires_grad_()
    losses = stream_losses(model, batch)
    assert all(torch.isfinite(value) for value in losses.values())
    losses[f'loss_contrastive_{stream}'].backward()
    used = torch.zeros(5, dtype=torch.bool)
    for key in ('spectrogram', 'frames'):
        grad = batch[key].grad
        if grad is not None:
            used |= grad.flatten(1).abs().sum(1) > 0
    expected = dict(
        AV=[True, False, False, False, True],
        A=[True, False, True, False, True],
        V=[True, True, False, True, True],
    )[stream]
    assert used.tolist() == expected


def test_what_a_clip_lacks_changes_no_loss(batch):
    """Rows without a modality may hold anything."""
    model = tiny_coavt().eval()
    torch.manual_seed(0)
    before = stream_losses(model, batch)
    spoilt = dict(batch, spectrogram=batch['spectrogram'].clone(),
                  frames=batch['frames'].clone())  # fmt: skip
    spoilt['spectrogram'][[1, 3]] = 100.0
    spoilt['frames'][2] = -100.0
    torch.manual_seed(0)
    after = stream_losses(model, spoilt)
    assert before.keys() == after.keys() and len(before) == 5
    for name, value in before.items():
        assert torch.isfinite(value)
        assert torch.allclose(value, after[name], atol=1e-6), name


def test_a_batch_without_any_sound_trains(batch):
    inputs = {k: v[[1, 3]] for k, v in batch.items() if k != 'spectrogram'}
    model = tiny_coavt()
    losses = stream_losses(model, inputs)
    sum(losses.values()).backward()
    assert losses['loss_contrastive_A'] == 0 == losses['loss_contrastive_AV']
    assert losses['loss_contrastive_V'] > 0
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)
