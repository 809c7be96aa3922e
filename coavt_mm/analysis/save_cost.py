"""What saving a checkpoint costs, beside mmengine's plain saving, by turns."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from mmengine.hooks import CheckpointHook as PlainHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from coavt_mm.engine.saving import CheckpointHook

PLAIN, SYNC, BLOCKED, WRITTEN = (
    'plain mmengine',
    'ours',
    'ours, async_save: the step waits',
    'ours, async_save: until it is on the disk',
)


class Weights(BaseModel):
    """Weights of a given size and nothing else.

    Args:
        megabytes: Of the checkpoint: weights, two moments of AdamW.
    """

    def __init__(self, megabytes: float):
        super().__init__()
        count = max(1, round(megabytes / 3 * 1e6 / 4 / 500_000))
        self.parts = nn.ParameterList(torch.randn(500_000) for _ in range(count))

    def forward(self, inputs: torch.Tensor, mode: str = 'loss') -> dict:
        """A loss that asks for nothing.

        Args:
            inputs: A batch.
            mode: Of the forward pass.
        """
        return dict(loss=sum(part.sum() for part in self.parts) * 0)


def save_cost(folder: Path, megabytes: float, rounds: int) -> dict[str, list[float]]:
    """Save by turns.

    Args:
        folder: On the disk to measure; what is written is removed.
        megabytes: Size of a checkpoint.
        rounds: How often.

    Returns:
        What was done -> seconds, one a round.
    """
    times: dict[str, list[float]] = {PLAIN: [], SYNC: [], BLOCKED: [], WRITTEN: []}
    with TemporaryDirectory(dir=folder) as place:
        runner = _runner(place, megabytes)
        hooks = dict(
            plain=PlainHook(by_epoch=False, max_keep_ckpts=2, out_dir=f'{place}/p'),
            sync=CheckpointHook(by_epoch=False, max_keep_ckpts=2, out_dir=f'{place}/s'),
            beside=CheckpointHook(
                by_epoch=False, max_keep_ckpts=2, out_dir=f'{place}/a', async_save=True
            ),
        )
        for hook in hooks.values():
            runner.message_hub.runtime_info.pop('keep_ckpt_ids', None)
            hook.before_train(runner)
        for turn in range(rounds + 1):  # the first finds no memory that is in use
            runner.train_loop._iter = turn
            taken = {
                PLAIN: _timed(lambda: hooks['plain']._save_checkpoint(runner)),
                SYNC: _timed(lambda: hooks['sync']._save_checkpoint(runner)),
                BLOCKED: _timed(lambda: hooks['beside']._save_checkpoint(runner)),
            }
            taken[WRITTEN] = taken[BLOCKED] + _timed(hooks['beside'].finish)
            for name, seconds in taken.items() if turn else ():
                times[name].append(seconds)
    return times


def describe(times: dict[str, list[float]]) -> str:
    """A table in Markdown.

    Args:
        times: What :func:`save_cost` gives.
    """
    rows = ['| | median, ms | of plain, median of the rounds |', '|---|---|---|']
    for name, taken in times.items():
        shares = [own / plain for own, plain in zip(taken, times[PLAIN], strict=True)]
        rows.append(f'| {name} | {median(taken) * 1e3:.0f} | {median(shares):.2f} |')
    return '\n'.join(rows)


def _timed(call: Callable[[], object]) -> float:
    since = time.perf_counter()
    call()
    return time.perf_counter() - since


def _runner(work_dir: str, megabytes: float) -> Runner:
    runner = Runner(
        Weights(megabytes),
        work_dir,
        train_dataloader=dict(
            dataset=[torch.zeros(1)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1,
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=10**6),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1)),
        default_scope='mmengine',
        log_level='ERROR',
    )
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.model.train_step([torch.zeros(1)], runner.optim_wrapper)
    return runner
