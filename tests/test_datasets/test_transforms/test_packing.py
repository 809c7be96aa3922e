import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from coavt_mm.datasets.transforms import PackAVTInputs
from coavt_mm.errors import ClipError


def sample(**changes):
    results = dict(
        sample_id='x',
        sample_idx=3,
        clip_path='x.mp4',
        start=1.0,
        end=None,
        has_visual=True,
        imgs=[np.full((4, 6, 3), (i, 10, 20), np.uint8) for i in range(2)],
        frame_times=[1.0, 2.0],
        has_audio=True,
        waveform=np.ones(5, np.float32),
        audio_samples=4,
        texts=['a', 'b c'],
        text_streams=['AV', 'A'],
        input_ids=[np.array([1, 2]), np.array([1, 5, 2])],
        gt_label=[4, 2],
    )
    results.update(changes)
    return {key: value for key, value in results.items() if value is not ...}


def test_packs():
    packed = PackAVTInputs()(sample())
    inputs, described = packed['inputs'], packed['data_samples']
    assert inputs['frames'].shape == (2, 3, 4, 6)
    assert inputs['frames'].dtype == torch.uint8
    assert inputs['frames'][1, :, 0, 0].tolist() == [1, 10, 20]
    assert inputs['waveform'].tolist() == [1.0] * 5
    assert inputs['input_ids'].tolist() == [1, 2, 1, 5, 2]
    assert inputs['caption_lengths'].tolist() == [2, 3]
    assert described.gt_label.tolist() == [4, 2]
    assert described.metainfo == dict(
        sample_id='x', sample_idx=3, clip_path='x.mp4', start=1.0, end=None,
        has_visual=True, frame_times=[1.0, 2.0], has_audio=True, audio_samples=4,
        texts=['a', 'b c'], text_streams=['AV', 'A'],
    )  # fmt: skip


def test_without_a_modality_or_text():
    inputs = PackAVTInputs()(
        sample(has_visual=False, imgs=..., input_ids=..., gt_label=...)
    )['inputs']
    assert inputs['frames'] is inputs['input_ids'] is inputs['caption_lengths'] is None
    inputs = PackAVTInputs()(sample(has_audio=False, waveform=...))['inputs']
    assert inputs['waveform'] is None


def test_a_clip_of_nothing_is_an_error_unless_it_says_so():
    nothing = dict(has_audio=False, has_visual=False)
    with pytest.raises(ClipError, match='x.mp4: neither sound nor picture from 1 s'):
        PackAVTInputs()(sample(**nothing))
    described = PackAVTInputs()(sample(**nothing, error='broken'))['data_samples']
    assert described.error == 'broken' and not described.has_audio


def test_unlike_samples_collate():
    pack = PackAVTInputs()
    batch = pseudo_collate(
        [
            pack(sample(has_visual=False, imgs=...)),
            pack(sample(input_ids=[np.array([1, 2])], texts=['a'])),
            pack(sample(has_audio=False, waveform=...)),
        ]
    )
    assert [x is None for x in batch['inputs']['frames']] == [True, False, False]
    assert [x is None for x in batch['inputs']['waveform']] == [False, False, True]
    assert [len(x) for x in batch['inputs']['caption_lengths']] == [2, 1, 2]
