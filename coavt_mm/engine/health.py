"""A line on the health of a training behind each line of its log."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from coavt_mm.engine.hooks import log_interval
from coavt_mm.engine.weights import bare_model
from coavt_mm.errors import ConfigError
from coavt_mm.models.layers import MIN_TEMPERATURE
from coavt_mm.models.watched import Watched, answer_sums, similarity_sums, spreads
from coavt_mm.registry import HOOKS


@HOOKS.register_module()
class HealthHook(Hook):
    """Log what shows a collapse before the losses do, and warn of each once.

    Behind each line of the log comes one that begins with ``health:``; TensorBoard
    and ``scalars.json`` have its values as ``health/...`` (docs/training.md says what
    each means), and all processes the same. Matching answers, skipped clips and the
    wait for data are those of all steps since the line before, all else is of one step,
    over the clips of all processes. Between two lines nothing is computed or read.

    Args:
        warm_up: Share of the run's steps, from the first line that has a value, in
            which a value that was never good is no collapse.
        patience: Lines in a row that have to be bad.

    Raises:
        ConfigError: If an argument makes no sense.
    """

    priority = 'LOW'  # behind LoggerHook

    def __init__(self, warm_up: float = 0.1, patience: int = 3):
        if not 0 <= warm_up <= 1 or patience < 1:
            raise ConfigError(
                'HealthHook: warm_up is a share, from 0 to 1, and patience 1 or more '
                f'lines; got {warm_up} and {patience}'
            )
        self.warm_up, self.patience = warm_up, patience
        self._answers: list[dict[str, torch.Tensor]] = []
        self._steps = 0  # since the last line

    def before_train(self, runner: Runner) -> None:
        """Find how often values are logged, and to which part a parameter belongs.

        Args:
            runner: The runner of the training process.
        """
        self._interval = log_interval(runner)
        self._watch = CollapseWatch(self.warm_up * runner.max_iters, self.patience)
        self._part = {
            id(parameter): name.partition('.')[0]
            for name, parameter in bare_model(runner).named_parameters()
        }
        self._drawn = _drawn(runner.train_dataloader.dataset)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the step's answers; say how all is, if that is due.

        Args:
            runner: The runner.
            batch_idx: Index of the batch.
            data_batch: The batch.
            outputs: The logged values.
        """
        seen: Watched | None = getattr(bare_model(runner), 'watched', None)
        if seen is not None:  # a graph may use its memory again
            self._answers.append({s: x.clone() for s, x in seen.answers.items()})
        self._steps += 1
        if self.every_n_inner_iters(batch_idx, self._interval):
            values = self._read(runner, seen)
            self._answers, self._steps = [], 0
            self._say(runner, values)

    def _say(self, runner: Runner, values: dict[str, float]) -> None:
        runner.logger.info(f'health: {told(values)}')
        named = {f'health/{name}': value for name, value in values.items()}
        runner.visualizer.add_scalars(named, step=runner.iter + 1)
        if warning := self._watch.look(values, runner.iter + 1):
            runner.logger.warning(warning)

    def _read(self, runner: Runner, seen: Watched | None) -> dict[str, float]:
        """All values by name, of all processes, read from the device at once."""
        wholes: dict[str, torch.Tensor] = {}
        sums = self._sums_of_host(runner, next(bare_model(runner).parameters()).device)
        if seen is not None and seen.temperature is not None:
            wholes = {'temperature': seen.temperature.float(), **spreads(seen)}
            sums |= similarity_sums(seen)
        for stream in {s: 0 for answers in self._answers for s in answers}:
            steps = [of[stream].unflatten(1, (3, -1)) for of in self._answers
                     if stream in of]  # fmt: skip
            sums |= answer_sums(stream, torch.cat(steps, -1).flatten(1))
        wholes |= self._gradients(runner)
        table = torch.stack([*sums.values()])
        all_reduce(table)
        numbers = torch.cat(
            [table.T.flatten(), *(x.reshape(1) for x in wholes.values())]
        )
        read = numbers.tolist()
        totals, counts, rest = (
            read[: len(sums)], read[len(sums) : 2 * len(sums)], read[2 * len(sums) :]
        )  # fmt: skip
        values = {n: x for n, x in zip(wholes, rest, strict=True) if isfinite(x)}
        for name, total, count in zip(sums, totals, counts, strict=True):
            if count and isfinite(total):
                values[name] = total / count
        return values

    def _sums_of_host(self, runner: Runner, device: Any) -> dict[str, torch.Tensor]:
        """Skipped clips of those drawn, and seconds of waiting of those of steps."""
        before, self._drawn = self._drawn, _drawn(runner.train_dataloader.dataset)
        clips = [now - then for now, then in zip(self._drawn, before, strict=True)]
        scalars = runner.message_hub.log_scalars
        waited = [
            scalars[name].mean(self._steps) if name in scalars else 0.0
            for name in ('train/data_time', 'train/time')
        ]
        rows = torch.tensor([clips, waited], dtype=torch.float32)
        return dict(
            zip(('skipped_clips', 'data_wait'), rows.to(device).unbind(), strict=True)
        )

    def _gradients(self, runner: Runner) -> dict[str, torch.Tensor]:
        """The norm of each part's gradient in the last step, before clipping."""
        last = getattr(runner.optim_wrapper, 'last_norms', None)
        if last is None:
            return {}
        params, norms = last
        parts = [self._part.get(id(p), 'rest') for p in params]
        names = [*dict.fromkeys(parts)]
        place = torch.tensor([names.index(part) for part in parts], device=norms.device)
        squares = norms.new_zeros(len(names)).index_add(0, place, norms.square())
        return {f'grad_norm/{n}': x for n, x in zip(names, squares.sqrt(), strict=True)}


