"""What a checkpoint holds, and its copy in the host's memory."""

import copy
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import mmengine
import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmengine.utils import get_git_hash
from torch import Tensor

from coavt_mm.engine.sharding import gather, is_sharded
from coavt_mm.engine.weights import bare_model


def collect(
    runner: Runner,
    meta: dict,
    save_optimizer: bool = True,
    save_param_scheduler: bool = True,
    in_parts: bool = False,
) -> dict | None:
    """What mmengine's ``Runner.save_checkpoint`` writes to a file.

    All processes have to ask for it together.

    Args:
        runner: The runner.
        meta: Epoch and iteration; all else is added.
        save_optimizer: Take the optimiser's state in.
        save_param_scheduler: Take the schedules' in.
        in_parts: Leave a sharded model's tensors in parts, on all processes.

    Returns:
        The checkpoint; its tensors are those that are trained, where they are, or
        whole copies of a sharded model's. None for all processes but the first.
    """
    if not is_main_process() and not is_sharded(runner.model):
        return None
    now = time.strftime('%Y%m%d_%H%M%S', time.localtime())
    meta.update(_about(runner.cfg), seed=runner.seed, time=now)
    meta['experiment_name'] = runner.experiment_name
    dataset: Any = runner.train_dataloader.dataset
    if hasattr(dataset, 'metainfo'):
        meta['dataset_meta'] = dataset.metainfo
    checkpoint: dict[str, Any] = dict(
        meta=meta,
        state_dict=bare_model(runner).state_dict(),
        message_hub=runner.message_hub.state_dict(),
    )
    if save_optimizer:
        checkpoint['optimizer'] = runner.optim_wrapper.state_dict()
    if save_param_scheduler and runner.param_schedulers is not None:
        built: Any = runner.param_schedulers
        checkpoint['param_schedulers'] = (
            {name: _states(schedules) for name, schedules in built.items()}
            if isinstance(built, dict)
            else _states(built)
        )
    runner.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    if is_sharded(runner.model):
        gather(checkpoint, runner, is_main_process(), in_parts)
    return checkpoint if is_main_process() or in_parts else None


@lru_cache(1)  # laying out the text takes longer than a small save
def _about(cfg: Config) -> dict:
    version = mmengine.__version__ + get_git_hash()
    return dict(cfg=cfg.pretty_text, mmengine_version=version)


def _states(schedules: list) -> list[dict]:
    return [schedule.state_dict() for schedule in schedules]


def on_host(checkpoint: dict) -> dict:
    """A checkpoint whose tensors are in the host's memory.

    Args:
        checkpoint: Stays as it is.

    Returns:
        Itself, if all are there.
    """
    tensors = [*_tensors(checkpoint)]
    if all(tensor.device.type == 'cpu' for tensor in tensors):
        return checkpoint
    return copy.deepcopy(checkpoint, {id(t): t.cpu() for t in tensors})


class HostCopies:
    """Copies of checkpoints in host memory, which each takes from the one before.

    Memory that is used already is written several times faster than new one. For
    tensors of a GPU it is pinned.
    """

    def __init__(self):
        self._free: dict[tuple[int, bool], list[Tensor]] = {}

    def take(self, checkpoint: dict) -> dict:
        """Copy a checkpoint. What was copied before is overwritten.

        Args:
            checkpoint: Stays as it is.

        Returns:
            All of it that training changes is a copy.
        """
        used: dict[int, Tensor] = {}  # by storage, which tensors may share
        memo: dict[int, Any] = {}
        free, self._free = self._free, defaultdict(list)
        for tensor in _tensors(checkpoint):
            memo[id(tensor)] = self._copy(tensor, free, used)
        if any(tensor.is_cuda for tensor in _tensors(checkpoint)):
            torch.cuda.synchronize()
        return copy.deepcopy(checkpoint, memo)

    def _copy(self, tensor: Tensor, free: dict, used: dict[int, Tensor]) -> Tensor:
        if type(tensor) is not Tensor or tensor.layout is not torch.strided:
            return tensor.detach().cpu().clone()
        storage = tensor.untyped_storage()
        if storage._cdata not in used:
            kind = (storage.nbytes(), tensor.is_cuda)
            buffer = free[kind].pop() if free.get(kind) else _memory(*kind)
            source = torch.empty(0, dtype=torch.uint8, device=tensor.device)
            buffer.copy_(source.set_(storage), non_blocking=True)
            self._free[kind].append(buffer)
            used[storage._cdata] = buffer
        held = used[storage._cdata].untyped_storage()
        place = (tensor.storage_offset(), tensor.size(), tensor.stride())
        return torch.empty(0, dtype=tensor.dtype).set_(held, *place)


def _memory(size: int, pinned: bool) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, pin_memory=pinned)


def _tensors(node: Any) -> Iterator[Tensor]:
    """All tensors in dictionaries, lists and tuples."""
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from _tensors(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _tensors(value)
