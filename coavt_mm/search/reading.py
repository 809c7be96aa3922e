"""Clips are read ahead in threads while the model is at work.

Each thread has a process beside that decodes, so that a clip that crashes a decoder
costs itself, and not hours of work.

Letters: F frames, Q queries, E projected width.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from queue import Empty, Full, Queue
from threading import Event
from typing import Any

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.apis.answering import Window, joined, without_rests
from coavt_mm.apis.inputs import Clip, as_clips
from coavt_mm.apis.reading import samples
from coavt_mm.apis.windows import TIMEOUT
from coavt_mm.datasets.isolation import IsolatedSource
from coavt_mm.datasets.sources import FileSource
from coavt_mm.errors import ClipError
from coavt_mm.search.scanning import Source, Stamp

_END = object()
WAIT = 0.1  # s, until a thread looks whether it should end


@dataclass(frozen=True)
class Embedded:
    """A clip that went through the model.

    Args:
        source: The clip.
        answer: From the inferencer: ``windows``, each with ``embeddings`` (stream ->
            (F, Q, E)), or ``error``.
        stamp: How its files looked before they were read; None: they are missing.
        hash: Of their content.
        seconds: Its length; None where it isn't known.
    """

    source: Source
    answer: dict
    stamp: Stamp | None
    hash: str
    seconds: float | None


def embedded(
    inferencer: CoAVTInferencer,
    wanted: Iterable[Source],
    batch_size: int,
    workers: int,
    hop: float | None,
) -> Iterator[Embedded]:
    """Embed clips, in order; those next in turn are read meanwhile.

    Args:
        inferencer: With a CoAVT.
        wanted: The clips.
        batch_size: Windows that go through the model at once.
        workers: Threads that read; each is ahead by at most a batch of windows.
        hop: From one window to the next in s; None: windows don't overlap.
    """
    readings: deque[_Reading] = deque()  # of clips whose answer is still to come
    with _readers(inferencer, wanted, batch_size, workers, hop) as read:
        windows = _windows(inferencer, read, readings, batch_size)
        for _, group in groupby(windows, lambda window: window.index):
            found = without_rests(list(group))
            reading = readings.popleft()
            yield reading.done(joined(found))


def _windows(
    inferencer: CoAVTInferencer,
    read: 'Iterable[_Reading]',
    readings: deque,
    batch_size: int,
) -> Iterator[Window]:
    def all_samples() -> Iterator[Any]:
        for reading in read:
            readings.append(reading)
            yield from reading

    found = all_samples()
    while chunk := list(islice(found, batch_size)):
        yield from inferencer.forward(inferencer.collated(chunk))


class _Reading:
    """A clip that a thread reads: its samples, in a queue of limited length."""

    def __init__(self, source: Source, index: int, room: int, stop: Event):
        self.source, self.index, self.stop = source, index, stop
        self.queue: Queue = Queue(room)
        self.stamp: Stamp | None = None
        self.hash = ''
        self.seconds: float | None = None
        self.future: Future

    def run(self, inferencer: CoAVTInferencer, hop: float | None) -> None:
        """Read; in a thread."""
        try:
            clip = self._clip()
            try:
                self.stamp, self.hash = self.source.stamp(), self.source.hash
                self.seconds = _length(self.source)
            except (OSError, ClipError):
                pass  # so will the next line, and say why
            given = (inferencer.pipeline, inferencer.seconds, clip, self.index)
            for sample in samples(*given, hop=hop, isolate=True):
                self._put(sample)
        finally:
            self._put(_END)

    def _clip(self) -> Clip:
        source = self.source
        span = dict(start=source.start, end=source.end)
        named = dict(name=source.path, video=source.path, audio=source.sound or None)
        return as_clips(named | span)[0]

    def _put(self, sample: Any) -> None:
        while not self.stop.is_set():
            try:
                self.queue.put(sample, timeout=WAIT)
                return
            except Full:
                continue

    def __iter__(self) -> Iterator[Any]:
        """Its samples, as they come."""
        while (sample := self._get()) is not _END:
            yield sample
        self.future.result()  # raises what the thread did

    def _get(self) -> Any:
        while True:
            try:
                return self.queue.get(timeout=WAIT)
            except Empty:
                if self.stop.is_set():
                    return _END

    def done(self, answer: dict) -> Embedded:
        """With the model's answer."""
        return Embedded(self.source, answer, self.stamp, self.hash, self.seconds)


@contextmanager
def _readers(
    inferencer: CoAVTInferencer,
    wanted: Iterable[Source],
    room: int,
    workers: int,
    hop: float | None,
) -> Iterator[Iterator[_Reading]]:
    """Threads that read clips ahead; at the end of the block they stop."""
    stop, ahead = Event(), deque[_Reading]()
    pool, waiting = ThreadPoolExecutor(workers, 'reader'), enumerate(wanted)

    def readings() -> Iterator[_Reading]:
        while True:
            for index, source in islice(waiting, workers + 1 - len(ahead)):
                reading = _Reading(source, index, room, stop)
                reading.future = pool.submit(reading.run, inferencer, hop)
                ahead.append(reading)
            if not ahead:
                return
            yield ahead.popleft()

    try:
        yield readings()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _length(source: Source) -> float | None:
    """Of the span, in s; None for a still picture."""
    infos = [IsolatedSource(FileSource(path), TIMEOUT).info for path in source.files]
    ends = [end for info in infos for end in (info.video_end, info.audio_end) if end]
    stop = min(max(ends, default=math.inf), source.end or math.inf)
    return stop - (source.start or 0.0) if math.isfinite(stop) else None
