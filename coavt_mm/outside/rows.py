"""What tools outside hand over -> clips as the inferencer takes them.

Letters: F frames, H height, W width (pixels).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def as_clip(row: Mapping[str, Any], name: str) -> dict | None:
    """Bring video and audio of a row to the form that the inferencer takes.

    Args:
        row: ``video``: a path, bytes, frames (F, 3, H, W) or (F, H, W, 3) uint8, a dict
            of ``datasets`` (``path``, ``bytes``) or of sentence-transformers
            (``array``, ``video_metadata`` with ``fps``). ``audio``: a path, bytes,
            (waveform, rate in Hz), a dict ``path``, ``bytes`` or ``array``,
            ``sampling_rate``.
        name: For messages, where it has no path.

    Returns:
        None if there is neither.
    """
    video, audio = row.get('video'), row.get('audio')
    if video is None and audio is None:
        return None
    clip: dict[str, Any] = {}
    if video is not None:
        clip.update(_video(video))
    if audio is not None:
        clip['audio'] = _audio(audio)
    if not any(isinstance(value, str) for value in clip.values()):
        clip['name'] = name
    return clip


def _video(value: Any) -> dict:
    if isinstance(value, Mapping) and 'array' in value:
        fps = (value.get('video_metadata') or {}).get('fps')
        return dict(
            video=_channels_last(value['array']), **(dict(fps=fps) if fps else {})
        )
    return dict(video=_channels_last(_content(value)))


def _audio(value: Any) -> Any:
    if isinstance(value, Mapping) and 'array' in value:
        array = value['array']
        waveform = array if isinstance(array, torch.Tensor) else np.asarray(array)
        return waveform, value.get('sampling_rate')
    return _content(value)


def _content(value: Any) -> Any:
    """The file of a row of ``datasets`` that is not decoded."""
    if isinstance(value, Mapping):
        return value.get('bytes') or value.get('path')
    return value


def _channels_last(frames: Any) -> Any:
    shape = tuple(getattr(frames, 'shape', ()))
    if len(shape) != 4 or shape[1] != 3 or shape[-1] == 3:
        return frames
    if isinstance(frames, torch.Tensor):
        return frames.permute(0, 2, 3, 1)
    return np.moveaxis(frames, 1, -1)
