"""Names of loaders before there was one for all sources; they go with release 0.2."""

import logging
from functools import wraps

from mmengine.logging import print_log

from coavt_mm.datasets.transforms.audio import LoadAudio
from coavt_mm.datasets.transforms.video import LoadFrames
from coavt_mm.registry import TRANSFORMS


def _warn(old: str, new: str) -> None:
    print_log(
        f'{old} is an old name and goes with release 0.2: write {new}',
        logger='current',
        level=logging.WARNING,
    )


@TRANSFORMS.register_module()
class LoadShardFrames(LoadFrames):
    """``LoadFrames``, which reads shards where the data set is an
    ``AVTShardDataset``."""

    def __init__(self, num_frames: int = 10, pick: str | int = 'random'):
        _warn('LoadShardFrames', "dict(type='LoadFrames', ...)")
        super().__init__(num_frames, pick)


@TRANSFORMS.register_module()
class LoadShardAudio(LoadAudio):
    """``LoadAudio``, which reads shards where the data set is an
    ``AVTShardDataset``."""

    @wraps(LoadAudio.__init__)  # type: ignore[misc] # mypy knows no wrapped __init__
    def __init__(self, *args, **kwargs):
        _warn('LoadShardAudio', "dict(type='LoadAudio', ...)")
        super().__init__(*args, **kwargs)


@TRANSFORMS.register_module()
class LoadSampledFrames(LoadFrames):
    """``LoadFrames`` with a ``sampler``."""

    def __init__(
        self, sampler: dict, backend: str = 'pyav', timeout: float | None = 60.0
    ):
        _warn('LoadSampledFrames', "dict(type='LoadFrames', sampler=dict(...))")
        super().__init__(backend=backend, timeout=timeout, sampler=sampler)
