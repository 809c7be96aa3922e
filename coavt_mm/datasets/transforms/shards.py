"""From a sample of a shard to frames and waveform, as `LoadFrames` and `LoadAudio`
make them of a clip. Letters: F frames, S audio samples."""

import numpy as np

from coavt_mm.datasets.decoding import read_audio
from coavt_mm.datasets.shards.archive import SOUND_CODECS, decode_jpeg
from coavt_mm.datasets.transforms.audio import LoadAudio
from coavt_mm.datasets.transforms.video import LoadFrames
from coavt_mm.errors import ClipError, ConfigError
from coavt_mm.registry import TRANSFORMS


def _member(sample: dict, *names: str) -> bytes:
    """The first member of a sample that has one of the names.

    Raises:
        ClipError: It has none.
    """
    for name in names:
        if name in sample['members']:
            return sample['members'][name]
    raise ClipError(f'the sample of the shard has no {" or ".join(names)}')


@TRANSFORMS.register_module()
class LoadShardFrames(LoadFrames):
    """Decodes some of the `num_frames` frames that a shard has of a clip.

    Required Keys:

    - shard_sample (optional)

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
        num_frames (int): Number of frames that the shards were made with.
        pick (str | int): See `LoadFrames`; the same seed picks the same frames.
    """

    def __init__(self, num_frames: int = 10, pick: str | int = 'random'):
        super().__init__(num_frames, pick, timeout=None)

    def transform(self, results: dict) -> dict:
        """Decodes the frames, or flags that there are none."""
        sample = results.get('shard_sample')
        results['has_visual'] = bool(sample and sample['frame_times'])
        if not results['has_visual']:
            return results
        times = sample['frame_times']
        if len(times) != self.num_frames:
            raise ConfigError(
                f'the shards have {len(times)} frames of a clip, LoadShardFrames asks '
                f'for num_frames={self.num_frames}'
            )
        picks = self._picked(np.arange(len(times)))
        imgs = [decode_jpeg(_member(sample, f'{index:02d}.jpg')) for index in picks]
        return self._shown(results, imgs, [times[index] for index in picks])

    def __repr__(self) -> str:
        name = type(self).__name__
        return f'{name}(num_frames={self.num_frames}, pick={self.pick!r})'


@TRANSFORMS.register_module()
class LoadShardAudio(LoadAudio):
    """Decodes the sound that a shard has of a clip; arguments as for `LoadAudio`.

    Required Keys:

    - shard_sample (optional)

    Added Keys:

    - has_audio
    - audio_samples
    - sample_rate
    - waveform (with sound)
    """

    def _read(self, results: dict) -> np.ndarray | None:
        sample = results.get('shard_sample')
        if not sample or not sample['seconds']:
            return None
        seconds = sample['seconds']
        content = _member(sample, *SOUND_CODECS)
        start, end = self._window(0.0, seconds, lambda: seconds)
        return read_audio(content, start, end, self.sample_rate, self.timeout)
