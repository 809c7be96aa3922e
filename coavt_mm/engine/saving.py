"""Checkpoints of a run."""

import os.path as osp
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import Runner

from coavt_mm import checkpoint_parts as parts
from coavt_mm.engine.sharding import is_sharded
from coavt_mm.engine.snapshots import HostCopies, collect, on_host
from coavt_mm.engine.whole_files import (
    WholeFileBackend,
    write_note,
    write_with_checksum,
)
from coavt_mm.errors import ConfigError
from coavt_mm.registry import HOOKS
from coavt_mm.training_log import plain_log


class _MetricName(str):
    """A metric's name, which mmengine's f-strings write as a file's name has it.

    'retrieval/text_to_clip/AV/R@1' gives best_text_to_clip_AV_R1_iter_2.pth.
    """

    def __format__(self, spec: str) -> str:
        parts = self.split('/')
        parts = parts[1:] if len(parts) > 2 else parts
        return format(re.sub(r'[^\w.-]', '', '_'.join(parts)), spec)


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """mmengine's, for which a metric that isn't there is no end of the run.

    Which metrics a validation gives depends on its clips: without a clip that has
    both sound and picture there is no stream AV. Where ``save_best`` names one that is
    missing, a warning says once what there is, and the best checkpoint by it is kept
    from the first validation on that gives it.

    A checkpoint on a disk is never half written, see
    :class:`~coavt_mm.engine.whole_files.WholeFileBackend`, and an older one is removed
    only when the one that replaces it is there. mmengine removes first.

    Args:
        keep_every: Every checkpoint whose epoch or iteration is a multiple of this
            stays, beside the last ``max_keep_ckpts``; 0 keeps no others.
        async_save: Copy what is to be saved within the host's memory, and write it
            beside the training; at most one at a time. The best by a metric are
            written at once.
        sharded: With FSDP2, let each process write the weights that it holds, into a
            folder beside the checkpoint; see :mod:`coavt_mm.checkpoint_parts`. The
            best by a metric are whole.
        args, kwargs: Those of :class:`mmengine.hooks.CheckpointHook`.

    Raises:
        ConfigError: If it can't be told whether more or less is better,
            ``keep_every`` is less than 0, or ``sharded`` is asked for together with
            ``async_save``, without FSDP2 or with an old torch.
        CheckpointError: If one can't be saved, as on a full disk.
    """

    save_best: str | list[str] | None
    backend_args: dict | None

    def __init__(
        self,
        *args,
        keep_every: int = 0,
        async_save: bool = False,
        sharded: bool = False,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if keep_every < 0:
            raise ConfigError(f'CheckpointHook: keep_every={keep_every}: 0 or more')
        if sharded and async_save:
            raise ConfigError('CheckpointHook: set sharded or async_save, not both')
        self.keep_every, self.async_save = keep_every, async_save
        self.sharded = sharded
        self._copies, self._thread = HostCopies(), ThreadPoolExecutor(1)
        self._writing: Future | None = None
        self._missed: set[str] = set()
        self._removing_last: Callable[[], AbstractContextManager] = nullcontext

    def before_train(self, runner: Runner) -> None:
        """Find the best of a resumed run, under names of an earlier release, too.

        A warning says where checkpoints would lie between two updates.

        Args:
            runner: The runner of the training process.
        """
        known = runner.message_hub.runtime_info
        for name in self.key_indicators or () if self.save_best else ():
            for key in ('best_score_', 'best_ckpt_'):
                if key + name in known:
                    known.setdefault(f'{key}{name}', known[key + name])
        if 'keep_ckpt_ids' in known:
            ids = known['keep_ckpt_ids']
            known['keep_ckpt_ids'] = [step for step in ids if not self._stays(step)]
        folder = str(self.out_dir or runner.work_dir)
        if self.backend_args is self.file_client_args is None and '://' not in folder:
            self.backend_args = dict(backend='whole_files')
        super().before_train(runner)
        self._check_updates(runner)
        if self.sharded:
            self._check_sharded(runner)
        if isinstance(self.file_backend, WholeFileBackend):
            self._removing_last = self.file_backend.removing_last

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Keep the checkpoint if it is the best so far.

        Args:
            runner: The runner of the training process.
            metrics: Name of a metric -> value.
        """
        named = {*self.key_indicators} - {'auto'} if self.save_best else set()
        missing = sorted(named - metrics.keys())
        for name in missing:
            if name not in self._missed:
                runner.logger.warning(_explain(name, [*metrics]))
        self._missed.update(missing)
        try:  # None is never the best
            with self._removing_last():
                super().after_val_epoch(runner, metrics | dict.fromkeys(missing))
        except ConfigError as error:  # of 'auto', whose metric is known only now
            runner.logger.warning(f'{error}. No best checkpoint is kept')
            self.save_best = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Let the training log be plain numbers, which a reader needs no code for.

        Args:
            runner: The runner of the training process.
            checkpoint: What is about to be saved; its ``message_hub`` is replaced.
        """
        if 'message_hub' in checkpoint:
            checkpoint['message_hub'] = plain_log(checkpoint['message_hub'])

    def save(self, runner: Runner) -> str:
        """Save a checkpoint behind a training iteration, unless that is done.

        Args:
            runner: The runner of the training process.

        Returns:
            Its path.
        """
        path = osp.join(self.out_dir, self.filename_tmpl.format(runner.iter + 1))
        if self.last_ckpt != path:
            self._save_checkpoint(runner)
        self.finish()
        return path

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save if it is time; an error of the save before comes out here."""
        if self._writing is not None and self._writing.done():
            self.finish()
        super().after_train_iter(runner, *args, **kwargs)

    def after_train(self, runner: Runner) -> None:
        """Wait until all is on the disk.

        Args:
            runner: The runner of the training process.
        """
        self.finish()
        super().after_train(runner)

    def _stays(self, step: int) -> bool:
        return self.keep_every > 0 and step % self.keep_every == 0

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """mmengine's; the note of the last checkpoint is whole and comes last."""
        runner = getattr(runner, 'own', runner)
        self.finish()
        outdated = self._forget(runner, step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        saved = dict(
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
        )
        conclude = partial(self._conclude, runner.work_dir, self.last_ckpt, outdated)
        if not self._is_plain(runner):
            saved |= dict(by_epoch=self.by_epoch, backend_args=self.backend_args)
            args = (self.out_dir, name, self.file_client_args)
            runner.save_checkpoint(*args, **saved, **self.args)
            if is_main_process():
                conclude()
        elif self.sharded:
            self._write_parts(collect(runner, in_parts=True, **saved), conclude)
        elif (checkpoint := collect(runner, **saved)) is not None:
            self._write(checkpoint, self.last_ckpt, conclude)

    def _check_updates(self, runner: Runner) -> None:
        wrapper = getattr(runner, 'optim_wrapper', None)
        batches = getattr(wrapper, '_accumulative_counts', 1)
        steps, each = self.interval, 'checkpoint.interval'
        if self.by_epoch:
            steps *= len(runner.train_dataloader) if batches > 1 else 1
            each = 'the batches of checkpoint.interval'
        if steps > 0 and steps % batches:
            runner.logger.warning(
                f'{each}, {steps}, is no multiple of accumulative_counts={batches}: '
                'a checkpoint between two updates lacks the gradients so far; a run '
                'that goes on from it is another than one that was not stopped'
            )

    def _check_sharded(self, runner: Runner) -> None:
        parts.check_torch()
        if not is_sharded(runner.model) or not self._is_plain(runner):
            raise ConfigError(
                'CheckpointHook: sharded=True needs model_wrapper_cfg.type=FSDP2, '
                'several processes and a work dir on a disk; leave it out'
            )

    def _write_parts(self, checkpoint: Any, conclude: Callable) -> None:
        """Write what each process holds, then the rest, then what follows on it."""
        path: Any = self.last_ckpt
        parts.write_parts(checkpoint, path)
        if is_main_process():
            fill = partial(torch.save, on_host(checkpoint))
            write_with_checksum(path, fill, checkpoint['parts'])
            conclude()
        barrier()

    def _write(self, checkpoint: dict, path: str, conclude: Callable) -> None:
        """Write a checkpoint, and what follows on it, now or beside the training."""

        def write(content: dict) -> None:
            write_with_checksum(path, partial(torch.save, content))
            conclude()

        if self.async_save:
            self._writing = self._thread.submit(write, self._copies.take(checkpoint))
        else:
            write(on_host(checkpoint))

    def _conclude(self, work_dir: str, path: str, outdated: list[int]) -> None:
        """Note the last checkpoint, and remove those that it replaces."""
        write_note(work_dir, path)
        for old in outdated:
            path = self.file_backend.join_path(
                self.out_dir, self.filename_tmpl.format(old)
            )
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):  # those of deepspeed
                self.file_backend.rmtree(path)

    def finish(self) -> None:
        """Wait for a checkpoint that is being written beside the training.

        Raises:
            CheckpointError: If it can't be saved.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _is_plain(self, runner: Runner) -> bool:
        """Whether the checkpoint of a runner is what mmengine's saves, on a disk."""
        saves = getattr(type(runner), 'save_checkpoint', None)
        backend = getattr(self, 'file_backend', None)  # a validation alone has none
        local = isinstance(backend, WholeFileBackend)
        return local and saves is Runner.save_checkpoint and not self.args

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """mmengine's, whose checkpoints are written piece by piece."""
        self.finish()
        seen: Any = _PlainRunner(runner) if self._is_plain(runner) else runner
        super()._save_best_checkpoint(seen, metrics)

    def _forget(self, runner: Runner, step: int) -> list[int]:
        """Note a checkpoint among those to keep; which one is none of them any more."""
        if self.max_keep_ckpts <= 0 or self._stays(step):
            return []
        if self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step:
            return []
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        outdated = [self.keep_ckpt_ids.popleft()] if full else []
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', [*self.keep_ckpt_ids])
        return outdated

    def _init_rule(
        self, rules: Sequence[str | None], key_indicators: Sequence[str]
    ) -> None:
        try:
            super()._init_rule(rules, key_indicators)
            self.key_indicators = [_MetricName(name) for name in key_indicators]
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f'CheckpointHook: save_best={key_indicators}, rule={rules}: '
                f"{error.args[0]} Set rule='greater' or 'less'"
            ) from error


class _PlainRunner:
    """A runner, as mmengine's hook sees it, that writes checkpoints piece by piece."""

    def __init__(self, runner: Runner):
        self.own = runner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
        **saved,
    ) -> None:
        checkpoint = collect(self.own, **saved)
        if checkpoint is not None:
            path = osp.join(out_dir, filename)
            write_with_checksum(path, partial(torch.save, on_host(checkpoint)))


def _explain(name: str, there: list[str]) -> str:
    close = get_close_matches(name, there, n=1, cutoff=0.6)
    nearest = f'; the nearest is {close[0]}' if close else ''
    return (
        f'CheckpointHook: save_best={name!r} is no metric of this validation, so no '
        f'best checkpoint is kept until it is{nearest}. There are: {", ".join(there)}'
    )
