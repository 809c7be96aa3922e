"""Hooks of the demo's curriculum."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from coavt_mm.errors import ConfigError
from coavt_mm.registry import HOOKS


def _bare_model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@HOOKS.register_module()
class HardnessRampHook(Hook):
    """Make the matching loss's negatives harder as training goes on.

    From random weights the hardest negatives teach nothing until the contrastive loss
    tells clips apart; without them, later, near misses pass for matches. The hardness
    of ``MatchingHead`` follows from the iteration alone, so a resumed run goes on with
    the right one.

    Args:
        start (float): Hardness up to iteration ``begin``.
        stop (float): Hardness from iteration ``end`` on. Defaults to 1, BLIP-2's.
        begin (int): First iteration of the linear ramp.
        end (int): Its last.

    Raises:
        ConfigError: If the numbers make no ramp, or the model has no matching head.
    """

    def __init__(self, start: float, begin: int, end: int, stop: float = 1.0):
        if min(start, stop, begin) < 0 or end <= begin:
            raise ConfigError(
                f'HardnessRampHook: start={start}, stop={stop}, begin={begin}, '
                f'end={end} make no ramp; none may be negative, end comes after begin'
            )
        self.start, self.stop, self.begin, self.end = start, stop, begin, end

    def before_train(self, runner: Runner) -> None:
        """Refuse a model without a matching head.

        Args:
            runner (Runner): The runner.
        """
        if not hasattr(_bare_model(runner), 'matching_head'):
            raise ConfigError('HardnessRampHook: the model has no matching_head')

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Set the hardness of this iteration.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Index of the batch.
            data_batch (dict, optional): The batch.
        """
        head = _bare_model(runner).matching_head
        if head is None:  # the loss is switched off
            return
        share = (runner.iter - self.begin) / (self.end - self.begin)
        share = min(max(share, 0.0), 1.0)
        head.hardness = self.start + share * (self.stop - self.start)


@HOOKS.register_module()
class SensesFirstHook(Hook):
    """Begin with A-T and V-T alone; the joint stream and its losses come later.

    From random weights, what sound and picture show is learned several times faster
    from captions of one sense than from sentences about both. So the first iterations
    align each sense with text (``ContrastiveHead`` without AV) and may match it and
    write its captions too. ``PickCaption(stages=...)`` gives the captions for it. What
    a config switches off stays off: an alignment of weight 0, and a head without any
    weight. Which losses are on follows from the iteration alone, so a resumed run goes
    on with the right ones.

    Args:
        until (int): First iteration with all losses.
        matching_weight (float): Of each sense's matching loss before it. Defaults to
            0, off.
        lm_weight (float): Of each sense's language-modelling loss before it. Defaults
            to 0, off.

    Raises:
        ConfigError: If the model has neither A-T nor V-T to begin with, or ten batches
            in a row have no caption about a sense that is aligned.
    """

    def __init__(
        self, until: int, matching_weight: float = 0.0, lm_weight: float = 0.0
    ):
        if until < 1 or min(matching_weight, lm_weight) < 0:
            raise ConfigError(
                f'SensesFirstHook: until={until} must be at least 1, matching_weight='
                f'{matching_weight} and lm_weight={lm_weight} not negative'
            )
        self.until = until
        self.weights = dict(matching_head=matching_weight, lm_head=lm_weight)
        self._first: dict[str, dict[str, float]] = {}
        self._later: dict[str, dict[str, float]] = {}
        self._idle = 0  # iterations in a row without a loss

    def before_train(self, runner: Runner) -> None:
        """Note the weights that the config gives, and those to begin with.

        Args:
            runner (Runner): The runner.
        """
        model = _bare_model(runner)
        self._later = {
            name: dict(getattr(model, name).streams)
            for name in ('contrastive_head', *self.weights)
            if getattr(model, name, None) is not None
        }
        senses = {
            stream: weight
            for stream, weight in self._later.get('contrastive_head', {}).items()
            if stream != 'AV'
        }
        if not senses:
            raise ConfigError(
                'SensesFirstHook: A-T and V-T are both switched off, so that there is '
                'nothing to begin with; take the hook out of custom_hooks, and '
                'stages out of PickCaption'
            )
        self._first = {'contrastive_head': senses}
        for name, weight in self.weights.items():
            wanted = weight > 0 and self._later.get(name)
            self._first[name] = dict.fromkeys(senses, weight) if wanted else {}

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Set the losses of this iteration.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Index of the batch.
            data_batch (dict, optional): The batch.
        """
        if runner.iter == self.until:
            self._forget_losses(runner)
        self._set(runner, self._first if runner.iter < self.until else self._later)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Refuse to go on where nothing is learned.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Index of the batch.
            data_batch (dict, optional): The batch.
            outputs (dict, optional): The logged losses.
        """
        if runner.iter >= self.until or outputs is None:
            return
        self._idle = self._idle + 1 if outputs['loss'].item() == 0 else 0
        if self._idle == 10:
            senses = ' or '.join(self._first['contrastive_head'])
            raise ConfigError(
                'SensesFirstHook: no caption of the last 10 batches is about '
                f'{senses}, so that nothing was learned; let the stage of PickCaption '
                'draw such captions'
            )

    def after_train(self, runner: Runner) -> None:
        """Leave the model as its config says, also after a run that ended early.

        Args:
            runner (Runner): The runner.
        """
        self._set(runner, self._later)

    @staticmethod
    def _forget_losses(runner: Runner) -> None:
        # mmengine would log the last values of the senses' losses to the end
        scalars = runner.message_hub.log_scalars
        for name in [*scalars]:
            if name.startswith(('train/loss_', 'train/matching_acc_')):
                del scalars[name]

    def _set(self, runner: Runner, weights: dict[str, dict[str, float]]) -> None:
        for name in self._later:
            getattr(_bare_model(runner), name).streams = weights[name]
