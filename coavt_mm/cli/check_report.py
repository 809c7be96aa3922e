"""What ``coavt check`` prints of a run: sizes, memory, time, disk."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import torch

from coavt_mm.cli.checking import SPLITS, Check

_LOG = 6_000  # bytes of log, curves and events for each line, as the demo has them


def report(check: Check) -> Iterator[str]:
    """The lines; what was not measured is left out.

    Args:
        check: Of a config; a disk that is too small is added to what is found.
    """
    rows = {
        'model': _model(check),
        **{split: _data(check, split) for split in SPLITS},
        'memory': _memory(check),
        'time': _time(check),
        'disk': _disk(check),
    }
    yield f'checked {Path(check.cfg.filename or "config").stem}'
    yield from (f'  {name:<7} {text}' for name, text in rows.items() if text)


def _model(check: Check) -> str:
    model = check.built.get('model')
    if model is None:
        return ''
    every = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return (
        f'{type(model).__name__}, {every / 1e6:,.1f} M parameters, '
        f'{trained / 1e6:,.1f} M of them trained'
    )


def _data(check: Check, split: str) -> str:
    dataset = check.built.get(split)
    if dataset is None:
        return ''
    where = getattr(dataset, 'metainfo', {}).get('manifest')
    each = check.seconds.get(split)
    return (
        f'{len(dataset):,} clips'
        + (f' of {where}' if where else '')
        + (f', {1000 * each:.0f} ms to read one' if each is not None else '')
    )


def _gb(size: float) -> str:
    return f'{size / 2**30:.2f}' if size < 10 * 2**30 else f'{size / 2**30:.0f}'


def _memory(check: Check) -> str:
    if not check.bytes:
        return ''
    parts = {k: v for k, v in check.bytes.items() if k != 'peak'}
    clips = check.cfg.train_dataloader.get('batch_size', 1)
    named = ', '.join(
        f'{name}{f" of {clips} clips" * (name == "activations")} {_gb(size)}'
        for name, size in parts.items()
    )
    total = f'{_gb(sum(parts.values()))} GB of tensors: {named}'
    if 'peak' in check.bytes:
        there = torch.cuda.get_device_properties(0).total_memory
        return f'{total}; measured {_gb(check.bytes["peak"])} of {_gb(there)} GB'
    there = psutil.virtual_memory().available
    if sum(parts.values()) > there:
        check.add(
            f'memory: {_gb(sum(parts.values()))} GB of {_gb(there)} that are free'
        )
    return f'{total}; {_gb(there)} GB are free'


def _steps(check: Check) -> int:
    """Of the run, those of an epoch counted for one process."""
    loop, dataset = check.cfg.train_cfg, check.built['train']
    if loop.get('max_iters') is not None:
        return int(loop.max_iters)
    batch = check.cfg.train_dataloader.get('batch_size', 1)
    return int(loop.get('max_epochs', 1)) * -(-len(dataset) // batch)


def _validations(check: Check) -> int:
    loop = check.cfg.train_cfg
    end = loop.get('max_iters', loop.get('max_epochs', 1))
    if 'val' not in check.built or loop.get('val_begin', 1) > end:
        return 0
    return max(1, -(-end // max(loop.get('val_interval', 1), 1)))


def _time(check: Check) -> str:
    if 'step' not in check.seconds:
        return ''
    loader, steps = check.cfg.train_dataloader, _steps(check)
    step = check.seconds['step']
    workers = loader.get('num_workers', 0)
    batch, share = loader.get('batch_size', 1), max(workers, 1)
    waits = 0 if workers else step  # for what is read here
    data = check.seconds.get('train', 0) * batch / share + waits
    whole = steps * max(step, data)
    if (again := check.seconds.get('train_kept')) is not None:
        # each worker decodes each clip once
        first = min(steps, share * -(-len(check.built['train']) // batch))
        data = again * batch / share + waits
        whole = first * whole / steps + (steps - first) * max(step, data)
    text = f'{step:.2g} s a step, {steps:,} steps'
    if workers and data > step:
        text += f', but {data:.2g} s for {workers} workers to read a batch'
    if (each := check.seconds.get('val_step')) and (times := _validations(check)):
        clips = len(check.built['val'])
        seconds = clips * max(each, check.seconds.get('val', 0))
        text += f', {times} x {clips:,} clips of validation in {seconds:.0f} s'
        whole += times * seconds
    return f'about {timedelta(seconds=round(whole))} on this machine: {text}'


def _disk(check: Check) -> str:
    if not check.bytes:
        return ''
    saving: Any = (check.cfg.get('default_hooks') or {}).get('checkpoint') or {}
    steps, interval = _steps(check), saving.get('interval', -1)
    made = max(1, -(-steps // interval)) if interval > 0 else 1
    most = saving.get('max_keep_ckpts', -1)
    kept = made if most < 1 else min(made, most + 1)  # one more while it is written
    if every := saving.get('keep_every', 0):
        kept += steps // every
    best = saving.get('save_best') or ()
    best = 1 if isinstance(best, str) else len(best)
    weights = check.bytes['weights'] * (1 + _averages(check.cfg))
    full = weights + check.bytes['optimiser']
    logger = (check.cfg.get('default_hooks') or {}).get('logger') or {}
    logs = _LOG * (steps // max(logger.get('interval', 10), 1))
    need = kept * full + best * weights + logs
    place = Path(check.cfg.work_dir).absolute()
    place = next(p for p in (place, *place.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if need > free:
        check.add(
            f'disk: the run needs {_gb(need)} GB, {place} has {_gb(free)} free; lower '
            'default_hooks.checkpoint.max_keep_ckpts, or name another --work-dir'
        )
    return (
        f'{_gb(need)} GB in {check.cfg.work_dir}: {kept} checkpoints of '
        f'{_gb(full)}, {best} best of {_gb(weights)}, logs {_gb(logs)}; '
        f'{_gb(free)} GB are free'
    )


def _averages(cfg: Any) -> int:
    """Copies of the weights that hooks keep in checkpoints."""
    hooks = [
        *(cfg.get('custom_hooks') or ()),
        *(cfg.get('default_hooks') or {}).values(),
    ]
    kinds = [str(h.get('type')) for h in hooks if isinstance(h, dict)]
    return sum(kind.rpartition('.')[2] == 'EMAHook' for kind in kinds)
