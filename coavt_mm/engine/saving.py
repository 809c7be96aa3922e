"""Checkpoints of a run."""

import os.path as osp
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from functools import partial
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from coavt_mm.engine.loops import BATCHES, SEEN, compare_batches
from coavt_mm.engine.ranks import compare_ranks
from coavt_mm.engine.whole_files import WholeFileBackend, write_note
from coavt_mm.errors import CheckpointError, ConfigError
from coavt_mm.registry import HOOKS
from coavt_mm.training_log import plain_log

# what loading raises of something that is not what it was saved as
MALFORMED = (
    TypeError, ValueError, LookupError, AttributeError, AssertionError, RuntimeError,
)  # fmt: skip


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
        args, kwargs: Those of :class:`mmengine.hooks.CheckpointHook`.

    Raises:
        ConfigError: If it can't be told whether more or less is better, or
            ``keep_every`` is less than 0.
        CheckpointError: If one can't be saved, as on a full disk.
    """

    save_best: str | list[str] | None
    backend_args: dict | None

    def __init__(self, *args, keep_every: int = 0, **kwargs):
        super().__init__(*args, **kwargs)
        if keep_every < 0:
            raise ConfigError(f'CheckpointHook: keep_every={keep_every}: 0 or more')
        self.keep_every = keep_every
        self._missed: set[str] = set()
        self._removing_last: Callable[[], AbstractContextManager] = nullcontext

    def before_train(self, runner: Runner) -> None:
        """Find the best of a resumed run, under names of an earlier release, too.

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
        return path

    def _stays(self, step: int) -> bool:
        return self.keep_every > 0 and step % self.keep_every == 0

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """mmengine's; the note of the last checkpoint is whole and comes last."""
        outdated = self._forget(runner, step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        write_note(runner.work_dir, self.last_ckpt)
        for old in outdated:
            path = self.file_backend.join_path(
                self.out_dir, self.filename_tmpl.format(old)
            )
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):  # those of deepspeed
                self.file_backend.rmtree(path)

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


def _explain(name: str, there: list[str]) -> str:
    close = get_close_matches(name, there, n=1, cutoff=0.6)
    nearest = f'; the nearest is {close[0]}' if close else ''
    return (
        f'CheckpointHook: save_best={name!r} is no metric of this validation, so no '
        f'best checkpoint is kept until it is{nearest}. There are: {", ".join(there)}'
    )


@HOOKS.register_module()
class ResumeHook(Hook):
    """Refuse to resume from weights alone, say what does not go on as it was.

    That is the optimiser, whose state the best checkpoints of a run are without, and
    batches of another size. ``tools/train.py`` registers this hook.
    """

    priority = 'VERY_HIGH'  # before a hook that takes its part of the checkpoint

    def before_train(self, runner: Runner) -> None:
        """Compare batches with those before, and the processes with each other.

        See :func:`.loops.compare_batches` and :func:`.ranks.compare_ranks`.

        Args:
            runner: The runner.

        Raises:
            CheckpointError: The processes differ in weights or iteration.
        """
        compare_ranks(runner)
        compare_batches(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look for what a resumed run goes on with.

        Args:
            runner: The runner.
            checkpoint: The checkpoint that was read.

        Raises:
            CheckpointError: It does not say how far the run had come, that is further
                than this run goes, or a part of it can't be loaded.
        """
        if not runner._resume:
            return
        _check_progress(runner, checkpoint)
        _check_states(runner, checkpoint)
        missing = {'optimizer', 'param_schedulers'} - checkpoint.keys()
        if missing:
            runner.logger.warning(
                f'the checkpoint has no {" and no ".join(sorted(missing))}: they begin '
                'anew, so the run does not go on as if it had never stopped'
            )


def _check_progress(runner: Runner, checkpoint: dict) -> None:
    """Compare how far the run had come with how long this one is."""
    meta = checkpoint.get('meta') or {}
    reached = {'epoch': meta.get('epoch'), 'iter': meta.get('iter')}
    counted = all(type(n) is int and n >= 0 for n in reached.values())
    if not counted or 'message_hub' not in checkpoint:
        raise CheckpointError(
            'the checkpoint holds weights and no run to resume; start from them '
            'with --cfg-options load_from=CHECKPOINT'
        )
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    unit, longest = ('epoch', 'max_epochs') if by_epoch else ('iter', 'max_iters')
    end = getattr(runner.train_loop, longest)
    if reached[unit] > end:
        raise CheckpointError(
            f'the checkpoint is that of {unit} {reached[unit]}, behind the end of this '
            f'run (train_cfg.{longest}={end}); train longer, or start from its weights '
            'with --cfg-options load_from=CHECKPOINT'
        )
    seed = meta.get('seed')
    if seed is not None and not (type(seed) is int and 0 <= seed < 2**32):
        raise _damaged(f'its seed is {seed!r:.40}, no whole number from 0 to 2**32 - 1')


def _check_states(runner: Runner, checkpoint: dict) -> None:
    """Try what mmengine is going to load, for the errors that it would end in."""
    for name, check in (
        ('state_dict', _check_weights),
        ('message_hub', _check_hub),
        ('ema_state_dict', partial(_check_average, checkpoint.get('state_dict'))),
        ('optimizer', partial(_check_optimizer, runner.optim_wrapper)),
        ('param_schedulers', partial(_check_schedules, runner)),
    ):
        if name not in checkpoint:
            continue
        try:
            check(checkpoint[name])
        except MALFORMED as error:
            reason = str(error).strip().split('\n')[0] or type(error).__name__
            reason = f'no {reason}' if isinstance(error, KeyError) else reason
            raise _damaged(f'its {name} can not be resumed: {reason}') from error


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(f'the checkpoint is damaged, or of another config: {what}')


def _check_hub(state: dict) -> None:
    MessageHub('tried').load_state_dict(dict(state))
    about = state['runtime_info']
    batches = about.get(BATCHES, dict(batch=1, processes=1))
    seen = about.get(SEEN, 0)
    numbers = [seen, batches['batch'], batches['processes'], *batches.values()]
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        counts = f'batches as {batches!r:.80}, samples as {seen!r:.40}'
        raise ValueError(f'it counts {counts}')


def _check_weights(state: dict[str, Tensor]) -> None:
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(f'{name!r:.40} is no tensor')


def _check_average(weights: Any, state: dict[str, Tensor]) -> None:
    _check_weights(state)
    for name, value in state.items():
        own = weights[name[7:]] if name.startswith('module.') else value
        if own.shape != value.shape:
            raise ValueError(f'{name} has another shape than the weights')
    if not any(name.startswith('module.') for name in state):
        raise ValueError('it holds no weights')


def _check_optimizer(wrapper: OptimWrapper, state: dict) -> None:
    wrapper.load_state_dict(dict(state))


def _check_schedules(runner: Runner, states: list | dict) -> None:
    built = runner.param_schedulers or []
    if not isinstance(built, dict):
        built, states = {'': built}, {'': states}
    for name, schedules in built.items():
        if not isinstance(states[name], list):
            raise TypeError(f'it is no list but {states[name]!r:.40}')
        if len(schedules) != len(states[name]):
            runner.logger.warning(
                f'the checkpoint has {len(states[name])} param_schedulers and the '
                f'config {len(schedules)}: those without a counterpart begin anew'
            )
        for schedule, state in zip(schedules, states[name], strict=False):
            if type(state['last_step']) is not int:
                raise TypeError(f'last_step is {state["last_step"]!r:.40}')
            if len(state['base_values']) != len(schedule.base_values):
                raise ValueError('it is of other groups of parameters')
