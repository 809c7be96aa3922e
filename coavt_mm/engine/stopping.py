"""A run that is told to stop saves first: SIGTERM and SIGUSR1 of Slurm, Kubernetes."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from mmengine.dist import barrier, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import distributed

from coavt_mm.engine.saving import CheckpointHook
from coavt_mm.registry import HOOKS

get_parent = os.getppid
# EX_TEMPFAIL of sysexits.h: start it again
STOPPED = 75


@HOOKS.register_module()
class StopHook(Hook):
    """Save and end behind the step in which a signal came, on all processes alike.

    Several processes agree by a flag that goes round behind each step, on the CPU and
    while training goes on; they all know of it one step later. Where gradients are
    accumulated, the run ends behind the update. A second SIGTERM ends at once. A
    launcher that is gone counts as a signal. Other processes are waited for as long as
    ``env_cfg.dist_cfg.timeout`` says.
    ``tools/train.py`` registers this hook.

    Args:
        parent: The launcher's process. Default: the parent of this one.
    """

    priority = 'LOWEST'  # behind the CheckpointHook

    def __init__(self, parent: int | None = None):
        self._asked = ''
        self._since = 0.0
        self._agreed = False
        self._coming: tuple[Any, torch.Tensor] | None = None
        # by torchrun, without which nobody would start the run again
        self._launched = 'TORCHELASTIC_RUN_ID' in os.environ
        self._parent = get_parent() if parent is None else parent

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals within a block, where this is the main thread."""
        names = ('SIGTERM', 'SIGUSR1')
        signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
        if threading.current_thread() is not threading.main_thread():
            signals = []
        before = {number: signal.signal(number, self._ask) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _ask(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        # launchers pass on what Slurm has sent to all processes already
        forwarded = get_world_size() > 1 and now - self._since < 1
        if self._asked and number == signal.SIGTERM and not forwarded:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not self._asked:
            self._asked, self._since = signal.Signals(number).name, now

    def before_train(self, runner: Runner) -> None:
        """Make a group of the processes that lives on the CPU.

        Args:
            runner: The runner of the training process.
        """
        several = get_world_size() > 1
        limit = (runner.cfg.get('env_cfg') or {}).get('dist_cfg', {}).get('timeout')
        wait = timedelta(seconds=limit) if limit else None
        group = partial(distributed.new_group, backend='gloo', timeout=wait)
        self._group = group() if several else None

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Stop if a process was told to.

        Args:
            runner: The runner.
            batch_idx: Index of the batch.
            data_batch: The batch.
            outputs: The logged values.

        Raises:
            SystemExit: With status 75, once all is saved.
        """
        if self._launched and get_parent() != self._parent and not self._asked:
            self._asked = 'torchrun is gone'
        self._agreed = self._agreed or self._is_asked()
        done = runner.iter + 1
        whole = done % getattr(runner.optim_wrapper, '_accumulative_counts', 1) == 0
        if self._agreed and whole and done < runner.max_iters:
            said = self._save(runner)
            barrier()  # a launcher ends the others with the first that is gone
            runner.logger.warning(f'{self._asked or "another process"}: {said}')
            raise SystemExit(STOPPED)

    def after_train(self, runner: Runner) -> None:
        """Take the last flag in.

        Args:
            runner: The runner.
        """
        if self._coming is not None:
            self._coming[0].wait()

    def _is_asked(self) -> bool:
        if self._group is None:
            return bool(self._asked)
        if self._coming is not None:
            work, flag = self._coming
            work.wait()
            if flag.item():
                self._coming = None
                return True
        flag = torch.tensor([int(bool(self._asked))])
        most = distributed.ReduceOp.MAX
        work = distributed.all_reduce(flag, most, self._group, async_op=True)
        self._coming = (work, flag)
        return False

    def _save(self, runner: Runner) -> str:
        hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if by_epoch or not hooks or hooks[0].by_epoch:
            end = f'ends with status {STOPPED} behind iteration {runner.iter + 1}'
            return f'{end}; --resume goes on from the last checkpoint'
        path = hooks[0].save(runner)
        return f'{path} is saved, ends with status {STOPPED}; go on with --resume'


def shield_worker(init: Callable[[int], None] | None, worker: int) -> None:
    """Keep a loader's worker alive while its parent still takes a step.

    Slurm sends a signal to all processes of a job. In a worker only the parent's
    SIGTERM counts.

    Args:
        init: The loader's own function for a new worker.
        worker: Its number.
    """
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_await_parent, args=[os.getppid()], daemon=True).start()
    if init is not None:
        init(worker)


def _await_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid not in (parent, os.getpid()):
        pass
    os._exit(0)
