"""A curriculum: what training sees in which epochs of the data.

Stages are counted in epochs over the samples of all processes, so they begin at the
same sample whatever the batch size and the number of processes. The sampler owns the
curriculum and puts the stage into each request; ``PickCaption`` reads its captions,
``CurriculumHook`` its losses.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from coavt_mm.datasets.manifest import nearest
from coavt_mm.errors import ConfigError
from coavt_mm.streams import CAPTION_FIELDS, STREAMS

KEYS = ('epochs', 'captions', 'group_size', 'streams', 'weights', 'hardness')
#: settings that a hook carries out, not the data
OF_LOSSES = ('streams', 'weights', 'hardness')


def check_caption_weights(weights: dict[str, float]) -> None:
    """Refuse weights of caption fields that draw nothing.

    Args:
        weights: Field of a row -> weight.

    Raises:
        ConfigError: If a field is unknown, a weight negative or none above 0.
    """
    check_caption_fields([*weights])
    if not weights or min(weights.values()) < 0 or max(weights.values()) == 0:
        raise ConfigError(f'caption weights {weights}: none is above 0')


def check_caption_fields(fields: Sequence[str]) -> None:
    """Refuse names that are no caption field of a row.

    Args:
        fields: The names.

    Raises:
        ConfigError: If one is unknown.
    """
    for field in fields:
        if field not in CAPTION_FIELDS:
            raise ConfigError(
                f"caption field '{field}' is none of {', '.join(CAPTION_FIELDS)}"
            )


class Curriculum:
    """The stages of a run.

    Each is a dict of what differs from the rest of the config while it lasts:

    - ``epochs``: how long it lasts; a last stage may leave it out and never ends. After
      the last stage all is as the config says.
    - ``captions``: weight of each caption field, in place of ``PickCaption.fields``.
    - ``group_size``: clips in a group, see :class:`.ResumableSampler`; 1 deals clips
      singly. What the stage of an epoch's first sample says holds for the epoch.
    - ``streams``: the only ones that losses of text train. An alignment keeps the
      weight that the config gives it.
    - ``weights``: with ``streams``, head -> weight of each of these streams in it. Of
      the heads beside ``contrastive_head``, those without a weight are off.
    - ``hardness``: that of ``MatchingHead``: a number, or points (epochs since the
      stage began, value) with straight lines between them. It stays in force until a
      later stage sets another.

    Args:
        stages: The stages, in order; none is a run without a curriculum.

    Raises:
        ConfigError: If a stage is none.
    """

    def __init__(self, stages: Sequence[dict] = ()):
        self.stages = [
            _checked(stage, i, len(stages)) for i, stage in enumerate(stages)
        ]
        lengths = [stage.get('epochs', np.inf) for stage in self.stages]
        self._ends = [*accumulate(lengths)]
        self._begins = [0, *self._ends[:-1]]

    @property
    def is_grouped(self) -> bool:
        """Whether a stage deals clips in groups."""
        return any(stage.get('group_size', 1) > 1 for stage in self.stages)

    @property
    def needs_hook(self) -> bool:
        """Whether a stage has settings that only a hook can carry out."""
        return any(key in stage for stage in self.stages for key in OF_LOSSES)

    def index(self, epoch: float) -> int:
        """The number of the stage at a time, in epochs; after the last, their count."""
        return bisect_right(self._ends, epoch)

    def stage(self, epoch: float) -> dict:
        """The stage at a time, in epochs; empty after the last."""
        index = self.index(epoch)
        return self.stages[index] if index < len(self.stages) else {}

    def hardness(self, epoch: float) -> float | None:
        """The hardness at a time, in epochs; None where no stage has set one."""
        for index in range(min(self.index(epoch), len(self.stages) - 1), -1, -1):
            points = self.stages[index].get('hardness')
            if points is not None:
                since, values = zip(*_points(points), strict=True)
                return float(np.interp(epoch - self._begins[index], since, values))
        return None


def _points(hardness: float | Sequence) -> list[tuple[float, float]]:
    if isinstance(hardness, int | float):
        return [(0.0, hardness)]
    return [tuple(point) for point in hardness]


def _checked(stage: dict, number: int, count: int) -> dict:
    stage, where = _plain(stage), f'stage {number} of the curriculum'
    for key in stage:
        if key not in KEYS:
            raise ConfigError(
                f'{where}: unknown key {key!r}{nearest(key, KEYS)}; there are '
                f'{", ".join(KEYS)}'
            )
    _check_number(stage.get('epochs', np.inf), f'{where}: epochs', above=0)
    if 'epochs' not in stage and number < count - 1:
        raise ConfigError(f'{where}: only the last stage may leave out epochs')
    if 'captions' in stage:
        check_caption_weights(stage['captions'])
    size = stage.get('group_size', 1)
    if not isinstance(size, int) or size < 1:
        raise ConfigError(f'{where}: group_size={size!r} is no number of clips')
    _check_losses(stage, where)
    return stage


def _check_losses(stage: dict, where: str) -> None:
    streams, weights = stage.get('streams'), stage.get('weights', {})
    if 'weights' in stage and not streams:
        raise ConfigError(f'{where}: weights need streams, whose losses they weigh')
    for name in streams or ():
        if name not in STREAMS:
            raise ConfigError(
                f"{where}: streams names '{name}'; streams are {', '.join(STREAMS)}"
            )
    for head, weight in weights.items():
        _check_number(weight, f'{where}: weight of {head}')
    if 'hardness' not in stage:
        return
    try:
        since, values = zip(*_points(stage['hardness']), strict=True)
        valid = [*since] == sorted(set(since)) and min(*since, *values, 0) >= 0
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ConfigError(
            f'{where}: hardness={stage["hardness"]!r} is neither a number nor a list '
            'of points (epochs since the stage began, value) in order, none negative'
        )


def _check_number(value: float, what: str, above: float | None = None) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (value >= 0 if above is None else value > above):
        need = 'must not be negative' if above is None else f'must be above {above}'
        raise ConfigError(f'{what}={value!r} {need}')


def _plain(stage: dict) -> dict:
    """Without mmengine's ConfigDict: it goes to the workers with each sample."""
    if not isinstance(stage, dict):
        raise ConfigError(f'a stage of the curriculum is a dict, not {stage!r}')
    return {k: dict(v) if isinstance(v, dict) else v for k, v in stage.items()}
