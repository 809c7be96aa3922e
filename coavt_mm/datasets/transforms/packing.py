"""The packed sample. Letters: C captions, F frames, H, W pixels, S audio samples."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement

from coavt_mm.batches import is_ids, lengths_of
from coavt_mm.errors import ClipError
from coavt_mm.registry import TRANSFORMS

META_KEYS = (
    'sample_id',
    'sample_idx',
    'clip_path',
    'start',
    'end',
    'texts',
    'text_streams',
    'audio_samples',
    'sample_rate',
    'frame_times',
    'error',
)


@TRANSFORMS.register_module()
class PackAVTInputs(BaseTransform):
    """Pack a sample in the form that mmengine's own collate function can batch.

    The result is ``dict(inputs=..., data_samples=...)``. ``inputs`` has always the
    same keys, so that clips with and without a modality meet in one batch:

    - frames: (F, 3, H, W) uint8, or None without a picture
    - waveform: (S,) float32, or None without sound
    - input_ids: the ids of all captions one behind the other, int64; None when the
      pipeline makes no text
    - caption_lengths: (C,) int64, how many of them belong to each caption, or None

    Further ids, of tokenizers with another key, are packed likewise: ``text_ids`` and
    ``text_ids_lengths``.

    ``data_samples`` is a BaseDataElement; its metainfo has the keys below but the
    tensors, and ``has_audio``, ``has_visual``; its field ``gt_label`` the class
    indices.

    Required Keys:

    - imgs (optional)
    - waveform (optional)
    - input_ids (optional)
    - has_audio (optional)
    - has_visual (optional)
    - gt_label (optional)
    - sample_id (optional)
    - sample_idx (optional)
    - clip_path (optional)
    - audio_path (optional)
    - start (optional)
    - end (optional)
    - texts (optional)
    - text_streams (optional)
    - audio_samples (optional)
    - sample_rate (optional)
    - frame_times (optional)
    - error (optional)
    """

    def transform(self, results: dict) -> dict:
        """Packs; a clip with neither sound nor picture is an error."""
        has_audio = bool(results.get('has_audio'))
        has_visual = bool(results.get('has_visual'))
        if not (has_audio or has_visual or results.get('error')):
            raise ClipError(
                f'{results.get("clip_path") or results.get("audio_path")}: '
                f'{_lacking(results)} from {results.get("start", 0):g} s on'
            )
        inputs: dict[str, torch.Tensor | None] = dict.fromkeys(
            ('frames', 'waveform', 'input_ids', 'caption_lengths')
        )
        if has_visual:
            imgs = np.stack(results['imgs']).transpose(0, 3, 1, 2)
            inputs['frames'] = torch.from_numpy(np.ascontiguousarray(imgs))
        if has_audio:
            inputs['waveform'] = torch.from_numpy(results['waveform'])
        for key in filter(is_ids, results):
            inputs[key] = torch.from_numpy(np.concatenate(results[key]))
            inputs[lengths_of(key)] = torch.tensor([len(x) for x in results[key]])
        return dict(inputs=inputs, data_samples=self._describe(results))

    def _describe(self, results: dict) -> BaseDataElement:
        meta = {key: results[key] for key in META_KEYS if key in results}
        sample = BaseDataElement(
            metainfo=dict(
                meta,
                has_audio=bool(results.get('has_audio')),
                has_visual=bool(results.get('has_visual')),
            )
        )
        if 'gt_label' in results:
            sample.gt_label = torch.tensor(results['gt_label'], dtype=torch.int64)
        return sample

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _lacking(results: dict) -> str:
    """What is not there; a pipeline may read one of both alone."""
    if 'has_audio' not in results and 'has_visual' in results:
        return 'no picture, and sound is not read,'
    if 'has_visual' not in results and 'has_audio' in results:
        return 'no sound, and pictures are not read,'
    return 'neither sound nor picture'
