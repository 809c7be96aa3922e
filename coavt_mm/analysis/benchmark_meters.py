"""Meters of the benchmark: time, memory and arithmetic of what is run."""

import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Timing:
    """Seconds a step, of each round, and the peak memory in bytes."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def median(self) -> float:
        """In s."""
        return median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third, in s."""
        return quartiles(self.seconds)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile; of a single value, the value twice."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method='inclusive')
    return low, high


class Meter:
    """What each part of a step takes by itself, without the parts inside it.

    Args:
        now: A mark of time or work.
        between: What lies between two marks.
    """

    def __init__(self, now: Callable[[], Any], between: Callable[[Any, Any], float]):
        self.now, self.between = now, between
        self._open: list[str] = []
        self._marks: list[tuple[str, str | None, Any, Any]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block to a part."""
        around = self._open[-1] if self._open else None
        self._open.append(name)
        began = self.now()
        try:
            yield
        finally:
            self._marks.append((name, around, began, self.now()))
            self._open.pop()

    def totals(self) -> dict[str, float]:
        """Part -> its own share, in the order in which parts ended first."""
        result: dict[str, float] = defaultdict(float)
        for name, around, began, ended in self._marks:
            result[name] += self.between(began, ended)
            if around is not None:
                result[around] -= self.between(began, ended)
        return dict(result)


def clock(cuda: bool) -> Meter:
    """A meter of seconds, on the device's own clock."""
    if not cuda:
        return Meter(time.perf_counter, lambda began, ended: ended - began)

    def mark() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    return Meter(mark, lambda began, ended: began.elapsed_time(ended) / 1000)


def reset_peak(device: torch.device) -> None:
    """Begin to look for the peak of memory anew."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not Linux, or no right: the peak of the whole run, then
        Path('/proc/self/clear_refs').write_text('5', encoding='ascii')


def peak_memory(device: torch.device) -> int:
    """Most memory since then in bytes: torch's on a GPU, else the process's."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    try:
        text = Path('/proc/self/status').read_text(encoding='ascii')
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in text.splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024


@contextmanager
def counted_flops() -> Iterator[FlopCounterMode]:
    """Count the FLOPs of what is run in the block.

    Attention is decomposed into products, which are counted on every device alike; what
    a fused kernel computes twice is counted once.
    """
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        yield counter
