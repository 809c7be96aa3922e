"""Checkpoints in parts: each process of a sharded run writes the weights it holds.

``iter_100.pth`` has all but the sharded tensors, which lie in ``iter_100.pth.parts``
beside it, as safetensors; ``iter_100.pth.sha256`` has the checksums of all. Written and
read by
``torch.distributed.checkpoint``; read as whole tensors by whatever reads checkpoints.
"""

import os
import os.path as osp
import shutil
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from mmengine.dist import (
    all_gather_object,
    barrier,
    get_rank,
    is_main_process,
)
from torch import Tensor
from torch.distributed.tensor import DTensor

from coavt_mm.checksums import PART, PARTS, checksum
from coavt_mm.errors import CheckpointError, ConfigError

_STATES = ('state_dict', 'ema_state_dict')


def check_torch() -> None:
    """Look whether torch can write parts that need no pickle.

    Raises:
        ConfigError: It can't.
    """
    if not hasattr(dcp, 'HuggingFaceStorageWriter'):
        raise ConfigError(
            f'CheckpointHook: sharded=True needs torch 2.9 or later, this is '
            f'{torch.__version__}; leave it out to save whole checkpoints'
        )


def write_parts(checkpoint: dict, path: str) -> None:
    """Write what each process holds; all of them have to call it together.

    Args:
        checkpoint: Sharded tensors are taken out of it, checksums put in.
        path: Where the checkpoint itself will be written.

    Raises:
        CheckpointError: If the disk is full, or refuses it; what was there is there.
    """
    folder, unfinished = path + PARTS, f'{path}{PARTS}.tmp'
    if is_main_process():
        shutil.rmtree(unfinished, ignore_errors=True)
    barrier()
    writer = dcp.HuggingFaceStorageWriter(unfinished, save_distributed=True)
    try:
        dcp.save(_take_out(checkpoint), storage_writer=writer)
    except dcp.api.CheckpointException as error:
        reason = '; '.join({f'{e[0]}' for e in error.failures.values()})
        raise CheckpointError(
            f'{folder}: can not be saved ({reason}); checkpoints saved before are as '
            'they were. Make room, or mend the disk, and go on with --resume'
        ) from error
    own = f'shard-{get_rank() + 1:05d}-'
    sums = {n: checksum(osp.join(unfinished, n))
            for n in os.listdir(unfinished) if n.startswith(own)}  # fmt: skip
    checkpoint['parts'] = {k: v for part in all_gather_object(sums)
                           for k, v in part.items()}  # fmt: skip
    if is_main_process():
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    barrier()


def read_parts(checkpoint: dict, path: str, compared: bool = False) -> None:
    """Put the tensors of the parts back, whole and in the host's memory.

    Args:
        checkpoint: What was read; ``parts`` is taken out of it.
        path: Of its file.
        compared: Whether the parts have been compared with their checksums.

    Raises:
        CheckpointError: If a part is missing, or another one than its checksum says.
    """
    folder = path + PARTS
    _check(checkpoint.pop('parts'), folder, compared)
    reader = dcp.HuggingFaceStorageReader(folder)
    stated: dict[str, Any] = reader.read_metadata().state_dict_metadata
    size = sum(m.size.numel() * m.properties.dtype.itemsize for m in stated.values())
    held = sum(entry.stat().st_size for entry in os.scandir(folder))
    if size > held:
        raise CheckpointError(f'{folder}: {size} bytes of tensors in files of {held}')
    tensors = {
        name: torch.empty(m.size, dtype=m.properties.dtype)
        for name, m in stated.items()
    }
    dcp.load(tensors, storage_reader=reader, no_dist=True)
    for name, tensor in tensors.items():
        part, _, rest = name.partition('/')
        if part in _STATES:
            checkpoint[part][rest] = tensor
        else:
            index, _, moment = rest.partition('/')
            checkpoint[part]['state'][int(index)][moment] = tensor


def _take_out(checkpoint: dict) -> dict[str, Tensor]:
    """The sharded tensors by name, which the checkpoint is without from then on."""
    found = {}
    for prefix, state in _states(checkpoint):
        for name in [n for n, value in state.items() if isinstance(value, DTensor)]:
            found[f'{prefix}/{name}'] = state.pop(name)
    return found


def _states(checkpoint: dict) -> Iterator[tuple[str, dict]]:
    for part in _STATES:
        if part in checkpoint:
            yield part, checkpoint[part]
    for index, state in checkpoint.get('optimizer', {}).get('state', {}).items():
        yield f'optimizer/{index}', state


def _check(sums: Any, folder: str, compared: bool) -> None:
    named = isinstance(sums, dict) and all(
        isinstance(name, str) and PART.fullmatch(name) for name in sums
    )
    there = {*os.listdir(folder)} if osp.isdir(folder) else set()
    if not named or there != {*sums}:
        raise CheckpointError(
            f'{folder}: the checkpoint is in parts, which do not all lie here, or not '
            'alone; copy the folder with the file'
        )
    for name, digest in sums.items() if not compared else ():
        if checksum(osp.join(folder, name)) != digest:
            raise CheckpointError(
                f'{osp.join(folder, name)}: this is not what was saved (sha256); copy '
                'it again'
            )
