"""Frames and sound out of media files, or a `ClipError` that says why not.

Letters: F frames, H height, W width (pixels), S audio samples.
"""

import importlib
import importlib.util
import io
import logging
import math
from collections.abc import Sequence
from functools import lru_cache

import av
import numpy as np
from mmengine.logging import print_log

from coavt_mm.datasets.media import (
    DECODER_ERRORS,
    Source,
    check_regular_file,
    open_media,
    source_name,
    stream_span,
    video_stream,
    with_time_limit,
)
from coavt_mm.errors import ClipError, ConfigError

# A gap (s) between two wanted frames from which seeking anew is cheaper than
# decoding on. Clips of the field have their key frames 1 to 10 s apart.
SEEK_GAP = 10.0

# A stream may end this much (s) before the length that its container states:
# encoders round up to whole packets, and the last frame stays on the screen.
LENGTH_TOLERANCE = 0.5


def sample_times(num_frames: int, start: float, end: float) -> np.ndarray:
    """Centres of `num_frames` equal parts of [start, end), in s."""
    return start + (np.arange(num_frames) + 0.5) * (end - start) / num_frames


def _upright(image: np.ndarray, rotation: int) -> np.ndarray:
    """Turns an (H, W, 3) frame by the counter-clockwise degrees of its display
    matrix, so that it stands as a player shows it."""
    return np.ascontiguousarray(np.rot90(image, round(rotation / 90) % 4))


def _check_reached(wanted: float, end: float) -> None:
    """Refuses to show the last frame of a picture (until `end`, s) that breaks off
    long before the time wanted (s)."""
    if wanted > end + LENGTH_TOLERANCE:
        raise ValueError(
            f'the picture breaks off at {end:.2f} s, a frame at {wanted:.2f} s was '
            'asked for'
        )


def _frames_decord(source: Source, times: Sequence[float]):
    import decord

    handle = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    try:
        reader = decord.VideoReader(handle, num_threads=1)
        spans = reader.get_frame_timestamp(range(len(reader)))
        starts = spans[:, 0]
        picks = np.searchsorted(starts, np.asarray(times) + 1e-3, side='right') - 1
        picks = picks.clip(0)
        images = reader.get_batch(picks).asnumpy()
    except decord.DECORDError as error:
        # its message: '[clock] /source/file.cc:12: ' before the reason, and a C++
        # stack trace on further lines
        line = str(error).strip().splitlines()[0]
        raise RuntimeError(line.split('.cc:')[-1]) from error
    _check_reached(times[-1], float(spans[picks[-1], 1]))
    return list(images), starts[picks].astype(float).tolist()


def _decode_on(container, stream, last_time: float):
    """Yields (time in s, frame) up to the first frame behind `last_time`."""
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        yield float(frame.pts * stream.time_base), frame
        if frame.pts * stream.time_base > last_time:
            return


def _frames_pyav(source: Source, times: Sequence[float]):
    with open_media(source) as container:
        stream = video_stream(container)
        picks: list[tuple[float, av.VideoFrame]] = []
        shown = None  # the newest frame not later than the wanted time
        ahead = iter(())
        pending = None
        for wanted in times:
            position = pending[0] if pending else -math.inf
            if wanted - position > SEEK_GAP:
                container.seek(int(wanted / stream.time_base), stream=stream)
                ahead = _decode_on(container, stream, max(times))
                shown, pending = None, next(ahead, None)
            while pending and pending[0] <= wanted + 1e-3:
                shown, pending = pending, next(ahead, None)
            # before the first frame of the file, its first frame is the one
            picks.append(shown or pending)
        if any(pick is None for pick in picks):
            raise ValueError('not one frame can be decoded')
        time, frame = picks[-1]
        _check_reached(times[-1], time + float((frame.duration or 0) * frame.time_base))
        images = [
            _upright(frame.to_ndarray(format='rgb24'), frame.rotation)
            for _, frame in picks
        ]
    return images, [time for time, _ in picks]


def _frames_torchcodec(source: Source, times: Sequence[float]):
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(
        source if isinstance(source, bytes) else str(source),
        dimension_order='NHWC',
        num_ffmpeg_threads=1,
        seek_mode='approximate',
    )
    first = decoder.metadata.begin_stream_seconds or 0.0
    last = decoder.metadata.end_stream_seconds - 1e-3
    batch = decoder.get_frames_played_at([min(max(t, first), last) for t in times])
    return list(batch.data.numpy()), batch.pts_seconds.tolist()


BACKENDS = {
    'decord': _frames_decord,
    'pyav': _frames_pyav,
    'torchcodec': _frames_torchcodec,
}


