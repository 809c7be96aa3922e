"""Checkpoints of a run."""

from collections.abc import Sequence
from difflib import get_close_matches

from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.hooks import Hook
from mmengine.runner import Runner

from coavt_mm.engine.loops import compare_batches
from coavt_mm.errors import CheckpointError, ConfigError
from coavt_mm.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """mmengine's, for which a metric that isn't there is no end of the run.

    Which metrics a validation gives depends on its clips: without a clip that has
    both sound and picture there is no stream AV. Where ``save_best`` names one that is
    missing, a warning says once what there is, and the best checkpoint by it is kept
    from the first validation on that gives it. Arguments are those of
    :class:`mmengine.hooks.CheckpointHook`.

    Raises:
        ConfigError: If it can't be told whether more or less is better.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._missed: set[str] = set()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Keep the checkpoint if it is the best so far.

        Args:
            runner (Runner): The runner of the training process.
            metrics (dict): Name of a metric -> value.
        """
        named = {*self.key_indicators} - {'auto'} if self.save_best else set()
        missing = sorted(named - metrics.keys())
        for name in missing:
            if name not in self._missed:
                runner.logger.warning(_explain(name, [*metrics]))
        self._missed.update(missing)
        try:  # None is never the best
            super().after_val_epoch(runner, {**metrics, **dict.fromkeys(missing)})
        except ConfigError as error:  # of 'auto', whose metric is known only now
            runner.logger.warning(f'{error}. No best checkpoint is kept')
            self.save_best = None

    def _init_rule(
        self, rules: Sequence[str | None], key_indicators: Sequence[str]
    ) -> None:
        try:
            super()._init_rule(rules, key_indicators)
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

    def before_train(self, runner: Runner) -> None:
        """Compare batch size and processes, see :func:`.loops.compare_batches`.

        Args:
            runner (Runner): The runner.
        """
        compare_batches(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look for what a resumed run goes on with.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint that was read.

        Raises:
            CheckpointError: It does not say how far the run had come, or its seed is
                none.
        """
        if not runner._resume:
            return
        meta = checkpoint.get('meta') or {}
        progress = [meta.get('epoch'), meta.get('iter')]
        if not all(type(n) is int and n >= 0 for n in progress) or not isinstance(
            checkpoint.get('message_hub'), dict
        ):
            raise CheckpointError(
                'the checkpoint holds weights and no run to resume; start from them '
                'with --cfg-options load_from=CHECKPOINT'
            )
        seed = meta.get('seed')
        if seed is not None and not (type(seed) is int and 0 <= seed < 2**32):
            raise CheckpointError(
                f'the checkpoint is damaged: its seed is {seed!r:.40}, no whole number '
                'from 0 to 2**32 - 1'
            )
        missing = {'optimizer', 'param_schedulers'} - checkpoint.keys()
        if missing:
            runner.logger.warning(
                f'the checkpoint has no {" and no ".join(sorted(missing))}: they begin '
                'anew, so the run does not go on as if it had never stopped'
            )
