"""A clip -> its windows, ready for the model; the next ones are read meanwhile."""

import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Full, Queue
from threading import Event, Lock
from typing import Any, TypeVar

import torch
from torch import nn

from coavt_mm.apis.answering import Window
from coavt_mm.apis.inputs import Clip
from coavt_mm.apis.pipeline import ClipPipeline
from coavt_mm.apis.windows import spans, without_silence
from coavt_mm.datasets.opening import source_name
from coavt_mm.errors import ClipError

Item = TypeVar('Item')

_END = object()
WAIT = 0.1  # s, until a thread looks whether it should end


def samples(
    pipeline: ClipPipeline,
    seconds: float,
    clip: Clip,
    index: int = 0,
    cut: bool = True,
    hop: float | None = None,
    isolate: bool = False,
) -> Iterator[dict | Window]:
    """Read a clip, window by window.

    Args:
        pipeline: The model's.
        seconds: Length of a window in s.
        clip: The clip.
        index: Its number among those that are answered.
        cut: Whether to cut a longer clip.
        hop: From one window to the next in s; default: windows don't overlap.
        isolate: Whether a process beside decodes the files; the pipeline may ask for
            it, too.

    Yields:
        Packed samples; last a window with ``error`` where the clip can't be read.
    """
    try:
        clip.check()
        rate, isolate = pipeline.sample_rate, isolate or pipeline.isolate
        for span in spans(clip, seconds, rate, cut, hop=hop, isolate=isolate):
            row = dict(span.row, sample_id=clip.name, sample_idx=index)
            packed = pipeline(row)
            place = dict(shown=(span.start, span.end), share=span.share)
            packed['data_samples'].set_metainfo(place)
            yield without_silence(packed) if cut else packed
    except ClipError as error:
        reason = ' '.join(str(error).replace('<bytes>', clip.name).split())
        named = reason.startswith((clip.name, source_name(clip.name)))
        reason = reason if named else f'{clip.name}: {reason}'
        yield Window(index, clip.name, error=reason)


def ahead(items: Generator[Item, None, None], room: int) -> Iterator[Item]:
    """Go through a generator in a thread, so that it works while its user does.

    It is closed when it is at its end or its user goes no further; what it raises, is
    raised at that place.

    Args:
        items: The generator.
        room: How many items it may be ahead.
    """
    queue: Queue[Any] = Queue(room)
    stop = Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                queue.put(item, timeout=WAIT)
                break
            except Full:
                pass

    def run() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    break
        finally:
            items.close()
            put(_END)

    with ThreadPoolExecutor(1, 'reader') as pool:
        try:
            end = pool.submit(run)
            while (item := queue.get()) is not _END:
                yield item
            end.result()
        finally:
            stop.set()


class ReaderCore:
    """A core that the thread that reads has to itself while a model computes on CPUs.

    Else each product of the model waits, at its end, for the part of the core on which
    the reader is. Several threads may compute at once.
    """

    def __init__(self) -> None:
        self.lock, self.users, self.threads = Lock(), 0, 1

    @contextmanager
    def left(self, beside: bool, model: nn.Module) -> Iterator[None]:
        """Compute meanwhile with no more threads than there are other cores.

        Args:
            beside: Whether somebody reads. Say it from what is asked: products differ
                in their last bits with the number of threads.
            model: That computes; on a GPU nothing changes.
        """
        if not beside or next(model.parameters()).device.type != 'cpu':
            yield
            return
        with self.lock:
            if not self.users:
                self.threads = torch.get_num_threads()
            self.users += 1
        try:
            torch.set_num_threads(max(1, min(self.threads, _cores() - 1)))
            yield
        finally:
            torch.set_num_threads(self.threads)
            with self.lock:
                self.users -= 1


def _cores() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


READER_CORE = ReaderCore()