@lru_cache
def _loads(module: str) -> bool:
    """Whether a module can be imported: torchcodec without system FFmpeg can't."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        if importlib.util.find_spec(module.split('.')[0]):
            reason = str(error).strip().splitlines()[0]
            _warn_once(f'{module} is installed but does not load: {reason}')
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


@lru_cache(maxsize=10_000)
def _warn_once(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)


def _read_with_fallback(source: Source, times: Sequence[float], backend: str):
    reasons: list[str] = []
    for name in backend_order(backend):
        try:
            result = BACKENDS[name](source, times)
        except DECODER_ERRORS as error:
            reasons.append(f'{name}: {error}')
            continue
        if reasons:
            _warn_once(f'{source_name(source)}: read with {name} ({reasons[0]})')
        return result
    raise ClipError(f'{source_name(source)}: unreadable ({"; ".join(reasons)})')


def read_frames(
    source: Source,
    times: Sequence[float],
    backend: str = 'decord',
    timeout: float | None = None,
) -> tuple[list[np.ndarray], list[float]]:
    """Reads the frames that are on the screen at the given times.

    Args:
        source (str | Path | bytes): The file, or its content.
        times (Sequence[float]): Times in s, ascending.
        backend (str): 'decord', 'pyav' or 'torchcodec'; when it can't read the file
            the others that are installed are tried, and the log says so.
        timeout (float, optional): Limit in s.

    Returns:
        tuple: The frames, F arrays (H, W, 3) uint8 RGB, upright, and the time in s at
        which each of them begins.

    Raises:
        ClipError: No back end can read the file, or it takes too long.
    """
    check_regular_file(source)
    return with_time_limit(
        lambda: _read_with_fallback(source, times, backend),
        timeout,
        source_name(source),
    )


def _decode_sound(container, stream, start: float, end: float, rate: int):
    """Decodes from just before `start` to just behind `end`.

    Returns:
        tuple: Samples (channels, S) float32 at `rate`, the time of the first one in s,
        and the time in s at which decoding ended; empty samples when no packet lies
        in the span.
    """
    if start > 0:
        # codecs need some packets to settle; 0.2 s is more than any of them asks
        container.seek(int(max(start - 0.2, 0) / stream.time_base), stream=stream)
    resampler = av.AudioResampler(format='fltp', rate=rate)
    chunks, first, reached = [], None, 0.0
    for frame in container.decode(stream):
        time = frame.time if frame.time is not None else reached
        if first is None:
            first = time
        reached = time + frame.samples / frame.sample_rate
        chunks += [part.to_ndarray() for part in resampler.resample(frame)]
        if reached >= end:
            break
    if first is None:
        return np.zeros((1, 0), np.float32), start, reached
    chunks += [part.to_ndarray() for part in resampler.resample(None)]
    return np.concatenate(chunks, axis=1), first, reached


def _cut(samples: np.ndarray, first: float, start: float, end: float, rate: int):
    """Cuts [start, end) out of samples (S,) whose first lies at `first` (s); a track
    that begins late keeps its silence in front."""
    offset = round((first - start) * rate)
    samples = np.pad(samples, (offset, 0)) if offset > 0 else samples[-offset:]
    length = math.inf if math.isinf(end) else max(round((end - start) * rate), 0)
    return samples if length > len(samples) else samples[:length]


def _read_sound(source: Source, start: float, end: float, rate: int):
    with open_media(source) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            return None
        stream.codec_context.thread_count = 1
        stated = stream_span(container, stream)[1]
        samples, first, reached = _decode_sound(container, stream, start, end, rate)
    expected = min(end, stated) if not math.isinf(stated) else reached
    if max(reached, start) < expected - LENGTH_TOLERANCE:
        raise ValueError(
            f'the sound breaks off at {reached:.2f} s, its container says '
            f'{stated:.2f} s'
        )
    # every channel counts the same, as in the mean that users of torchaudio take
    # decoders fill the last packet up behind the stated end
    mono = _cut(samples.mean(axis=0), first, start, min(end, stated), rate)
    return mono.astype(np.float32) if mono.size else None


def read_audio(
    source: Source,
    start: float = 0.0,
    end: float | None = None,
    sample_rate: int = 16000,
    timeout: float | None = None,
) -> np.ndarray | None:
    """Reads a span of the sound track as mono.

    PyAV is used whatever back end reads the frames: decord's AudioReader returns a
    shortened track from a damaged file without an error.

    Args:
        source (str | Path | bytes): The file, or its content.
        start (float): Begin of the span in s.
        end (float, optional): End of the span in s; None means the end of the track.
        sample_rate (int): Rate of the result in Hz.
        timeout (float, optional): Limit in s.

    Returns:
        np.ndarray | None: (S,) float32, as long as the span or shorter when the track
        ends earlier; None when there is no sound stream, or none in the span.

    Raises:
        ClipError: The file can't be read, the track breaks off before the length that
            its container states, or reading takes too long.
    """
    check_regular_file(source)
    name = source_name(source)
    stop = math.inf if end is None else end
    try:
        return with_time_limit(
            lambda: _read_sound(source, start, stop, sample_rate), timeout, name
        )
    except DECODER_ERRORS as error:
        raise ClipError(f'{name}: unreadable sound ({error})') from error
