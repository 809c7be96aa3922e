"""What a resumed run goes on with, looked at before it does."""

from functools import partial
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import Tensor

from coavt_mm.engine.kept_settings import say_kept, settings_of, states_of
from coavt_mm.engine.loops import BATCHES, SEEN, compare_batches
from coavt_mm.engine.ranks import compare_ranks
from coavt_mm.errors import CheckpointError
from coavt_mm.registry import HOOKS

# what loading raises of something that is not what it was saved as
MALFORMED = (
    TypeError, ValueError, LookupError, AttributeError, AssertionError, RuntimeError,
)  # fmt: skip


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

    def before_train_epoch(self, runner: Runner) -> None:
        """Make up for a validation that a stop came before.

        A checkpoint is saved before the validation of its step. Without this a run
        that was stopped between them would miss it, and perhaps its best checkpoint.

        Args:
            runner: The runner.
        """
        loop = runner.train_loop
        if not isinstance(loop, IterBasedTrainLoop) or runner.iter == 0:
            return
        loop._decide_current_val_interval()
        is_due = runner.iter % loop.val_interval == 0 or runner.iter == loop.max_iters
        if runner.val_loop is not None and runner.iter >= loop.val_begin and is_due:
            runner.logger.info(f'Validation of iteration {runner.iter}')
            runner.val_loop.run()

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
        asked = settings_of(*states_of(runner))
        _check_states(runner, checkpoint)
        missing = {'optimizer', 'param_schedulers'} - checkpoint.keys()
        if not missing:
            states = checkpoint['optimizer'], checkpoint['param_schedulers']
            say_kept(runner, asked, settings_of(*states))
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
