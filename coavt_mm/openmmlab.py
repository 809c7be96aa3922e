"""Between mmaction2's pipelines and ours: its frame sampling here, our sound there.

Letters: L spectrogram frames, M mel bins.
"""

import inspect

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import pseudo_collate

from coavt_mm.datasets.media import Source
from coavt_mm.datasets.transforms.audio import LoadAudio
from coavt_mm.datasets.transforms.packing import PackAVTInputs
from coavt_mm.datasets.transforms.video import LoadFrames, build_transforms, frame_rate
from coavt_mm.errors import ClipError, ConfigError
from coavt_mm.registry import TRANSFORMS


def _check_arguments(cfg: dict) -> None:
    """mmaction2's samplers swallow arguments that they do not know."""
    known = set(inspect.signature(TRANSFORMS.get(cfg['type'])).parameters)
    unknown = sorted(set(cfg) - known - {'type'})
    if unknown:
        raise ConfigError(
            f'{cfg["type"]} takes no {", ".join(unknown)}; it takes '
            f'{", ".join(sorted(known - {"kwargs"}))}'
        )


@TRANSFORMS.register_module()
class LoadSampledFrames(LoadFrames):
    """Decodes the frames that one of mmaction2's samplers picks.

    The sampler sees the span [start, end) of the row as a film of its own, so that its
    frame 0 is the first one of the span. The frames come in the order of time.

    Required Keys:

    - clip_path
    - start
    - end

    Added Keys:

    - has_visual
    - imgs (with a picture)
    - img_shape (with a picture)
    - original_shape (with a picture)
    - num_clips (with a picture)
    - clip_len (with a picture)
    - frame_times (with a picture)
    - modality (with a picture)

    Args:
        sampler (dict): Such as ``dict(type='mmaction.SampleFrames', clip_len=1,
            num_clips=10, test_mode=True)``; an argument that its class does not know
            is an error.
        backend (str): 'pyav', 'decord' or 'torchcodec', see `read_frames`.
        timeout (float, optional): Limit for one clip in s.
    """

    def __init__(
        self, sampler: dict, backend: str = 'pyav', timeout: float | None = 60.0
    ):
        super().__init__(backend=backend, timeout=timeout)
        _check_arguments(sampler)
        self.sampler = build_transforms([sampler])[0]

    def _times(self, source: Source, start: float, end: float) -> np.ndarray:
        rate = frame_rate(source)
        frames = 1 if np.isinf(end) else max(round((end - start) * rate), 1)
        sampled = self.sampler(
            dict(total_frames=frames, start_index=0, avg_fps=rate, modality='RGB')
        )
        return start + (np.sort(sampled['frame_inds']) + 0.5) / rate

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}({self.sampler}, backend={self.backend!r}, '
            f'timeout={self.timeout} s)'
        )


@TRANSFORMS.register_module()
class LoadLogMel(BaseTransform):
    """Decodes the sound of an mmaction2 row, and makes a normalised log-mel of it.

    This is the package's own chain, `LoadAudio` and `AVTDataPreprocessor`, on one clip,
    for pipelines whose preprocessor knows no sound. Behind it goes mmaction2's
    ``FormatAudioShape``. Where mmaction2's ``LoadAudioFeature`` puts zeros, a clip
    without sound is an error here: leave it out of the list.

    Required Keys:

    - audio_path (of AudioDataset)
    - filename (of VideoDataset)

    Added Keys:

    - audios

    Args:
        preprocessor (dict): Arguments of `AVTDataPreprocessor`, such as spec_frames,
            spec_mean, spec_std, augment; the model's own config serves.
        seconds (float): Length of the sound that is read, in s.
        crop (str): Where a longer sound is cropped: 'start', 'center' or 'random'.
        training (bool): Whether the preprocessor augments.
    """

    def __init__(
        self,
        preprocessor: dict,
        seconds: float = 10.0,
        crop: str = 'start',
        training: bool = False,
    ):
        from coavt_mm.models import AVTDataPreprocessor

        options = {k: v for k, v in preprocessor.items() if k != 'type'}
        self.preprocessor = AVTDataPreprocessor(**options)
        rate = self.preprocessor.logmel.sample_rate
        self.load = LoadAudio(seconds, rate, crop)
        self.pack = PackAVTInputs()
        self.training = training

    def transform(self, results: dict) -> dict:
        """Adds audios, (1, L, M) float32."""
        path = results.get('audio_path') or results['filename']
        sound = self.load(dict(audio_path=path, start=0.0, end=None, sample_id=path))
        if not sound['has_audio']:
            raise ClipError(f'{path}: no sound; leave the clip out of the list')
        batch = self.preprocessor(pseudo_collate([self.pack(sound)]), self.training)
        results['audios'] = batch['inputs']['spectrogram'].numpy()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.load}, training={self.training})'
