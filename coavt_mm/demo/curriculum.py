"""The hook that carries out a curriculum's losses."""

from collections.abc import Iterable
from typing import Any
from warnings import warn

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from coavt_mm.datasets.curriculum import Curriculum
from coavt_mm.engine.hooks import RuntimeInfoHook
from coavt_mm.engine.loops import first_position
from coavt_mm.engine.weights import bare_model
from coavt_mm.errors import ConfigError
from coavt_mm.registry import HOOKS
from coavt_mm.streams import CAPTION_FIELDS, STREAMS, describes

#: the model's own heads that compare or write text, and so follow a stage's streams
TEXT_HEADS = ('contrastive_head', 'matching_head', 'lm_head')
#: streams, and what of a stage is told beside them
_SPOKEN = {'AV': 'sound with picture', 'A': 'sound', 'V': 'picture'}
_TOLD = ('captions', 'weights', 'hardness', 'group_size')
#: what the message hub, and so a checkpoint, keeps of the last iteration
_LOGGED = 'curriculum'


@HOOKS.register_module()
class CurriculumHook(Hook):
    """Train the losses of the sampler's present stage.

    The sampler owns the stages (``ResumableSampler(curriculum=...)``, see
    :class:`.Curriculum`); this hook asks it for the one of each batch's first sample
    over all processes, and sets the heads' weights by stream and the hardness of
    negatives. So they follow from the samples seen alone: another batch size, number of
    processes or a resumed run has the same ones at the same samples. A head that the
    config switches off stays off, and so does a stream without alignment. Without a
    curriculum nothing is changed.

    Raises:
        ConfigError: If a stage trains nothing, names a head that the model lacks, or
            ten batches in a row have no caption of its streams.
    """

    def __init__(self) -> None:
        self.curriculum = Curriculum()
        self._configured: dict[str, dict[str, float]] = {}
        self._hardness: float | None = None  # the config's
        self._ended: set[str] = set()  # logged in the stage before
        # iterations in a row without a loss; on the device, and seldom read
        self._idle: Tensor | int = 0

    def before_train(self, runner: Runner) -> None:
        """Note what the config gives, and refuse stages that can't be carried out.

        Args:
            runner: The runner.
        """
        model, self.curriculum = bare_model(runner), self._find(runner)
        stages = self.curriculum.stages
        self._check_heads(model)
        self._configured = {
            name: dict(head.streams) for name, head in _text_heads(model).items()
        }
        self._hardness = getattr(self._matching(model), 'hardness', None)
        for number, stage in enumerate(stages):
            if 'streams' in stage and not self._weights(stage)['contrastive_head']:
                raise ConfigError(
                    f'{self._name}: stage {number} trains '
                    f'{" and ".join(stage["streams"])} alone, all switched off in '
                    "contrastive_head.streams; take it out of the sampler's curriculum"
                )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Set the losses of this iteration.

        Args:
            runner: The runner.
            batch_idx: Index of the batch.
            data_batch: The batch.
        """
        epoch, model = self._epoch(runner, batch_idx), bare_model(runner)
        self._note_stage(runner, self.curriculum.index(epoch))
        if self._is_weighing:
            self._set(model, self._weights(self.curriculum.stage(epoch)))
        head, hardness = self._matching(model), self.curriculum.hardness(epoch)
        if head is not None and hardness is not None:
            head.hardness = hardness

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """End the log of losses that ended; refuse to go on where nothing is learned.

        Args:
            runner: The runner.
            batch_idx: Index of the batch.
            data_batch: The batch.
            outputs: The logged losses.
        """
        if outputs is None:
            return
        epoch = self._epoch(runner, batch_idx)
        stage = self.curriculum.stage(epoch)
        self._keep_logs(runner, stage, {*outputs})
        if not self._is_weighing:
            return
        nothing = 'streams' in stage and outputs['loss'].detach() == 0
        self._idle = (self._idle + 1) * nothing
        if (runner.iter + 1) % 10 == 0 and self._idle >= 10:
            raise ConfigError(
                f'{self._name}: no caption of the last 10 batches is about '
                f'{" or ".join(self._weights(stage)["contrastive_head"])}, so that '
                "nothing was learned; let the stage's captions draw such ones"
            )

    def after_train(self, runner: Runner) -> None:
        """Leave the model as its config says, also after a run that ended early.

        Args:
            runner: The runner.
        """
        if self._is_weighing:
            self._set(bare_model(runner), self._configured)
        if self._hardness is not None:
            self._matching(bare_model(runner)).hardness = self._hardness

    def _note_stage(self, runner: Runner, index: int) -> None:
        """At a new stage, say so, and end what the log has of the one before."""
        hub, stages = runner.message_hub, self.curriculum.stages
        before = hub.runtime_info.get(self._key, dict(stage=-1, names=[]))
        if not stages or before['stage'] == index:
            return
        last = stages[before['stage']] if 0 <= before['stage'] < len(stages) else {}
        for hook in runner.hooks:
            if isinstance(hook, RuntimeInfoHook):
                hook.read(runner)  # what is not logged yet is of the last stage
        _drop_logs(runner, _silent(last, before['names']))
        self._ended = {*before['names']}
        hub.update_info(self._key, dict(stage=index, names=[]))
        runner.logger.info(f'iteration {runner.iter}: {_said(stages, index, last)}')

    def _keep_logs(self, runner: Runner, stage: dict, names: set[str]) -> None:
        """Log the values of a stage that mean something, and none of stages before.

        The last value of a loss that has ended would be shown for ever, and that of a
        stream that no caption is about is always 0. Stage and names are kept in the
        message hub, and so in checkpoints.
        """
        if not self.curriculum.stages:
            return
        about = runner.message_hub.runtime_info[self._key]
        _drop_logs(runner, self._ended - names | {*_silent(stage, names)})
        self._ended = set()
        about = dict(about, names=sorted(names.union(about['names'])))
        runner.message_hub.update_info(self._key, about)

    def _epoch(self, runner: Runner, batch_idx: int) -> float:
        """The time in epochs of the data, of all processes, at the batch's begin."""
        size = len(runner.train_dataloader.dataset)
        return first_position(runner, batch_idx) / size

    def _find(self, runner: Runner) -> Curriculum:
        sampler = runner.train_dataloader.batch_sampler.sampler
        return getattr(sampler, 'curriculum', self.curriculum)

    @property
    def _is_weighing(self) -> bool:
        return any('streams' in stage for stage in self.curriculum.stages)

    @property
    def _key(self) -> str:
        """Where the message hub has it; old forms go side by side."""
        return _LOGGED if type(self) is CurriculumHook else f'{_LOGGED}_{self._name}'

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_heads(self, model: nn.Module) -> None:
        known = {*TEXT_HEADS, *getattr(model, 'extra_heads', ())}
        for number, stage in enumerate(self.curriculum.stages):
            missing = [*{*stage.get('weights', ())} - known]
            if 'hardness' in stage and not hasattr(model, 'matching_head'):
                missing.append('matching_head')
            if missing:
                raise ConfigError(
                    f'{self._name}: the model has no {missing[0]}, of which '
                    f'stage {number} speaks'
                )

    def _weights(self, stage: dict) -> dict[str, dict[str, float]]:
        """Head -> stream -> weight in a stage."""
        if 'streams' not in stage:
            return self._configured
        aligned = {
            stream: weight
            for stream, weight in self._configured.get('contrastive_head', {}).items()
            if stream in stage['streams']
        }
        weights = {'contrastive_head': aligned}
        for name, configured in self._configured.items():
            weight = stage.get('weights', {}).get(name, 0.0)
            if name != 'contrastive_head':
                is_on = weight > 0 and configured
                weights[name] = dict.fromkeys(aligned, weight) if is_on else {}
        return weights

    def _set(self, model: nn.Module, weights: dict[str, dict[str, float]]) -> None:
        for name, head in _text_heads(model).items():
            head.streams = weights[name]

    @staticmethod
    def _matching(model: nn.Module) -> Any:
        return getattr(model, 'matching_head', None)


