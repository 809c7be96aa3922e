"""What people hand in (paths, addresses, bytes, arrays) -> clips and texts.

Letters: F frames, H height, W width (pixels), C channels, S audio samples.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import torch

from coavt_mm.datasets.manifest import nearest
from coavt_mm.datasets.media import Source
from coavt_mm.datasets.opening import check_regular_file
from coavt_mm.datasets.preparation.layouts import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from coavt_mm.errors import ClipError, InputError

KEYS = ('video', 'audio', 'fps', 'start', 'end')
KINDS = (
    'a path, an address such as s3://..., bytes, frames as an array, a dict of '
    f'{", ".join(KEYS)}, or a list of these'
)

SUFFIXES = (*VIDEO_SUFFIXES, *AUDIO_SUFFIXES)


@dataclass(frozen=True)
class Clip:
    """One clip as it was handed in; nothing is read yet.

    Args:
        name (str): For answers and messages.
        picture (str | Path | bytes, optional): File with the picture.
        sound (str | Path | bytes, optional): File with the sound.
        frames (np.ndarray, optional): (F, H, W, 3) uint8 RGB, in place of a file.
        fps (float, optional): Frames per second of ``frames``. Without it they spread
            evenly over the sound, or over one window.
        waveform (np.ndarray, optional): (S,) float32 mono, in place of a file.
        sample_rate (float, optional): Of ``waveform``, in Hz.
        start (float): Begin of the span wanted, in s.
        end (float, optional): Its end in s; None means the end of the clip.
    """

    name: str
    picture: Source | None = None
    sound: Source | None = None
    frames: np.ndarray | None = None
    fps: float | None = None
    waveform: np.ndarray | None = None
    sample_rate: float | None = None
    start: float = 0.0
    end: float | None = None


def as_clips(video: Any = None, audio: Any = None) -> list[Clip]:
    """Understand what was handed in, and check it as far as that goes unread.

    Args:
        video: A clip or several. A file brings its own sound unless ``audio`` gives
            another; an array has none.
        audio: Sound alone, or the sound of ``video`` (as many, in the same order): a
            path, address, bytes, or a pair (waveform (S,) or (C, S) float in -1 ... 1,
            sample rate in Hz).

    Returns:
        list[Clip]: At least one.

    Raises:
        InputError: It is of a wrong type or shape, or empty.
        ClipError: A file is not there.
    """
    if audio is None:
        return [_as_clip(one, f'clip {i}') for i, one in enumerate(_listed(video))]
    sounds = _listed(audio, 'audio')
    videos = [None] * len(sounds) if video is None else _listed(video)
    if len(videos) != len(sounds):
        raise InputError(
            f'{len(videos)} videos and {len(sounds)} sounds were given; each video '
            'needs its own sound'
        )
    _check_pairs(video, audio, videos, sounds)
    return [
        _with_sound(_as_clip(v, f'clip {i}') if v is not None else None, a, i)
        for i, (v, a) in enumerate(zip(videos, sounds, strict=True))
    ]


def is_clip(value: Any) -> bool:
    """Whether something is a clip and not a text.

    A string is a clip where it is an existing path, an address, or ends as media files
    do, so that a mistyped file name is not taken for a caption.
    """
    if not isinstance(value, str):
        return True
    known = os.path.splitext(value)[1].lower() in SUFFIXES
    return known or '://' in value or os.path.exists(value)


def as_texts(value: Any, what: str = 'text') -> list[str]:
    """One text or several as a list.

    Raises:
        InputError: There is none, an empty one, or something else than text.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise InputError(
            f'{what} must be a string or a list of strings, not {_a(value)}'
        )
    if not texts:
        raise InputError(f'{what}: the list is empty')
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f'{what} must hold strings, not {_a(text)}')
        if not text.strip():
            raise InputError(f'{what} holds an empty string')
    return list(texts)


def check_number(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number of ``least`` or more.

    Raises:
        InputError: It is none.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise InputError(
            f'{name} must be a whole number of {least} or more, not {value!r}'
        )


def _a(value: Any) -> str:
    return f'a {type(value).__name__}' + (f' ({value!r})' if _is_small(value) else '')


def _is_small(value: Any) -> bool:
    return isinstance(value, int | float | bool)


def _listed(value: Any, what: str = 'video') -> list:
    """A list of single inputs; a folder is the media files in it, by name."""
    if isinstance(value, str | Path) and _is_folder(value):
        return _in_folder(value)
    pair = isinstance(value, tuple) and len(value) == 2 and _is_array(value[0])
    if isinstance(value, list | tuple) and not pair:
        if not value:
            raise InputError(f'{what}: the list is empty')
        return list(value)
    return [value]


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | torch.Tensor)


def is_address(value: Any) -> bool:
    return isinstance(value, str) and '://' in value


def _is_folder(place: str | Path) -> bool:
    if not is_address(place):
        return os.path.isdir(place)
    if place.startswith(('http://', 'https://')):
        return False  # fsspec would load the page and look for links
    return from_store(lambda: fsspec.core.url_to_fs(place)[0].isdir(place), place)


def from_store(call: Callable[[], Any], place: Any) -> Any:
    """What an address gives, or one error that names it."""
    try:
        return call()
    except Exception as error:  # every store raises its own kinds
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise ClipError(f'{place}: can not be read ({reason})') from error