def _drawn(dataset: Any) -> tuple[int, int]:
    """Clips of a data set, or of those it is made of, that were skipped, and drawn."""
    inner = getattr(dataset, 'datasets', None)
    if inner is not None:
        parts = [_drawn(part) for part in inner]
        return sum(bad for bad, _ in parts), sum(draws for _, draws in parts)
    counts = getattr(getattr(dataset, '_bad', None), 'counts', None)
    if counts is None:
        return 0, 0
    draws, bad = counts.sum(0).tolist()
    return bad, draws


# --------------------------------------------------------------------------------------
# What is said
# --------------------------------------------------------------------------------------
_ORDER = ('temperature', 'similarity', 'matching', 'variance', 'rank', 'grad_norm')


def told(values: dict[str, float]) -> str:
    """The values on one line, those of a kind together.

    Args:
        values: By name, such as ``rank/AV``.
    """
    kinds: dict[str, list[str]] = {kind: [] for kind in _ORDER}
    for name, value in values.items():
        kind, _, of = name.partition('/')
        is_share = kind in ('skipped_clips', 'data_wait', 'matching')
        number = f'{100 * value:.1f} %' if is_share else f'{value:.4g}'
        of = of.replace('/', ' ')
        kinds.setdefault(kind, []).append(f'{of} {number}'.strip())
    return '; '.join(
        f'{kind.replace("_", " ")} {", ".join(items)}'
        for kind, items in kinds.items()
        if items
    )


# --------------------------------------------------------------------------------------
# What is no longer well
# --------------------------------------------------------------------------------------
#: Kind of value -> the least and the most that is well, and what to look at if not.
BOUNDS = {
    'variance': (
        0.001,
        inf,
        'All clips, or all texts, get the same feature: look at the learning rate and '
        'its warm-up, at the weights that the run starts from, and at whether clips '
        'and captions differ (tools/visualization/browse_dataset.py)',
    ),
    'rank': (
        1.2,
        inf,
        'Features vary along one line only: look at the learning rate and its warm-up, '
        'at the weights that the run starts from, and at whether clips and captions '
        'differ (tools/visualization/browse_dataset.py)',
    ),
    'similarity': (
        0.02,
        inf,
        'Clips are no nearer to their texts than to others: look at whether captions '
        'belong to their clips (tools/visualization/browse_dataset.py), at the '
        'learning rate, and at the number of clips in a batch',
    ),
    'matching': (
        0.55,
        inf,
        'The matching head guesses: look at its weight and hardness, at the weights '
        'that the run starts from, and at whether captions tell clips apart',
    ),
    'temperature': (
        1.01 * MIN_TEMPERATURE,
        0.5,
        'Similarities are divided by it: look at the learning rate; lr_mult of '
        'temperature in optim_wrapper.paramwise_cfg.custom_keys slows it down',
    ),
}
_WARM_UP = 100  # steps, at least
_SMOOTHED = 100  # steps that answers are averaged over: of few clips they are noise