def _text_heads(model: nn.Module) -> dict[str, Any]:
    """The heads that are there and read text, the model's own and extra ones."""
    heads = {name: getattr(model, name, None) for name in TEXT_HEADS}
    extra = getattr(model, 'extra_heads', {})
    heads |= {name: head for name, head in extra.items() if head.takes_queries}
    return {name: head for name, head in heads.items() if head is not None}


def _drop_logs(runner: Runner, names: Iterable[str]) -> None:
    for name in names:
        runner.message_hub.log_scalars.pop(f'train/{name}', None)


def _described(stage: dict) -> list[str]:
    """The streams that captions of a stage are about."""
    fields = [f for f, weight in stage.get('captions', {}).items() if weight > 0]
    about = {
        stream
        for field in fields
        for stream, told in zip(STREAMS, describes(CAPTION_FIELDS[field]), strict=True)
        if told
    }
    return [stream for stream in STREAMS if not fields or stream in about]


def _silent(stage: dict, names: Iterable[str]) -> list[str]:
    """Of logged names those of streams that no caption of a stage is about."""
    heard = _described(stage)
    ends = tuple(f'_{stream}' for stream in STREAMS if stream not in heard)
    return [name for name in names if ends and name.endswith(ends)]


def _said(stages: list[dict], index: int, last: dict) -> str:
    """A stage in words: what joins, what is on and what is off."""
    if index >= len(stages):
        return 'the stages end; from now on all is as the config says'
    stage = stages[index]
    on, was = _trained(stage), _trained(last) if last else []
    new = [_SPOKEN[stream] for stream in on if stream not in was]
    verb = ('join' if last else 'begin') + ('s' if len(new) == 1 else '')
    number = f'stage {index + 1} of {len(stages)}'
    title = f'{" and ".join(new)} {verb} ({number})' if new else number
    off = [stream for stream in STREAMS if stream not in on]
    facts = [f'losses of {", ".join(on)}' + f' (off: {", ".join(off)})' * bool(off)]
    facts += [f'{key} {_plainly(stage[key])}' for key in _TOLD if key in stage]
    return f'{title}: {"; ".join(facts)}'