def _in_folder(place: str | Path) -> list[str]:
    if is_address(place):
        system, path = fsspec.core.url_to_fs(place)
        names = from_store(lambda: system.ls(path, detail=False), place)
        files = [system.unstrip_protocol(name) for name in names]
    else:
        files = [str(path) for path in Path(place).iterdir() if path.is_file()]
    found = [f for f in files if os.path.splitext(f)[1].lower() in SUFFIXES]
    if not found:
        raise InputError(
            f'{place}: the folder has no media file ({", ".join(SUFFIXES)})'
        )
    return sorted(found)


def _check_pairs(video: Any, audio: Any, videos: list, sounds: list) -> None:
    """Two folders are paired by name, and must have the same names."""
    if not all(isinstance(x, str | Path) and _is_folder(x) for x in (video, audio)):
        return
    for left, right in zip(videos, sounds, strict=True):
        if Path(left).stem != Path(right).stem:
            raise InputError(f'{left} and {right}: the folders hold different names')


def _as_clip(value: Any, name: str) -> Clip:
    if isinstance(value, dict):
        return _from_dict(value, name)
    if _is_array(value):
        return Clip(name, frames=_checked_frames(value, name))
    source, name = _as_source(value, name)
    return Clip(name, picture=source, sound=source)


def _as_source(value: Any, name: str) -> tuple[Source, str]:
    if isinstance(value, bytes | bytearray | memoryview):
        if not value:
            raise InputError(f'{name}: no bytes')
        return bytes(value), name
    if is_address(value):
        return value, value
    if not isinstance(value, str | os.PathLike):
        raise InputError(f'{name} must be {KINDS}; not {_a(value)}')
    path = os.path.expanduser(os.fspath(value))
    check_regular_file(path)
    return path, path


def _from_dict(value: dict, name: str) -> Clip:
    unknown = [key for key in value if key not in KEYS]
    if unknown:
        raise InputError(
            f'{name}: unknown key {unknown[0]!r}{nearest(unknown[0], KEYS)}'
        )
    if value.get('video') is None and value.get('audio') is None:
        raise InputError(f'{name}: the dict has neither video nor audio')
    clip = None if value.get('video') is None else _as_clip(value['video'], name)
    if value.get('audio') is not None:
        clip = _with_sound(clip, value['audio'], name)
    numbers = {key: _seconds(value.get(key), key, name) for key in KEYS[2:]}
    start, end = numbers['start'] or 0.0, numbers['end']
    if end is not None and end <= start:
        raise InputError(f'{name}: end={end:g} s is not after start={start:g} s')
    if numbers['fps'] == 0:
        raise InputError(f'{name}: fps must be above 0')
    return replace(clip, fps=numbers['fps'], start=start, end=end)


def _seconds(value: Any, key: str, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise InputError(f'{name}: {key} must be a number, not {_a(value)}')
    if not 0 <= value < math.inf:
        raise InputError(f'{name}: {key} must be 0 or more, not {value}')
    return float(value)


def _with_sound(clip: Clip | None, audio: Any, name: int | str) -> Clip:
    """A clip whose sound is this one."""
    name = clip.name if clip else name if isinstance(name, str) else f'sound {name}'
    if isinstance(audio, tuple) and len(audio) == 2:
        waveform, rate = _checked_waveform(*audio, name)
        clip = clip or Clip(name)
        return replace(clip, sound=None, waveform=waveform, sample_rate=rate)
    if _is_array(audio):
        raise InputError(
            f'{name}: a waveform comes with its rate, as a pair (waveform, rate in Hz)'
        )
    source, label = _as_source(audio, name)
    return replace(clip or Clip(label), sound=source)


def _numpy(array: Any) -> np.ndarray:
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else array


def _checked_frames(frames: Any, name: str) -> np.ndarray:
    frames = _numpy(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise InputError(
            f'{name}: frames must be (frames, height, width, 3), not {frames.shape}'
        )
    if frames.dtype != np.uint8:
        raise InputError(
            f'{name}: frames must be uint8 (0 ... 255), not {frames.dtype}'
        )
    return frames


def _checked_waveform(waveform: Any, rate: Any, name: str) -> tuple[np.ndarray, float]:
    if not _is_array(waveform):
        raise InputError(f'{name}: a waveform must be an array, not {_a(waveform)}')
    waveform, hertz = _numpy(waveform), _seconds(rate, 'the sample rate', name)
    if not hertz:
        raise InputError(f'{name}: the sample rate must be above 0 Hz, not {rate}')
    if not np.issubdtype(waveform.dtype, np.floating):
        raise InputError(
            f'{name}: a waveform must be float in -1 ... 1, not {waveform.dtype}'
        )
    planes = waveform[None] if waveform.ndim == 1 else waveform
    if planes.ndim != 2 or 0 in planes.shape or planes.shape[0] > planes.shape[1]:
        raise InputError(
            f'{name}: a waveform must be (samples,) or (channels, samples), not '
            f'{waveform.shape}'
        )
    if not np.isfinite(planes).all():
        raise InputError(f'{name}: the waveform holds NaN or inf')
    # every channel counts the same, as in `read_audio`
    return planes.mean(0).astype(np.float32), hertz
