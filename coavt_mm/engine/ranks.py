"""Several processes: all of them begin with the same weights, at the same iteration.

A checkpoint in a folder of one machine is none for the others, and file systems show a
new file late. DDP makes weights equal before they are loaded, never again: a process
that found no checkpoint would train other weights than the rest, in silence.
"""

import os.path as osp
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from uuid import uuid4

import torch
from mmengine.dist import (
    all_gather,
    all_gather_object,
    barrier,
    broadcast_object_list,
    get_rank,
    get_world_size,
)
from mmengine.runner import Runner
from torch.distributed import DistError
from torch.distributed.tensor import DTensor

from coavt_mm.engine.weights import bare_model
from coavt_mm.errors import CheckpointError, ConfigError, TrainingError

# what gloo and NCCL say of a process that does not answer
_LOST = re.compile(r'gloo|nccl|timed out|connection (closed|reset)', re.IGNORECASE)


@contextmanager
def lost_processes() -> Iterator[None]:
    """Say in one line that another process is gone, or has not answered in time.

    Raises:
        TrainingError: Within the block, in place of the library's own error.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().split('\n')[0]
        lost = isinstance(error, DistError) or _LOST.search(reason)
        if get_world_size() == 1 or not lost:
            raise
        raise TrainingError(
            'another process of this run is gone, frozen or late (its own log says '
            'more; env_cfg.dist_cfg.timeout is how long it is waited for); checkpoints '
            f'are as they were, go on with --resume. The library says: {reason:.200}'
        ) from error


def agree_on_start(runner: Runner) -> None:
    """Let all processes begin from what the first one found.

    Args:
        runner: Before it trains or tests.

    Raises:
        CheckpointError: On every process, if one of them can't read the file.
    """
    if get_world_size() == 1:
        return
    found = [(runner._load_from, runner._resume)]
    broadcast_object_list(found)
    runner._load_from, runner._resume = found[0]
    path = str(runner._load_from or '')
    readable = not path or '://' in path or osp.isfile(path)
    blind = [rank for rank, sees in enumerate(all_gather_object(readable)) if not sees]
    if blind:
        raise CheckpointError(
            f'{path}: process 0 goes on from it, processes '
            f'{", ".join(map(str, blind))} cannot read it; all machines need the same '
            'folder: name a shared one with --work-dir, or copy the file there'
        )


def check_shared_folder() -> None:
    """Look whether all machines of a run begin in the same folder.

    There mmengine collects what each process has to say for a metric, at the end of a
    validation or a test: late to learn that a machine is left out.

    Raises:
        ConfigError: On every process, if one of them doesn't see what the first wrote.
    """
    if len({*all_gather_object(gethostname())}) == 1:
        return
    token = [f'.dist_test/{uuid4().hex}']
    broadcast_object_list(token)
    path = Path(token[0])
    if get_rank() == 0:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    barrier()
    sees = all_gather_object(path.exists())
    if get_rank() == 0:
        path.unlink()
    blind = [str(rank) for rank, there in enumerate(sees) if not there]
    if blind:
        raise ConfigError(
            f'{path.parent.absolute()}: processes {", ".join(blind)} do not see what '
            'process 0 writes there, and metrics are collected through it: start all '
            'machines in the same, shared folder'
        )


def compare_ranks(runner: Runner) -> None:
    """Compare iterations and weights of all processes before they train.

    Args:
        runner: The runner, its checkpoint loaded.

    Raises:
        CheckpointError: On every process, if they differ.
    """
    if get_world_size() == 1:
        return
    weights = [
        p.detach().sum(dtype=torch.float64) for p in bare_model(runner).parameters()
    ]
    weights = [w.full_tensor() if isinstance(w, DTensor) else w for w in weights]
    total = torch.stack(weights).sum()
    own = torch.stack([total, torch.full_like(total, runner.iter)])
    every = torch.stack(all_gather(own)).cpu()
    # GPUs of different kinds add up in different orders
    first = every[:1].expand_as(every)
    if not torch.allclose(every, first, rtol=1e-9, atol=1e-9, equal_nan=True):
        said = '; '.join(
            f'process {rank}: iteration {int(iteration)}, sum of weights {weight:.9g}'
            for rank, (weight, iteration) in enumerate(every.tolist())
        )
        raise CheckpointError(
            f'the processes begin with different weights or iterations ({said}); is '
            'the checkpoint the same file on all machines?'
        )