def _trained(stage: dict) -> list[str]:
    heard = _described(stage)
    return [s for s in STREAMS if s in heard and s in stage.get('streams', STREAMS)]


def _plainly(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{name} {number:g}' for name, number in value.items())
    if isinstance(value, list | tuple):
        return ' to '.join(f'{number:g}' for _, number in value)
    return f'{value:g}'


# --------------------------------------------------------------------------------------
# Old forms, for one release: curricula counted in iterations
# --------------------------------------------------------------------------------------
class _IterationHook(CurriculumHook):
    """Stages of its own, whose ``epochs`` are iterations."""

    def __init__(self, stages: list[dict], new: str):
        super().__init__()
        self.curriculum = Curriculum(stages)
        warn(
            f'{self._name} is an old form for one release; give '
            f"CurriculumHook and, as a stage of the sampler's curriculum, {new}, in "
            'epochs of the data',
            FutureWarning,
            stacklevel=3,
        )

    def _find(self, runner: Runner) -> Curriculum:
        return self.curriculum

    def _epoch(self, runner: Runner, batch_idx: int) -> float:
        return runner.iter


@HOOKS.register_module()
class HardnessRampHook(_IterationHook):
    """Old form of a stage's ``hardness``.

    Args:
        start: Hardness up to iteration ``begin``.
        stop: Hardness from iteration ``end`` on. Defaults to 1, BLIP-2's.
        begin: First iteration of the linear ramp.
        end: Its last.

    Raises:
        ConfigError: If the numbers make no ramp, or the model has no matching head.
    """

    def __init__(self, start: float, begin: int, end: int, stop: float = 1.0):
        if min(start, stop, begin) < 0 or end <= begin:
            raise ConfigError(
                f'HardnessRampHook: start={start}, stop={stop}, begin={begin}, '
                f'end={end} make no ramp; none may be negative, end comes after begin'
            )
        points = [(begin, start), (end, stop)]
        super().__init__(
            [dict(hardness=points)], 'hardness=[(begin, start), (end, stop)]'
        )


@HOOKS.register_module()
class SensesFirstHook(_IterationHook):
    """Old form of a stage's ``streams`` and ``weights``.

    Args:
        until: First iteration with all losses.
        matching_weight: Of each sense's matching loss before it. Defaults to 0, off.
        lm_weight: Of each sense's language-modelling loss before it. Defaults to 0,
            off.

    Raises:
        ConfigError: As :class:`CurriculumHook`.
    """

    def __init__(
        self, until: int, matching_weight: float = 0.0, lm_weight: float = 0.0
    ):
        if until < 1 or min(matching_weight, lm_weight) < 0:
            raise ConfigError(
                f'SensesFirstHook: until={until} must be at least 1, matching_weight='
                f'{matching_weight} and lm_weight={lm_weight} not negative'
            )
        weights = dict(matching_head=matching_weight, lm_head=lm_weight)
        stage = dict(epochs=until, streams=('A', 'V'), weights=weights)
        super().__init__([stage], f"streams=('A', 'V'), weights={weights}")
