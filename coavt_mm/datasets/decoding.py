"""Frames and sound out of media files, or a `ClipError` that says why not.

Letters: F frames, H height, W width (pixels), S audio samples.
"""

import importlib.util
import io
import math
import os
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Optional, TypeVar

import av
import numpy as np
from mmengine.logging import print_log

from coavt_mm.errors import ClipError, ConfigError

Source = str | Path | bytes
Result = TypeVar('Result')

# What the decoders raise on a bad file. PyAV's errors are all OSError or
# ValueError as well; decord's DECORDError is an Exception of its own and is
# turned into RuntimeError where decord is called.
DECODER_ERRORS = (av.FFmpegError, OSError, ValueError, RuntimeError, IndexError)

# A gap (s) between two wanted frames from which seeking anew is cheaper than
# decoding on. Clips of the field have their key frames 1 to 10 s apart.
SEEK_GAP = 10.0

# A stream may end this much (s) before the length that its container states:
# encoders round up to whole packets, and the last frame stays on the screen.
LENGTH_TOLERANCE = 0.5

# Containers without an index: their length is guessed from the bit rate.
GUESSED_LENGTH = ('mp3', 'aac', 'mpeg', 'ac3')


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds; times in seconds, None where there is no such stream.

    Args:
        video_start, video_end (float, optional): Span of the picture.
        audio_start, audio_end (float, optional): Span of the sound. `audio_end` is
            infinite where the container states no length for the track.
    """

    video_start: float | None = None
    video_end: float | None = None
    audio_start: float | None = None
    audio_end: float | None = None

    @property
    def has_video(self) -> bool:
        return self.video_start is not None

    @property
    def has_audio(self) -> bool:
        return self.audio_start is not None


def source_name(source: Source) -> str:
    """The name that messages give to a source."""
    return '<bytes>' if isinstance(source, bytes) else str(source)


def check_regular_file(source: Source) -> None:
    """Refuses what isn't a plain file: opening a FIFO blocks for ever.

    Raises:
        ClipError: Nothing is there, or it is empty or no regular file.
    """
    if isinstance(source, bytes):
        return
    try:
        status = os.stat(source)
    except OSError as error:
        raise ClipError(f'{source}: {error.strerror}') from error
    if not stat.S_ISREG(status.st_mode):
        raise ClipError(f'{source}: not a regular file')
    if status.st_size == 0:
        raise ClipError(f'{source}: the file is empty')


def with_time_limit(
    function: Callable[[], Result], seconds: float | None, name: str
) -> Result:
    """Runs a decoder with a time limit.

    The decoders hang inside C code, where a Python signal handler (SIGALRM) never
    gets its turn; and they release the GIL there. So the call runs in a daemon thread
    that is abandoned when its time is up: this works in data-loader workers as in the
    main process, on any thread, and costs some 0.1 ms. The stuck thread stays until
    its call returns or the process ends; a hanging file is drawn once only, since
    the data set remembers it as bad.

    Args:
        function (Callable): What to run, without arguments.
        seconds (float, optional): The limit in s; None runs without one.
        name (str): Name of the clip for the message.

    Raises:
        ClipError: The time is up.
    """
    if seconds is None:
        return function()
    outcome: dict[str, object] = {}

    def call() -> None:
        try:
            outcome['value'] = function()
        except BaseException as error:  # handed on to the waiting thread, below
            outcome['error'] = error

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise ClipError(f'{name}: decoding took longer than {seconds:g} s')
    if 'error' in outcome:
        raise outcome['error']
    return outcome['value']


def _open(source: Source) -> 'av.container.InputContainer':
    return av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source))


def _video_stream(container) -> Optional['av.VideoStream']:
    """The first real video stream; the cover picture of a song is none."""
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            stream.codec_context.thread_count = 1  # workers are the parallelism
            return stream
    return None


def _span(container, stream) -> tuple[float, float]:
    """Start and end of a stream in s; the end is infinite where nobody states it."""
    base = stream.time_base
    start = float(stream.start_time * base) if stream.start_time is not None else 0.0
    if container.format.name in GUESSED_LENGTH:
        return start, math.inf
    if stream.duration is not None:
        return start, start + float(stream.duration * base)
    if 'DURATION' in stream.metadata:  # Matroska: '00:00:10.016000000'
        hours, minutes, seconds = stream.metadata['DURATION'].split(':')
        return start, 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    # The container's length is that of its longest stream: no bound for others.
    if len(container.streams) == 1 and container.duration is not None:
        return start, start + container.duration / av.time_base
    return start, math.inf


def probe(source: Source) -> MediaInfo:
    """Reads which streams a file has and what they span.

    Args:
        source (str | Path | bytes): The file, or its content.

    Raises:
        ClipError: The file can't be opened.
    """
    check_regular_file(source)
    try:
        with _open(source) as container:
            video = _video_stream(container)
            video_span = _span(container, video) if video else (None, None)
            audio = next(iter(container.streams.audio), None)
            audio_span = _span(container, audio) if audio else (None, None)
            if video and math.isinf(video_span[1]) and container.duration:
                video_span = (video_span[0], container.duration / av.time_base)
    except DECODER_ERRORS as error:
        raise ClipError(f'{source_name(source)}: {error}') from error
    return MediaInfo(*video_span, *audio_span)


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
    with _open(source) as container:
        stream = _video_stream(container)
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


def backend_order(backend: str) -> list[str]:
    """The back end asked for, then the others that are installed.

    Raises:
        ConfigError: The name is unknown or the back end isn't installed.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend '{backend}' is none of {', '.join(BACKENDS)}")
    module = {'pyav': 'av'}
    installed = [
        name for name in BACKENDS if importlib.util.find_spec(module.get(name, name))
    ]
    if backend not in installed:
        raise ConfigError(f"backend '{backend}' is not installed: pip install it")
    return [backend] + [name for name in installed if name != backend]


@lru_cache(maxsize=10_000)
def _warn_once(message: str) -> None:
    print_log(message, logger='current', level=30)


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
    with _open(source) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            return None
        stream.codec_context.thread_count = 1
        stated = _span(container, stream)[1]
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
