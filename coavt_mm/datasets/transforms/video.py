"""From a clip's path to frames. Letters: F frames, H height, W width (pixels)."""

from collections.abc import Callable, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from coavt_mm.datasets.decoding import (
    backend_order,
    cavmae_times,
    read_frames,
    sample_times,
)
from coavt_mm.datasets.media import Media, Source, kept_open, probe
from coavt_mm.datasets.opening import source_name, with_time_limit
from coavt_mm.errors import ConfigError
from coavt_mm.registry import TRANSFORMS


def build_transforms(transforms: Sequence[dict | Callable]) -> list[Callable]:
    """Builds what is given as config; names without a scope are this package's, in
    whatever scope the config runs."""
    with TRANSFORMS.switch_scope_and_registry('coavt_mm') as registry:
        return [registry.build(t) if isinstance(t, dict) else t for t in transforms]


def frame_rate(source: Source) -> float:
    """In Hz; 1 for files of pictures, which have none."""
    rate = source.video.average_rate if isinstance(source, Media) else 1
    return float(rate or 25)


@TRANSFORMS.register_module()
class LoadFrames(BaseTransform):
    """Decodes some of `num_frames` times sampled uniformly from the clip.

    The times are the centres of equal parts of [start, end), in s from the start of the
    file's container. A picture that begins later or ends earlier is sampled where it
    is; one that lies outside of the span counts as none. A still picture is there at
    any time.

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
        num_frames (int): Number of times.
        pick (str | int): 'random' draws one of them (training), 'middle' takes the
            middle one, 'all' takes all, a number takes the one of that index.
        backend (str): 'pyav', 'decord' or 'torchcodec', see `read_frames`.
        timeout (float, optional): Limit for one clip in s.
        times (str): 'centres', or 'cavmae' for the beginnings of the parts, where
            CAV-MAE's weights have their frames from, see `cavmae_times`.
    """

    def __init__(
        self,
        num_frames: int = 10,
        pick: str | int = 'random',
        backend: str = 'pyav',
        timeout: float | None = 60.0,
        times: str = 'centres',
    ):
        names = ('random', 'middle', 'all')
        index = isinstance(pick, int) and 0 <= pick < num_frames
        if pick not in names and not index:
            raise ConfigError(
                f'pick={pick!r} is none of {", ".join(names)} and no index below '
                f'num_frames={num_frames}'
            )
        if times not in ('centres', 'cavmae'):
            raise ConfigError(f'times={times!r} is none of centres, cavmae')
        backend_order(backend)
        self.times = times
        self.num_frames = num_frames
        self.pick = pick
        self.backend = backend
        self.timeout = timeout

    def _picked(self, times: np.ndarray) -> np.ndarray:
        if self.pick == 'all':
            return times
        if self.pick == 'random':
            return times[[np.random.randint(len(times))]]
        return times[[len(times) // 2 if self.pick == 'middle' else self.pick]]

    def transform(self, results: dict) -> dict:
        """Reads the frames, or flags that there are none."""
        source, span = self._source(results), (results['start'], results['end'])
        read = source and with_time_limit(
            lambda: self._read(source, *span), self.timeout, source_name(source)
        )
        results['has_visual'] = bool(read)
        return self._shown(results, *read) if read else results

    def _source(self, results: dict) -> Source | None:
        return results['clip_path']

    def _read(self, source: Source, start: float, end: float | None):
        """Frames and their times of a file; None without a picture in [start, end)."""
        with kept_open(source) as source:
            info = probe(source)
            if not info.has_video:
                return None
            start = max(start, info.video_start)
            end = info.video_end if end is None else min(end, info.video_end)
            if start >= end:
                return None
            times = self._times(source, start, end)
            return read_frames(source, times, self.backend)

    def _times(self, source: Source, start: float, end: float) -> np.ndarray:
        """Times (s) wanted of the picture of a file, which lies in [start, end)."""
        return self._picked(self._sampled(start, end, frame_rate(source)))

    def _sampled(self, start: float, end: float, rate: float) -> np.ndarray:
        """Times (s) to pick from, in [start, end) of a film with a rate in Hz."""
        if self.times == 'cavmae':
            return cavmae_times(self.num_frames, start, end, rate)
        return sample_times(self.num_frames, start, end)

    @staticmethod
    def _shown(results: dict, imgs: list[np.ndarray], frame_times: list[float]) -> dict:
        results['imgs'] = imgs
        results['img_shape'] = results['original_shape'] = imgs[0].shape[:2]
        results['num_clips'], results['clip_len'] = 1, len(imgs)
        results['frame_times'] = frame_times
        results['modality'] = 'RGB'  # mmaction2's Flip asks for it
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_frames={self.num_frames}, pick={self.pick!r}, '
            f'backend={self.backend!r}, timeout={self.timeout} s, times={self.times!r})'
        )


@TRANSFORMS.register_module()
class IfVisual(BaseTransform):
    """Runs picture transforms on clips that have a picture, and passes others on.

    Resize and CenterCrop, and mmaction2's RandomResizedCrop and Flip, take the picture
    for granted; here they serve as ``dict(type='mmaction.Flip', flip_ratio=0.5)``.

    Required Keys:

    - has_visual

    Args:
        transforms (Sequence[dict | Callable]): The transforms to run.
    """

    def __init__(self, transforms: Sequence[dict | Callable]):
        self.transforms = Compose(build_transforms(transforms))

    def transform(self, results: dict) -> dict | None:
        """Runs the transforms where there is a picture."""
        return self.transforms(results) if results['has_visual'] else results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transforms})'
