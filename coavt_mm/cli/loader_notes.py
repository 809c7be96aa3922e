"""Is the loader fast enough, and is there room for what its workers hand over?"""

import os
import shutil
from typing import Any

from mmengine.logging import MessageHub
from mmengine.structures import BaseDataElement
from torch import Tensor

from coavt_mm.engine.dead_workers import SHARED_MEMORY

#: Share of a step's time that may pass in waiting for data.
MOST_WAITING = 0.2


def waiting_note(hub: MessageHub, steps: int, workers: int) -> str | None:
    """Say so where the loader holds the training up; None where it does not.

    Args:
        hub: Has the times of steps, and of waiting for data in them, in s.
        steps: How many of the last are looked at.
        workers: Of the loader.
    """
    names = ('train/data_time', 'train/time')
    if any(name not in hub.log_scalars for name in names):
        return None
    waited, whole = (hub.get_scalar(name).mean(steps) for name in names)
    if waited <= MOST_WAITING * whole:
        return None
    return (
        f'{waited / whole:.0%} of the last {steps} steps were spent waiting for data: '
        f'give train_dataloader more num_workers than {workers} where the machine has '
        'the cores, or read shards (docs/scaling.md)'
    )


def room_note(loader: Any, batch: Any) -> str | None:
    """Say so where the batches that workers hold may not fit in shared memory.

    Args:
        loader: With workers, or without.
        batch: One of its batches.
    """
    workers = getattr(loader, 'num_workers', 0)
    if not workers or not os.path.isdir(SHARED_MEMORY):
        return None
    here = os.environ.get('LOCAL_WORLD_SIZE') or os.environ.get('SLURM_NTASKS_PER_NODE')
    count = int(here) if here and here.isdigit() else 1
    held = count * workers * (loader.prefetch_factor or 1)
    need, there = held * _size(batch), shutil.disk_usage(SHARED_MEMORY).total
    if need <= there:
        return None
    return (
        f'workers may hold {held} batches, {need / 1e9:.2f} GB, and {SHARED_MEMORY} '
        f'has {there / 1e9:.2f} GB: a full one ends in a "Bus error". Use fewer '
        'num_workers, or give the container more with --ipc=host or --shm-size'
    )


def _size(part: Any) -> int:
    """Bytes of all tensors in a batch."""
    if isinstance(part, Tensor):
        return part.nbytes
    if isinstance(part, BaseDataElement):
        part = list(part.all_values())
    if isinstance(part, dict):
        part = list(part.values())
    return sum(map(_size, part)) if isinstance(part, list | tuple) else 0
