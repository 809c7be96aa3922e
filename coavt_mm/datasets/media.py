"""Media files: may they be opened, what do they hold, and who waits how long."""

import io
import math
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import av

from coavt_mm.errors import ClipError

Source = str | Path | bytes
Result = TypeVar('Result')

# What the decoders raise on a bad file. PyAV's errors are all OSError or
# ValueError as well; decord's DECORDError is an Exception of its own and is
# turned into RuntimeError where decord is called.
DECODER_ERRORS = (av.FFmpegError, OSError, ValueError, RuntimeError, IndexError)

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


def open_media(source: Source) -> 'av.container.InputContainer':
    return av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source))


def video_stream(container) -> 'av.VideoStream | None':
    """The first real video stream; the cover picture of a song is none."""
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            stream.codec_context.thread_count = 1  # workers are the parallelism
            return stream
    return None


def stream_span(container, stream) -> tuple[float, float]:
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
        with open_media(source) as container:
            video = video_stream(container)
            video_span = stream_span(container, video) if video else (None, None)
            audio = next(iter(container.streams.audio), None)
            audio_span = stream_span(container, audio) if audio else (None, None)
            if video and math.isinf(video_span[1]) and container.duration:
                video_span = (video_span[0], container.duration / av.time_base)
    except DECODER_ERRORS as error:
        raise ClipError(f'{source_name(source)}: {error}') from error
    return MediaInfo(*video_span, *audio_span)
