"""Weights into models, and averages of them: what is loaded is said, misfits refused.

mmengine loads with ``strict=False`` and only warns, even if nothing matches.
"""

from collections import Counter
from collections.abc import Sequence

from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper, update_init_info
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn

from coavt_mm.engine.optim import merge_stored_groups
from coavt_mm.errors import CheckpointError, ConfigError
from coavt_mm.registry import HOOKS, WEIGHT_INITIALIZERS


def bare_model(runner: Runner) -> nn.Module:
    """The model without the wrapper that several processes need."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@WEIGHT_INITIALIZERS.register_module(name=['Converted', 'PretrainedPart'])
class PretrainedPart:
    """Start a model, or a part of one, from converted or own weights.

    ``init_cfg=dict(type='Converted', checkpoint='cavmae.pth')``; ``PretrainedPart`` is
    the same type. Position tables of another clip length or picture size are
    interpolated; the log says what was done.

    Args:
        checkpoint: ``.pth`` or ``.safetensors`` file.
        prefix: Take only names that start so, such as 'av_encoder'. Defaults
            to all.
        min_share: Least share of these tensors that the model must know.
            Defaults to all.
    """

    def __init__(self, checkpoint: str, prefix: str = '', min_share: float = 1.0):
        self.checkpoint, self.prefix, self.min_share = checkpoint, prefix, min_share

    def __call__(self, module: nn.Module) -> None:
        """Load into the module.

        Args:
            module: The module whose ``init_cfg`` this is.

        Raises:
            CheckpointError: If the file is not readable or doesn't fit.
        """
        from coavt_mm.checkpoints import load_weights

        lines = load_weights(
            self.checkpoint, module, self.prefix, False, self.min_share
        )
        for line in (f'{type(module).__name__} from {self.checkpoint}', *lines):
            print_log(line, logger='current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'loaded from {self.checkpoint}')


@HOOKS.register_module()
class FitCheckpointHook(Hook):
    """Say what ``load_from`` loads, and refuse what doesn't fit.

    Position tables of another clip length or picture size are interpolated.

    Args:
        min_share: Least share of the checkpoint's tensors that the model must
            know. Defaults to 0.5, so that heads may come and go.
        rename: Part of another model's checkpoint -> part of
            this one, such as ``dict(av_encoder='backbone')`` to start a classifier from
            a CoAVT. Of such a checkpoint, parts that this model doesn't have at all are
            left out, and not counted. One that has none of the parts to rename (the
            model's own, on resume) is taken as it is.
        new_words: The tokenizer has word pieces behind those of the checkpoint, whose
            vectors begin anew.
        renew: Parts that begin anew where the checkpoint has them in other shapes, such
            as a head for other classes.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        min_share: float = 0.5,
        rename: dict[str, str] | None = None,
        new_words: bool = False,
        renew: Sequence[str] = (),
    ):
        self.min_share, self.rename = min_share, dict(rename or {})
        self.new_words, self.renew = new_words, tuple(renew)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare with the model, and put a fitting state dict in its place.

        Args:
            runner: The runner.
            checkpoint: The checkpoint; ``state_dict`` is replaced.

        Raises:
            CheckpointError: If it doesn't fit.
        """
        from coavt_mm.checkpoints.conversion import read_state_dict
        from coavt_mm.checkpoints.own import fit
        from coavt_mm.checkpoints.words import check_words, grow_words

        model, where = bare_model(runner), str(runner._load_from or '')
        state, lines = self._renamed(read_state_dict(checkpoint), model)
        state, anew = self._without_misfits(state, model)
        lines += anew + check_words(checkpoint, state, model, where)
        if self.new_words:
            state, grown = grow_words(state, model)
            lines += [f'{name}: {how}' for name, how in grown.items()]
        # a run goes on with all of its weights, or is another
        whole = runner._resume
        state, more = fit(state, model, whole, self.min_share, where)
        checkpoint['state_dict'] = state
        for line in lines + more:
            runner.logger.info(line)
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        if optimizer is not None:
            merge_stored_groups(checkpoint, optimizer, model)

    def _without_misfits(
        self, state: dict[str, Tensor], model: nn.Module
    ) -> tuple[dict[str, Tensor], list[str]]:
        """The state dict without parts to renew, and lines for a log."""
        own = model.state_dict()
        odd = {
            name.partition('.')[0]
            for name, tensor in state.items()
            if name in own and own[name].shape != tensor.shape
        }
        odd &= {*self.renew}
        kept = {n: t for n, t in state.items() if n.partition('.')[0] not in odd}
        return kept, [f'{part} begins anew' for part in sorted(odd)]

    def _renamed(
        self, state: dict[str, Tensor], model: nn.Module
    ) -> tuple[dict[str, Tensor], list[str]]:
        """The state dict with this model's names, and lines for a log."""
        parts = Counter(name.partition('.')[0] for name in state)
        if not parts.keys() & self.rename.keys():
            return state, []
        own = {name.partition('.')[0] for name in model.state_dict()}
        kept = {p: self.rename.get(p, p) for p in parts}
        kept = {old: new for old, new in kept.items() if new in own}
        lines = [f'{old} goes into {new}' for old, new in kept.items()]
        lines += [f'{p} ({n} tensors) is left out' for p, n in parts.items()
                  if p not in kept]  # fmt: skip
        renamed = {}
        for name, tensor in state.items():
            part, dot, rest = name.partition('.')
            if part in kept:
                renamed[kept[part] + dot + rest] = tensor
        return renamed, lines


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Refuse a checkpoint that does not fill the whole model.

    mmengine only logs missing keys and goes on with random weights, which for a test
    means a table of chance results. ``tools/test.py`` registers this hook.
    """

    priority = 'LOWEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes with the model's.

        Args:
            runner: The runner.
            checkpoint: The checkpoint that was read.

        Raises:
            CheckpointError: If a parameter is missing or has another shape.
        """
        given = checkpoint.get('state_dict', checkpoint)
        wanted = bare_model(runner).state_dict()
        wrong = [
            key
            for key, value in wanted.items()
            if getattr(given.get(key), 'shape', None) != value.shape
        ]
        if wrong:
            raise CheckpointError(
                f'the checkpoint does not fit this config: {len(wrong)} of '
                f'{len(wanted)} tensors are missing or of another shape, the first is '
                f'{wrong[0]!r}; use the config that the checkpoint was trained with.'
            )