@dataclass
class _Course:
    """How a value has been so far."""

    begin: int  # the iteration of its first line
    level: float
    bad: int = 0  # lines in a row
    good: int = 0
    was_good: bool = False
    told: bool = False


class CollapseWatch:
    """Tells when values have left their bounds for good, once for each.

    Args:
        warm_up: Steps of a value in which it is no collapse, unless it was good before.
        patience: Lines in a row that a value has to be bad, or good.
    """

    def __init__(self, warm_up: float, patience: int):
        self.warm_up, self.patience = max(warm_up, _WARM_UP), patience
        self._courses: dict[str, _Course] = {}
        self._last = 0

    def look(self, values: dict[str, float], iteration: int) -> str:
        """See the values of a line.

        Args:
            values: By name, as :class:`HealthHook` logs them.
            iteration: Steps trained.

        Returns:
            A warning of all that are a collapse by now, and were none before; or ''.
        """
        steps, self._last = max(iteration - self._last, 1), iteration
        found: dict[str, list[str]] = {}
        for name, value in judged(values).items():
            kind = name.partition('/')[0]
            least, most, _ = BOUNDS[kind]
            course = self._courses.setdefault(name, _Course(iteration, value))
            share = min(steps / _SMOOTHED, 1) if kind == 'matching' else 1
            course.level += share * (value - course.level)
            is_good = least <= course.level <= most
            if self._is_collapse(course, is_good, kind, iteration):
                course.told = True
                bound = f'below {least:g}' if course.level < least else f'over {most:g}'
                said = f'{_named(name)} is {course.level:.3g}, {bound}'
                found.setdefault(kind, []).append(said)
        if not found:
            return ''
        said = '; '.join(text for texts in found.values() for text in texts)
        advice = next(BOUNDS[kind][2] for kind in BOUNDS if kind in found)
        return f'iteration {iteration}: this looks like a collapse: {said}. {advice}'

    def _is_collapse(
        self, course: _Course, is_good: bool, kind: str, iteration: int
    ) -> bool:
        course.good, course.bad = (
            (course.good + 1, 0) if is_good else (0, course.bad + 1)
        )
        course.was_good |= course.good >= self.patience and kind != 'matching'
        is_warm = iteration - course.begin >= self.warm_up or kind == 'temperature'
        return (
            course.bad >= self.patience
            and (is_warm or course.was_good)
            and not course.told
        )


_NAMES = {
    'rank': 'effective rank',
    'similarity': 'positive less negative similarity',
    'matching': 'balanced matching accuracy',
}


def _named(name: str) -> str:
    kind, _, of = name.partition('/')
    return _NAMES.get(kind, kind) + (f' of {of}' if of else '')


def judged(values: dict[str, float]) -> dict[str, float]:
    """The numbers that :data:`BOUNDS` are for.

    Args:
        values: By name, as :class:`HealthHook` logs them.

    Returns:
        Temperature, variances and ranks as they are; the gap between positive and
        negative similarity; the mean of the accuracies on right and on wrong pairs, of
        which 0.5 is chance.
    """
    alone = ('temperature', 'variance', 'rank')
    found = {n: v for n, v in values.items() if n.partition('/')[0] in alone}
    for name, positive in values.items():
        stem = name.removesuffix('/positive')
        negatives = [v for n, v in values.items() if n.startswith(f'{stem}/negative')]
        if stem == name or not negatives:
            continue
        negative = sum(negatives) / len(negatives)
        is_matching = stem.startswith('matching')
        found[stem] = (positive + negative) / 2 if is_matching else positive - negative
    return found
