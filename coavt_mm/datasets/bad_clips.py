"""Which clips of a data set can't be read, known to all workers of a loader."""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.utils.data import get_worker_info

# Draws (samples) from which the share of bad clips is taken as an estimate.
MIN_DRAWS = 100

# Slots of the counters that the workers of a loader share, one writer each.
WORKER_SLOTS = 256


class BadClips:
    """Flags of the clips found bad, and how many draws met one.

    Both lie in shared memory, whether workers are forked or spawned: a byte for each
    clip, and (draws, bad draws) in a slot of each worker.

    Args:
        flags: (N,) bool, what is known already.
    """

    def __init__(self, flags: torch.Tensor):
        self.flags = flags.share_memory_()
        counts = torch.zeros(WORKER_SLOTS, 2, dtype=torch.int64)
        self.counts = counts.share_memory_()
        # process and, from 1, the clip that it is reading; 0 between two
        self.reading = torch.zeros_like(counts).share_memory_()

    def __contains__(self, index: int) -> bool:
        return bool(self.flags.numpy()[index])

    def add(self, index: int) -> bool:
        """Flag a clip; returns whether it was unknown."""
        unknown = index not in self
        self.flags[index] = True
        return unknown

    def count(self, good: bool) -> None:
        """Count a draw of this worker."""
        worker = get_worker_info()
        slot = self.counts.numpy()[(worker.id if worker else 0) % WORKER_SLOTS]
        slot += (1, not good)

    def read_by(self, pids: Collection[int]) -> list[int]:
        """Indices of the clips that processes are reading, or died over."""
        return [
            index - 1 for pid, index in self.reading.tolist() if pid in pids and index
        ]

    @contextmanager
    def noted(self, index: int) -> Iterator[None]:
        """Note a clip for as long as this worker reads it."""
        worker = get_worker_info()
        slot = self.reading.numpy()[(worker.id if worker else 0) % WORKER_SLOTS]
        slot[0], slot[1] = os.getpid(), index + 1
        try:
            yield
        finally:
            slot[1] = 0

    @property
    def indices(self) -> list[int]:
        """Of the clips found bad."""
        return self.flags.nonzero()[:, 0].tolist()

    def too_many(self, max_share: float) -> tuple[int, int] | None:
        """Draws and bad ones among them, if that is more than a share of enough."""
        draws, bad = self.counts.sum(dim=0).tolist()
        return (draws, bad) if draws >= MIN_DRAWS and bad > max_share * draws else None

    def among(self, indices: int | Sequence[int]) -> 'BadClips':
        """What is known of some of the clips, as mmengine names them: the first, the
        last (a negative number) or those with these indices. Draws count from 0."""
        if isinstance(indices, int):
            part = slice(indices) if indices >= 0 else slice(indices, None)
            return BadClips(self.flags[part].clone())
        return BadClips(self.flags[torch.tensor(list(indices), dtype=torch.int64)])