@HOOKS.register_module()
class EpochAverageHook(EMAHook):
    """The plain mean of the weights at the ends of epochs ``begin`` to ``end``.

    CAV-MAE averages the checkpoints of these epochs when training is over; here the
    mean grows with each epoch. It is what validation and test see and what checkpoints
    hold as ``state_dict``, so the last checkpoint is the averaged model; the weights
    that training goes on with, and the count, are beside it for ``--resume``. Before
    ``begin`` the mean is the present weights; after ``end`` it stays.

    Args:
        begin: First epoch that counts, from 1.
        end: Last epoch that counts. Default: the last of the run.

    Raises:
        ConfigError: The span holds no epoch, lies beyond the run, or the run has no
            epochs.
    """

    def __init__(self, begin: int = 1, end: int | None = None):
        if begin < 1 or (end is not None and end < begin):
            raise ConfigError(
                f'EpochAverageHook: epochs {begin} to {end} are no span; epochs are '
                'counted from 1'
            )
        super().__init__(ema_type='StochasticWeightAverage')
        self.begin, self.end = begin, end

    def before_train(self, runner: Runner) -> None:
        """Compare the span with the run.

        Args:
            runner: The runner of the training process.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ConfigError(
                'EpochAverageHook averages over epochs: set train_cfg.type='
                f"'EpochBasedTrainLoop' (it is {type(runner.train_loop).__name__})"
            )
        last = self.end or self.begin
        if last > runner.max_epochs:
            raise ConfigError(
                f'EpochAverageHook: epoch {last} lies behind the last one, '
                f'{runner.max_epochs}'
            )

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Nothing: single iterations don't count."""

    def after_train_epoch(self, runner: Runner) -> None:
        """Take the weights of this epoch into the mean.

        Args:
            runner: The runner of the training process.
        """
        epoch = runner.epoch + 1  # counted from 1, as `begin` is
        if self.end is not None and epoch > self.end:
            return
        self.ema_model.update_parameters(self.src_model)
        if epoch < self.begin:
            self.ema_model.steps.zero_()  # the next epoch replaces this one
