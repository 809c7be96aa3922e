"""Decoding in a process beside: what ends that one costs a clip.

A decoder's crash, a file it hangs on and one that fills the memory end the process that
reads them. Here that is a child, one for each thread that reads, which is started
again. It is no sandbox: it may do what its parent may.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from coavt_mm.datasets.media_info import MediaInfo
from coavt_mm.datasets.sources import ArraySource, ClipSource, FileSource, Frames
from coavt_mm.errors import ClipError, CoAVTError, ConfigError

# What a child may take beyond what it began with: 4 GB.
MEMORY = 4 << 30

_START = 'from coavt_mm.datasets.isolation import serve; serve({number})'


class IsolatedSource(ClipSource):
    """A source that is read by a child process.

    Args:
        source: A file or a sample of a shard.
        seconds: Limit for one reading in s; None waits for ever.
    """

    def __init__(self, source: ClipSource, seconds: float | None):
        self.source, self.seconds = source, seconds
        self.name, self.stored_times = source.name, source.stored_times

    def _ask(self, name: str, *args: Any) -> Any:
        return _own_readers().ask((self.source, name, args), self.seconds, self.name)

    @property
    def rate(self) -> float:  # type: ignore[override]
        """Frames per second."""
        return self._ask('rate')

    @property
    def info(self) -> MediaInfo:
        """See ``ClipSource``."""
        return self._ask('info')

    def sound_span(self, start: float, end: float | None) -> tuple[float, float | None]:
        """See ``ClipSource``; nothing is read."""
        return self.source.sound_span(start, end)

    def frames(self, times: Sequence[float], backend: str = 'pyav') -> Frames:
        """See ``ClipSource``."""
        return self._ask('frames', times, backend)

    def audio(self, start: float, end: float | None, rate: int) -> np.ndarray | None:
        """See ``ClipSource``."""
        return self._ask('audio', start, end, rate)


def guarded(
    source: ClipSource, isolate: bool, seconds: float | None
) -> tuple[ClipSource, float | None]:
    """A source as it is to be read, and the limit in s that its reader is to keep.

    Args:
        source: As the row has it.
        isolate: Whether a child process reads it, which keeps the limit itself.
        seconds: The limit; None for none.

    Returns:
        The source, and the limit or None.
    """
    if isinstance(source, IsolatedSource):
        return source, None
    if isolate and not isinstance(source, ArraySource):
        return IsolatedSource(source, seconds), None
    return source, seconds


class _Reader:
    """A process that reads for this one; started when it is asked, again if it died."""

    process: subprocess.Popen | None = None
    read = ''  # what it read last, and keeps open

    def ask(self, question: tuple, seconds: float | None, name: str) -> Any:
        """The answer to a question of :func:`serve`.

        Raises:
            ClipError: There is none, or it is this error.
            ConfigError: The process can't be started.
        """
        if self.process is not None and self.process.poll() is not None:
            self.end()  # it died idle, over nothing that is asked now
        if self.process is None:
            self._start()
        self.read = name
        try:
            error, answer = self._answer((os.getcwd(), *question), seconds, name)
        except BaseException:  # also Ctrl-C: what still comes is nobody's answer
            self.end()
            raise
        if error is not None:
            raise error
        return answer

    def _start(self) -> None:
        ours, its = socket.socketpair()
        with its:
            paths = os.pathsep.join(path for path in sys.path if path)
            self.process = subprocess.Popen(
                [sys.executable, '-c', _START.format(number=its.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # answers alone go to the standard output
                pass_fds=[its.fileno()],
                env={**os.environ, 'PYTHONPATH': paths},
            )
        self.line = Connection(ours.detach())
        try:
            self.line.recv()  # that it is there
        except EOFError as error:
            self.end()
            raise ConfigError(
                'isolate=True: the process that decodes does not start'
            ) from error

    def _answer(self, question: tuple, seconds: float | None, name: str) -> tuple:
        assert self.process is not None
        try:
            self.line.send(question)
            if self.line.poll(seconds):
                return self.line.recv()
        except (EOFError, OSError) as error:
            status = _told(self.process.wait())
            raise ClipError(f'{name}: decoding ended its process ({status})') from error
        raise ClipError(f'{name}: decoding took longer than {seconds:g} s')

    def end(self) -> None:
        """End the process, however it is."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.line.close()
            self.process = None


class _Readers:
    """Those of this process: one for each thread that asks, up to one for each core."""

    def __init__(self) -> None:
        self.owner, self.idle = os.getpid(), list[_Reader]()
        self.free = threading.Semaphore(max(os.cpu_count() or 1, 2))

    def ask(self, question: tuple, seconds: float | None, name: str) -> Any:
        """As a reader that has time answers, at best the one that has the file open."""
        with self.free:
            same = [reader for reader in self.idle if reader.read == name]
            try:
                reader = (same or self.idle)[-1]
                self.idle.remove(reader)
            except (IndexError, ValueError):  # there is none, or another thread has it
                reader = _Reader()
            try:
                return reader.ask(question, seconds, name)
            finally:
                self.idle.append(reader)

    def end(self) -> None:
        """End those that have nothing to do."""
        while self.idle:
            self.idle.pop().end()


_readers = _Readers()


def _own_readers() -> _Readers:
    """Those of this process; a forked worker gets its own."""
    global _readers
    if _readers.owner != os.getpid():
        _readers = _Readers()
    return _readers


def _told(status: int) -> str:
    names = {-number: number.name for number in signal.Signals}
    return names.get(status, f'exit status {status}')


def limit_memory() -> None:
    """Let this process take ``MEMORY`` beyond what it has, where the system can."""
    try:
        import resource

        with open('/proc/self/statm', encoding='ascii') as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # not on Windows and macOS
        return
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def serve(number: int) -> None:
    """Answer until the other end is gone.

    Args:
        number: Of the file descriptor that questions come from.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all
    limit_memory()
    line, kept = Connection(number), _Kept()
    line.send('ready')
    while True:
        try:
            folder, source, name, args = line.recv()
        except EOFError:
            return
        os.chdir(folder)  # where its parent is
        answer: tuple
        try:
            value = getattr(kept.opened(source), name)
            answer = None, value(*args) if callable(value) else value
        except CoAVTError as error:
            answer = error, None
        except MemoryError:
            answer = ClipError(f'{source.name}: out of memory'), None
        line.send(answer)


class _Kept:
    """The last source, which is often asked for again: open."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.key: tuple | None = None

    def opened(self, source: ClipSource) -> ClipSource:
        """The source, opened once for all questions in a row."""
        key = _identity(source)
        if key is None or key != self.key:
            self.stack.close()
            self.key = None
            self.source = self.stack.enter_context(source.opened())
            self.key = key
        return self.source


def _identity(source: ClipSource) -> tuple | None:
    """What a file is told from others by; None for what is no file."""
    file = source.file if isinstance(source, FileSource) else None
    if not isinstance(file, str | os.PathLike):
        return None
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
