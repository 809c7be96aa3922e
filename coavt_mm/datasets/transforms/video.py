"""From a clip's path to frames. Letters: F frames, H height, W width (pixels)."""

import inspect
from collections.abc import Callable, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from coavt_mm.datasets.decoding import backend_order, cavmae_times, sample_times
from coavt_mm.datasets.isolation import guarded
from coavt_mm.datasets.keeping import Kept
from coavt_mm.datasets.opening import with_time_limit
from coavt_mm.datasets.sources import ClipSource, Frames, is_named, source_of
from coavt_mm.errors import ConfigError
from coavt_mm.registry import TRANSFORMS


def build_transforms(transforms: Sequence[dict | Callable]) -> list[Callable]:
    """Build what is given as config; names without a scope are this package's, in
    whatever scope the config runs."""
    with TRANSFORMS.switch_scope_and_registry('coavt_mm') as registry:
        return [registry.build(t) if isinstance(t, dict) else t for t in transforms]


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
class LoadFrames(BaseTransform):
    """Decode some of ``num_frames`` times sampled uniformly from the clip.

    The times are the centres of equal parts of [start, end), in s from the start of the
    file's container. A picture that begins later or ends earlier is sampled where it
    is; one that lies outside of the span counts as none. A still picture is there at
    any time.

    Required Keys:

    - picture (optional): a ``ClipSource``, in place of the file
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
        num_frames: Number of times.
        pick: 'random' draws one of them (training), 'middle' takes the middle one,
            'all' takes all, a number takes the one of that index.
        backend: 'pyav', 'decord' or 'torchcodec', see ``read_frames``.
        timeout: Limit for one clip in s.
        times: 'centres', or 'cavmae' for the beginnings of the parts, where CAV-MAE's
            weights have their frames from, see ``cavmae_times``.
        sampler: One of mmaction2's that picks the frames instead, such as
            ``dict(type='mmaction.SampleFrames', clip_len=1, num_clips=10,
            test_mode=True)``. It sees [start, end) as a film of its own, whose frame 0
            is the first one of the span; the frames come in the order of time. An
            argument that its class does not know is an error.
        isolate: Whether a process beside decodes. A file that crashes a decoder, makes
            it hang or fills the memory then costs one clip, and all others some time.
        keep: GB that the frames of files may take in the memory of each process that
            loads, so that they are decoded once: ``num_frames`` x height x width x 3
            bytes per clip.
    """

    def __init__(
        self,
        num_frames: int = 10,
        pick: str | int = 'random',
        backend: str = 'pyav',
        timeout: float | None = 60.0,
        times: str = 'centres',
        sampler: dict | None = None,
        isolate: bool = False,
        keep: float = 0.0,
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
        self.sampler: Callable[[dict], dict] | None = None
        if sampler is not None:
            if (num_frames, pick, times, keep) != (10, 'random', 'centres', 0):
                raise ConfigError(
                    'the sampler picks the frames: leave out num_frames, pick, times '
                    'and keep'
                )
            _check_arguments(sampler)
            self.sampler = build_transforms([sampler])[0]
        self.times = times
        self.num_frames = num_frames
        self.pick = pick
        self.backend = backend
        self.timeout = timeout
        self.isolate = isolate
        self.kept = Kept(keep) if keep else None

    def _picked(self, number: int) -> list[int]:
        """Which of so many times are wanted."""
        if self.pick == 'all' or self.sampler is not None or not number:
            return [*range(number)]
        if self.pick == 'random':
            return [np.random.randint(number)]
        return [self.pick if isinstance(self.pick, int) else number // 2]

    def transform(self, results: dict) -> dict:
        """Read the frames, or flags that there are none."""
        source, read = source_of(results, 'picture', 'clip_path'), None
        if source is not None:
            span = results['start'], results['end']
            if self.kept is not None and is_named(source):
                every = self.kept.get(
                    (source.name, *span), lambda: self._decoded(source, *span, range)
                )
                read = every and self._chosen(*every)
            else:
                read = self._decoded(source, *span, self._picked)
        results['has_visual'] = read is not None
        return self._shown(results, *read) if read else results

    def _chosen(self, images: list[np.ndarray], times: list[float]) -> Frames:
        """Of all frames those that are wanted; copies, which may be written to."""
        wanted = self._picked(len(times))
        return [images[i].copy() for i in wanted], [times[i] for i in wanted]

    def _decoded(
        self,
        source: ClipSource,
        start: float,
        end: float | None,
        pick: Callable[[int], Sequence[int]],
    ) -> Frames | None:
        """Frames and their times; None without a picture in [start, end)."""
        source, limit = guarded(source, self.isolate, self.timeout)

        def read() -> Frames | None:
            with source.opened() as opened:
                times = self._times(opened, start, end)
                wanted = [float(times[i]) for i in pick(len(times))]
                return opened.frames(wanted, self.backend) if wanted else None

        return with_time_limit(read, limit, source.name)

    def _times(self, source: ClipSource, start: float, end: float | None) -> np.ndarray:
        """Times (s) of all frames; none without a picture in [start, end)."""
        if source.stored_times is not None:
            return self._checked(source.stored_times)
        info = source.info
        if info.video_start is None or info.video_end is None:
            return np.empty(0)
        start = max(start, info.video_start)
        end = info.video_end if end is None else min(end, info.video_end)
        if start >= end:
            return np.empty(0)
        if self.sampler is not None:
            return self._sampled(self.sampler, start, end, source.rate)
        if self.times == 'cavmae':
            return cavmae_times(self.num_frames, start, end, source.rate)
        return sample_times(self.num_frames, start, end)

    def _checked(self, times: list[float]) -> np.ndarray:
        """Times of stored frames, if they are those that are asked for."""
        if self.sampler is not None or self.times != 'centres':
            asked = f'times={self.times!r}' if self.sampler is None else 'a sampler'
            raise ConfigError(
                f'the shards have the frames at the centres of equal parts; {asked} '
                'needs the raw files'
            )
        if times and len(times) != self.num_frames:
            raise ConfigError(
                f'the shards have {len(times)} frames of a clip, {type(self).__name__} '
                f'asks for num_frames={self.num_frames}'
            )
        return np.array(times)

    @staticmethod
    def _sampled(
        sampler: Callable[[dict], dict], start: float, end: float, rate: float
    ) -> np.ndarray:
        """Times (s) that the sampler picks of a film with a rate in Hz."""
        frames = 1 if np.isinf(end) else max(round((end - start) * rate), 1)
        sampled = sampler(
            dict(total_frames=frames, start_index=0, avg_fps=rate, modality='RGB')
        )
        return start + (np.sort(sampled['frame_inds']) + 0.5) / rate

    @staticmethod
    def _shown(results: dict, imgs: list[np.ndarray], frame_times: list[float]) -> dict:
        results['imgs'] = imgs
        results['img_shape'] = results['original_shape'] = imgs[0].shape[:2]
        results['num_clips'], results['clip_len'] = 1, len(imgs)
        results['frame_times'] = frame_times
        results['modality'] = 'RGB'  # mmaction2's Flip asks for it
        return results

    def __repr__(self) -> str:
        asked = f'sampler={self.sampler}'
        if self.sampler is None:
            asked = f'num_frames={self.num_frames}, pick={self.pick!r}'
            asked += f', times={self.times!r}'
        name, limit = type(self).__name__, f'timeout={self.timeout} s'
        return f'{name}({asked}, backend={self.backend!r}, {limit})'


@TRANSFORMS.register_module()
class IfVisual(BaseTransform):
    """Runs picture transforms on clips that have a picture, and passes others on.

    Resize and CenterCrop, and mmaction2's RandomResizedCrop and Flip, take the picture
    for granted; here they serve as ``dict(type='mmaction.Flip', flip_ratio=0.5)``.

    Required Keys:

    - has_visual

    Args:
        transforms: The transforms to run.
    """

    def __init__(self, transforms: Sequence[dict | Callable]):
        self.transforms = Compose(build_transforms(transforms))

    def transform(self, results: dict) -> dict | None:
        """Run the transforms where there is a picture."""
        return self.transforms(results) if results['has_visual'] else results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transforms})'
