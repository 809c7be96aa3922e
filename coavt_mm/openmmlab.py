"""Our sound in mmaction2's pipelines.

Letters: L spectrogram frames, M mel bins.
"""

from mmcv.transforms import BaseTransform
from mmengine.dataset import pseudo_collate

from coavt_mm.datasets.transforms.audio import LoadAudio
from coavt_mm.datasets.transforms.old_names import LoadSampledFrames  # noqa: F401
from coavt_mm.datasets.transforms.packing import PackAVTInputs
from coavt_mm.errors import ClipError
from coavt_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadLogMel(BaseTransform):
    """Decode the sound of an mmaction2 row, and make a normalised log-mel of it.

    This is the package's own chain, ``LoadAudio`` and ``AVTDataPreprocessor``, on one
    clip, for pipelines whose preprocessor knows no sound. Behind it goes mmaction2's
    ``FormatAudioShape``. Where mmaction2's ``LoadAudioFeature`` puts zeros, a clip
    without sound is an error here: leave it out of the list.

    Required Keys:

    - audio_path (of AudioDataset)
    - filename (of VideoDataset)

    Added Keys:

    - audios

    Args:
        preprocessor: Arguments of ``AVTDataPreprocessor``, such as spec_frames,
            spec_mean, spec_std, augment; the model's own config serves.
        seconds: Length of the sound that is read, in s.
        crop: Where a longer sound is cropped: 'start', 'center' or 'random'.
        training: Whether the preprocessor augments.
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
        rate = self.preprocessor.front_end.sample_rate
        self.load = LoadAudio(seconds, rate, crop)
        self.pack = PackAVTInputs()
        self.training = training

    def transform(self, results: dict) -> dict:
        """Add audios, (1, L, M) float32."""
        path = results.get('audio_path') or results['filename']
        sound = self.load(dict(audio_path=path, start=0.0, end=None, sample_id=path))
        if not sound['has_audio']:
            raise ClipError(f'{path}: no sound; leave the clip out of the list')
        batch = self.preprocessor(pseudo_collate([self.pack(sound)]), self.training)
        results['audios'] = batch['inputs']['spectrogram'].numpy()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.load}, training={self.training})'
