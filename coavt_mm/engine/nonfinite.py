"""Steps whose loss or gradient is NaN or infinite: left out, counted, written down."""

import json
import math
import os.path as osp
from collections import deque
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from coavt_mm.engine.hooks import Readout
from coavt_mm.errors import ConfigError, TrainingError
from coavt_mm.registry import HOOKS

COUNT = 'skipped_steps'  # in the message hub of checkpoints
_LOOK_BACK = 1000  # iterations


@HOOKS.register_module()
class SkippedStepsHook(Hook):
    """Count steps that :class:`~.optim.OptimWrapper` leaves out, end a run of many.

    Ids of the clips and losses by part go to ``skipped_steps.jsonl`` in the work dir
    (of the further processes to ``skipped_steps_rank1.jsonl`` and so on), a line for
    each batch. ``tools/train.py`` registers this hook where a config has none.

    Args:
        max_skipped: Most steps of the last 1,000 that may be left out.

    Raises:
        ConfigError: If ``max_skipped`` is less than 0.
        TrainingError: If there are more. Weights and checkpoints hold none of them.
    """

    def __init__(self, max_skipped: int = 10):
        if max_skipped < 0:
            raise ConfigError(f'SkippedStepsHook: max_skipped={max_skipped}: 0 or more')
        self.max_skipped = max_skipped
        self._recent: deque[int] = deque()
        self._batches: list[tuple[int, list, dict]] = []
        self._coming: deque[tuple[list, Readout]] = deque()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """See what has come over from the device of the steps so far.

        Args:
            runner: The runner.
            batch_idx: Index of the batch.
            data_batch: The batch.
            outputs: The losses by part.
        """
        wrapper: Any = runner.optim_wrapper
        if not hasattr(wrapper, 'last_skipped'):
            return
        losses = {n: torch.as_tensor(v).detach() for n, v in (outputs or {}).items()}
        self._batches.append((runner.iter + 1, _ids(data_batch), losses))
        if wrapper.last_skipped is None:  # it only accumulates
            return
        self._coming.append((self._batches, Readout(wrapper.last_skipped)))
        self._batches, wrapper.last_skipped = [], None
        while self._coming and self._coming[0][1].ready():
            self._see(runner, *self._coming.popleft())

    def after_train(self, runner: Runner) -> None:
        """See the rest, and count.

        Args:
            runner: The runner.
        """
        while self._coming:
            self._see(runner, *self._coming.popleft())
        count = runner.message_hub.runtime_info.get(COUNT, 0)
        if count:
            runner.logger.warning(
                f'{count} steps of this run had a loss or gradient that is NaN or '
                f'infinite and were left out; see {_file(runner)}'
            )

    def _see(self, runner: Runner, batches: list, skipped: Readout) -> None:
        if not skipped.value():
            return
        hub, last = runner.message_hub, batches[-1][0]
        hub.update_info(COUNT, hub.runtime_info.get(COUNT, 0) + 1)
        _write(_file(runner), batches)
        self._recent.append(last)
        while self._recent[0] <= last - _LOOK_BACK:
            self._recent.popleft()
        said = f'a loss or gradient that is NaN or infinite; clips in {_file(runner)}'
        runner.logger.warning(f'iteration {last} is left out: {said}')
        if len(self._recent) > self.max_skipped:
            raise TrainingError(
                f'{len(self._recent)} of the last {min(last, _LOOK_BACK):,} steps had '
                f'{said}. They changed nothing, so the checkpoints are good: look at '
                'the clips, lower the learning rate, or raise max_skipped of '
                'SkippedStepsHook, and go on with --resume'
            )


def _ids(batch: Any) -> list:
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    return [
        getattr(sample, 'sample_id', None)
        for sample in (samples if isinstance(samples, list | tuple) else [])
    ]


def _file(runner: Runner) -> str:
    rank = get_rank()
    return osp.join(
        runner.work_dir, f'skipped_steps{f"_rank{rank}" if rank else ""}.jsonl'
    )


def _write(path: str, batches: list) -> None:
    """A line of JSON for each batch, which has no NaN: those are words."""
    with open(path, 'a', encoding='utf-8') as file:
        for iteration, ids, losses in batches:
            numbers = {n: _number(float(v.double().mean())) for n, v in losses.items()}
            row = dict(iteration=iteration, ids=ids, losses=numbers)
            file.write(json.dumps(row, ensure_ascii=False) + '\n')


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
