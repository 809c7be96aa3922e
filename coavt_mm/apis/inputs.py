"""What people hand in (paths, addresses, bytes, arrays) -> clips and texts.

Letters: F frames, H height, W width (pixels), C channels, S audio samples.
"""

import math
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from coavt_mm.apis.listing import (
    both_folders,
    has_media_suffix,
    is_address,
    is_array,
    is_manifest,
    listed,
)
from coavt_mm.datasets.manifest import nearest
from coavt_mm.datasets.media import Source
from coavt_mm.datasets.opening import check_regular_file
from coavt_mm.errors import ClipError, InputError

NUMBERS = ('fps', 'start', 'end')
KEYS = ('video', 'audio', 'name', *NUMBERS)
KINDS = (
    'a path, an address such as s3://..., bytes, frames as an array, a dict of '
    f'{", ".join(KEYS)}, or a list of these'
)

WINDOWS = 16  # that go through the model at once, unless told otherwise
LOUDEST = 100.0  # 40 dB above full scale; integers turned into float reach 32768


@dataclass(frozen=True)
class Clip:
    """One clip as it was handed in; nothing is read yet.

    Args:
        name: For answers and messages.
        picture: File with the picture.
        sound: File with the sound.
        frames: (F, H, W, 3) uint8 RGB, in place of a file.
        fps: Frames per second of ``frames``. Without it they spread
            evenly over the sound, or over one window.
        waveform: (S,) float32 mono, in place of a file.
        sample_rate: Of ``waveform``, in Hz.
        start: Begin of the span wanted, in s.
        end: Its end in s; None means the end of the clip.
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

    def check(self) -> None:
        """Refuse a clip of which there is nothing to read.

        Raises:
            ClipError: A file is missing or empty, or the sound is none.
        """
        for source in {self.picture, self.sound} - {None}:
            if source == b'':
                raise ClipError(f'{self.name}: no bytes')
            if not is_address(source):
                check_regular_file(source)
        if self.waveform is not None:
            peak = np.abs(self.waveform).max()
            if not np.isfinite(peak):
                raise ClipError(f'{self.name}: the waveform holds NaN or inf')
            if peak > LOUDEST:
                raise ClipError(
                    f'{self.name}: the waveform reaches {peak:g}, full scale is 1'
                )


def as_clips(video: Any = None, audio: Any = None) -> list[Clip]:
    """List the clips that were handed in, checked as far as that goes unread.

    Args:
        video: A clip or several. A file brings its own sound unless ``audio`` gives
            another; an array has none.
        audio: Sound alone, or the sound of ``video`` (as many, in the same order): a
            path, address, bytes, or a pair (waveform (S,) or (C, S) float in -1 ... 1,
            sample rate in Hz).

    Returns:
        At least one.

    Raises:
        InputError: It is of a wrong type or shape, or empty.
        ClipError: An address can't be looked up.
        DatasetMissingError, ManifestError: A manifest is missing or wrong.
    """
    if audio is None:
        return [_as_clip(one, f'clip {i}') for i, one in enumerate(listed(video))]
    pairs: Any = both_folders(video, audio)
    if pairs is None:
        sounds = listed(audio, 'audio')
        videos = [None] * len(sounds) if video is None else listed(video)
        if len(videos) != len(sounds):
            raise InputError(
                f'{len(videos)} videos and {len(sounds)} sounds were given; each video '
                'needs its own sound'
            )
        pairs = zip(videos, sounds, strict=True)
    return [
        _with_sound(_as_clip(v, f'clip {i}') if v is not None else None, a, i)
        for i, (v, a) in enumerate(pairs)
    ]


def is_clip(value: Any) -> bool:
    """Whether something is a clip and not a text.

    A string is a clip where it is an existing path, an address, or ends as media files
    do, so that a mistyped file name is not taken for a caption.
    """
    if not isinstance(value, str):
        return True
    known = has_media_suffix(value) or is_manifest(value) or is_address(value)
    return known or os.path.exists(os.path.expanduser(value))


def as_texts(value: Any, what: str = 'text') -> list[str]:
    """List one text or several.

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


def _as_clip(value: Any, name: str) -> Clip:
    if isinstance(value, dict):
        return _from_dict(value, name)
    if is_array(value):
        return Clip(name, frames=_checked_frames(value, name))
    source, name = _as_source(value, name)
    return Clip(name, picture=source, sound=source)


def _as_source(value: Any, name: str) -> tuple[Source, str]:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), name
    if is_address(value):
        return value, value
    if not isinstance(value, str | os.PathLike):
        raise InputError(f'{name} must be {KINDS}; not {_a(value)}')
    path = os.path.expanduser(os.fspath(value))
    return path, path


def _from_dict(value: dict, name: str) -> Clip:
    unknown = [key for key in value if key not in KEYS]
    if unknown:
        raise InputError(
            f'{name}: unknown key {unknown[0]!r}{nearest(unknown[0], KEYS)}'
        )
    name = value.get('name') or name
    if not isinstance(name, str):
        raise InputError(f'the name of a clip must be a string, not {_a(name)}')
    if value.get('video') is None and value.get('audio') is None:
        raise InputError(f'{name}: the dict has neither video nor audio')
    video = value.get('video')
    clip: Any = None if video is None else _as_clip(video, name)
    if value.get('audio') is not None:
        clip = _with_sound(clip, value['audio'], name)
    numbers = {key: _seconds(value.get(key), key, name) for key in NUMBERS}
    start, end = numbers['start'] or 0.0, numbers['end']
    if end is not None and end <= start:
        raise InputError(f'{name}: end={end:g} s is not after start={start:g} s')
    if numbers['fps'] == 0:
        raise InputError(f'{name}: fps must be above 0')
    span = dict(fps=numbers['fps'], start=start, end=end)
    return replace(clip, name=value.get('name') or clip.name, **span)


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
    if is_array(audio):
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
    if not is_array(waveform):
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
    # every channel counts the same, as in `read_audio`
    with np.errstate(over='ignore', invalid='ignore'):  # Clip.check finds inf
        return planes.mean(0).astype(np.float32), hertz
