"""Opening of files: is it one, is it one clip, and who waits how long for it?"""

import io
import logging
import os
import stat
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar

import av
from mmengine.logging import print_log

from coavt_mm.errors import ClipError, shown

Result = TypeVar('Result')

# What the decoders raise on a bad file. PyAV's errors are all OSError or
# ValueError as well; decord's DECORDError is an Exception of its own and is
# turned into RuntimeError where decord is called.
DECODER_ERRORS = (
    av.FFmpegError, OSError, ValueError, RuntimeError, IndexError, MemoryError,
)  # fmt: skip

# Containers that hold their media themselves. Playlists, session descriptions and
# patterns of file names lead to other files or into the network, whatever the suffix.
CONTAINERS = (
    'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,live_flv,asf,asf_o,ogg,'
    'wav,w64,flac,mp3,aac,loas,ac3,eac3,aiff,au,caf,amr,amrnb,amrwb,ape,wv,tta,voc,dts,'
    'dtshd,truehd,mlp,mxf,nut,rm,dv,gxf,ivf,obu,yuv4mpegpipe,h261,h263,h264,hevc,vvc,av1,'
    'm4v,mpegvideo,mjpeg,vc1,cavsvideo,nsv,wtv,dsf,aea,tak,qoa,smk,bink,roq,swf'
)
PLAYLISTS = (b'#EXTM3U', b'ffconcat', b'v=0', b'<?xml', b'<MPD', b'[reference]',
             b'<smil', b'<asx', b'[playlist]')  # fmt: skip


# Of one picture of a film: 8192 x 8192; 8K has half of it.
MOST_PIXELS = 2**26
# Of all pictures that are read at once: 1.5 GB in RGB.
MOST_PIXELS_READ = 2**29


def check_pixels(width: int, height: int, count: int, most: int = MOST_PIXELS) -> None:
    """Refuse pictures that a small file can hold and the memory can't.

    Args:
        width: In pixels.
        height: In pixels.
        count: Pictures that are read at once.
        most: Pixels that one may have.

    Raises:
        ValueError: They are too large, or too many of their size.
    """
    if width * height > most or width * height * count > MOST_PIXELS_READ:
        raise ValueError(
            f'{count} picture(s) of {width} x {height} pixels are more than is read '
            f'(up to {most} each, {MOST_PIXELS_READ} at once); make them smaller'
        )


def source_name(source) -> str:
    """The name that messages give to a source; what can't be printed is escaped."""
    if isinstance(source, bytes):
        return '<bytes>'
    return shown(str(source))


@lru_cache(maxsize=10_000)
def warn_once(message: str) -> None:
    """Log what is odd about a file, once in a process."""
    print_log(shown(message), logger='current', level=logging.WARNING)


def check_regular_file(source) -> None:
    """Refuse what isn't a plain file: opening a FIFO blocks for ever.

    Raises:
        ClipError: Nothing is there, or it is empty, no regular file, or may not be
            read.
    """
    if not isinstance(source, str | os.PathLike):
        return
    name = source_name(source)
    try:
        status = os.stat(source)
    except OSError as error:
        raise ClipError(f'{name}: {error.strerror}') from error
    except ValueError as error:  # a NUL or a lone surrogate in the name
        raise ClipError(f'{name}: no name of a file ({error})') from error
    if not stat.S_ISREG(status.st_mode):
        raise ClipError(f'{name}: not a regular file')
    if status.st_size == 0:
        raise ClipError(f'{name}: the file is empty')
    if not os.access(source, os.R_OK):
        raise ClipError(f'{name}: Permission denied')


def with_time_limit(
    function: Callable[[], Result], seconds: float | None, name: str
) -> Result:
    """Run a decoder with a time limit.

    The decoders hang inside C code, where a Python signal handler (SIGALRM) never
    gets its turn; and they release the GIL there. So the call runs in a daemon thread
    that is abandoned when its time is up: this works in data-loader workers as in the
    main process, on any thread, and costs some 0.1 ms. The stuck thread stays until
    its call returns or the process ends; a hanging file is drawn once only, since
    the data set remembers it as bad.

    Args:
        function: What to run, without arguments.
        seconds: The limit in s; None runs without one.
        name: Name of the clip for the message.

    Raises:
        ClipError: The time is up.
    """
    if seconds is None:
        return function()
    outcome: dict[str, Any] = {}

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


def head(source: 'str | Path | bytes', size: int = 64) -> bytes:
    """The first bytes of a source."""
    if isinstance(source, bytes):
        return source[:size]
    with open(source, 'rb') as file:
        return file.read(size)


def refuse_playlist(source: 'str | Path | bytes') -> None:
    """Refuse text that tells a player where the media lie.

    Raises:
        ValueError: It is such a list.
    """
    start = head(source).lstrip(b'\xef\xbb\xbf \t\r\n')
    if start.lower().startswith(tuple(mark.lower() for mark in PLAYLISTS)):
        raise ValueError('a playlist, not a clip')


def open_container(source: 'str | Path | bytes') -> 'av.container.InputContainer':
    """Open a file for PyAV, and nothing that the file names.

    The path is absolute, so that no name is taken for a protocol.

    Raises:
        ValueError, av.FFmpegError: It is a playlist, or no media file.
    """
    refuse_playlist(source)
    file: str | IO[bytes]
    if isinstance(source, bytes):
        file = io.BytesIO(source)
    else:
        file = path = os.path.abspath(source)
        try:
            path.encode()
        except UnicodeEncodeError:  # PyAV takes names in UTF-8 only
            file = open(path, 'rb')  # noqa: SIM115 (closed with the container)
    return av.open(file, 'r', options=dict(format_whitelist=CONTAINERS))
