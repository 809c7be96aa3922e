"""Frames and sound out of media files, or a ``ClipError`` that says why not.

All times are in s from the start of the file's container, see ``media.py``. Letters: F
frames, H height, W width (pixels), S audio samples.
"""

import importlib
import importlib.util
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from coavt_mm.datasets.frames import frames_decord, frames_pyav, frames_torchcodec
from coavt_mm.datasets.media import Media, Source
from coavt_mm.datasets.opening import (
    DECODER_ERRORS,
    check_regular_file,
    head,
    source_name,
    warn_once,
    with_time_limit,
)
from coavt_mm.datasets.sound import read_sound
from coavt_mm.datasets.stills import is_still, read_stills
from coavt_mm.errors import ClipError, ConfigError

# Changes when other frames or other sound are read of a file than before: what was made
# of them is then out of date.
READING = 3


def sample_times(num_frames: int, start: float, end: float) -> np.ndarray:
    """Centres of ``num_frames`` equal parts of [start, end), in s; of a still picture,
    whose end is infinite, its start."""
    if math.isinf(end):
        return np.full(num_frames, start)
    return start + (np.arange(num_frames) + 0.5) * (end - start) / num_frames


def cavmae_times(num_frames: int, start: float, end: float, rate: float) -> np.ndarray:
    """Where CAV-MAE extracts frames: just before the beginnings of equal parts.

    Args:
        num_frames: Number of parts.
        start: Beginning of the span, in s.
        end: Its end, in s; infinite for a still picture.
        rate: Frames/s.

    Returns:
        (F,) middles, in s, of the frames that stand in front of each part; of the first
        frame for the first part.
    """
    if math.isinf(end):
        return np.full(num_frames, start)
    frames = int((end - start) * rate + 1e-6)
    begins = (np.arange(num_frames) * (frames / num_frames)).astype(int)
    return start + (np.maximum(begins - 1, 0) + 0.5) / rate


BACKENDS = {
    'pyav': frames_pyav,
    'decord': frames_decord,
    'torchcodec': frames_torchcodec,
}


@lru_cache
def _loads(module: str) -> bool:
    """Whether a module can be imported: torchcodec without system FFmpeg can't."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        if importlib.util.find_spec(module.split('.')[0]):
            reason = str(error).strip().splitlines()[0]
            warn_once(f'{module} is installed but does not load: {reason}')
        return False
    return True


def backend_order(backend: str) -> list[str]:
    """The back end asked for, then the others that are installed.

    Raises:
        ConfigError: The name is unknown or the back end isn't installed.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend '{backend}' is none of {', '.join(BACKENDS)}")
    module = {'pyav': 'av', 'torchcodec': 'torchcodec.decoders'}
    installed = [name for name in BACKENDS if _loads(module.get(name, name))]
    if backend not in installed:
        raise ConfigError(
            f"backend '{backend}' is not installed; there is {', '.join(installed)}"
        )
    return [backend] + [name for name in installed if name != backend]


def _read_with_fallback(source: Source, times: Sequence[float], backend: str):
    if not isinstance(source, Media) and is_still(head(source)):
        return read_stills(source, times)
    reasons: list[str] = []
    for name in backend_order(backend):
        try:
            result = BACKENDS[name](source, times)
        except DECODER_ERRORS as error:
            reasons.append(f'{name}: {error}')
            continue
        if reasons:
            warn_once(f'{source_name(source)}: read with {name} ({reasons[0]})')
        return result
    raise ValueError('; '.join(reasons))


def read_frames(
    source: Source,
    times: Sequence[float],
    backend: str = 'pyav',
    timeout: float | None = None,
) -> tuple[list[np.ndarray], list[float]]:
    """Read the frames that are on the screen at the given times.

    Args:
        source: The file, or its content.
        times: Times in s, ascending. Before the first frame of the file it is that one.
        backend: 'pyav', 'decord' or 'torchcodec'; when it can't read the file the
            others that are installed are tried, and the log says so. Of files that
            decord would read wrongly (see docs/data.md) PyAV reads the frames.
        timeout: Limit in s.

    Returns:
        The frames, F arrays (H, W, 3) uint8 RGB, as a player shows them (upright, with
        square pixels), and the time in s at which each of them begins.

    Raises:
        ClipError: No back end can read the file, or it takes too long.
    """
    check_regular_file(source)
    name = source_name(source)
    try:
        return with_time_limit(
            lambda: _read_with_fallback(source, times, backend), timeout, name
        )
    except DECODER_ERRORS as error:
        raise ClipError(f'{name}: unreadable ({error})') from error


def read_audio(
    source: Source,
    start: float = 0.0,
    end: float | None = None,
    sample_rate: int = 16000,
    timeout: float | None = None,
) -> np.ndarray | None:
    """Read a span of the sound track as mono.

    PyAV is used whatever back end reads the frames: decord's AudioReader returns a
    shortened track from a damaged file without an error.

    Args:
        source: The file, or its content.
        start: Begin of the span in s.
        end: End of the span in s; None means the end of the track.
        sample_rate: Rate of the result in Hz.
        timeout: Limit in s.

    Returns:
        (S,) float32, as long as the span or shorter when the track ends earlier, with
        zeros before its first sound and in its gaps; None when there is no sound
        stream, or none in the span.

    Raises:
        ClipError: The file can't be read, the track breaks off before the length that
            its container states, holds NaN, or reading takes too long.
    """
    check_regular_file(source)
    name = source_name(source)
    stop = math.inf if end is None else end
    try:
        return with_time_limit(
            lambda: read_sound(source, start, stop, sample_rate), timeout, name
        )
    except DECODER_ERRORS as error:
        raise ClipError(f'{name}: unreadable sound ({error})') from error
