"""What ``train`` and ``test`` print for a person: the begin of a run, and its end."""

import json
import shlex
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from coavt_mm.cli.loader_notes import room_note, waiting_note
from coavt_mm.cli.texts import cut_texts
from coavt_mm.engine.choosing import noted_checkpoint
from coavt_mm.engine.weights import bare_model

_NUMBERS = 12  # that are shown of metrics without a table
_TIMED = 10  # steps, after which the end is foreseen
_WATCHED = 200  # steps, whose later half tells whether the loader is fast enough


def _block(title: str, lines: dict[str, str]) -> str:
    width = max(map(len, lines))
    rows = [f'  {name:<{width}}  {text}' for name, text in lines.items() if text]
    return '\n'.join([title, *rows])


def _name(runner: Runner) -> str:
    return Path(runner.cfg.filename or runner.experiment_name).stem


def _millions(parameters: Any) -> str:
    return f'{sum(p.numel() for p in parameters) / 1e6:,.1f} M'


def _model(runner: Runner, is_trained: bool = False) -> str:
    model = bare_model(runner)
    text = f'{type(model).__name__}, {_millions(model.parameters())} parameters'
    trained = [p for p in model.parameters() if p.requires_grad]
    return f'{text}, {_millions(trained)} of them trained' if is_trained else text


def _data(loader: Any) -> str:
    dataset = loader.dataset
    about = getattr(dataset, 'metainfo', {})
    where = about.get('manifest') or getattr(dataset, 'ann_file', None)
    missing = about.get('missing')
    return (
        f'{len(dataset):,} clips'
        + (f' of {where}' if isinstance(where, str) else '')
        + (f' ({missing:,} are missing)' if missing else '')
    )


def _processes() -> str:
    count, device = get_world_size(), 'CPU'
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return f'{count} x {device}' if count > 1 else f'1 {device}'


def log_file(runner: Runner) -> str:
    """The path of the run's log, as short as one may type it."""
    return _short(runner.logger.log_file)


def _short(path: Any) -> str:
    path = Path(path).absolute()
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


class TrainScreen(Hook):
    """Says what is going to be trained, and when it will end.

    Args:
        notes: Warnings that are said behind it.
    """

    priority = 'VERY_LOW'

    def __init__(self, notes: Sequence[str] = ()):
        self.notes = notes

    def before_train(self, runner: Runner) -> None:
        """Say it.

        Args:
            runner: The runner, its checkpoint loaded.
        """
        if runner._resume and is_main_process():
            forget_behind(Path(runner.work_dir) / 'vis_data/scalars.json', runner.iter)
        self._begin = runner.iter
        self._since: float | None = None
        loader = runner.train_dataloader
        batch = getattr(loader, 'batch_size', None) or 0
        total = batch * get_world_size()
        lines = {
            'model': _model(runner, is_trained=True),
            'start': _start(runner),
            'clips': _data(loader),
            'validation': _validation(runner),
            'batch': f'{batch} clips x {get_world_size()} = {total} on {_processes()}',
            'steps': _steps(runner, total),
            'texts': cut_texts(loader.dataset),
            'work dir': _short(runner.work_dir),
            'details': f'{log_file(runner)} (config, groups of parameters, hooks)',
        }
        runner.logger.info(_block(f'training {_name(runner)}', lines))
        for warning in (*_warnings(runner, total), *self.notes):
            runner.logger.warning(warning)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Time the steps after the first, which opens files and fills caches.

        And say where the loader has too little room, or is too slow for the model.

        Args:
            runner: The runner.
            batch_idx: Index of the batch.
            data_batch: The batch.
        """
        done, loader = runner.iter - self._begin, runner.train_dataloader
        note = room_note(loader, data_batch) if done == 0 else None
        if done == _WATCHED:
            workers = getattr(loader, 'num_workers', 0)
            note = waiting_note(runner.message_hub, _WATCHED // 2, workers)
        if note:
            runner.logger.warning(note)
        if done == 1:
            self._since = time.monotonic()
        if done == _TIMED and self._since is not None:
            step = (time.monotonic() - self._since) / (_TIMED - 1)
            left = step * (runner.max_iters - runner.iter)
            end = datetime.now() + timedelta(seconds=left)
            runner.logger.info(
                f'{step:.2f} s a step: the end is expected at {end:%d %b %H:%M}, in '
                f'{timedelta(seconds=round(left))}, validation not counted; '
                f'memory: {_memory()}'
            )


def forget_behind(curves: Path, step: int) -> None:
    """Take points of steps that are trained once more off a resumed run's curves.

    Args:
        curves: Rows in JSON, each with its ``step``.
        step: The last that counts.
    """
    if not curves.is_file():
        return
    rows = curves.read_text('utf-8').splitlines(keepends=True)
    kept = [row for row in rows if json.loads(row).get('step', 0) <= step]
    if len(kept) < len(rows):
        curves.write_text(''.join(kept), 'utf-8')


def _memory() -> str:
    if torch.cuda.is_available():
        held = torch.cuda.max_memory_reserved() / 2**30
        there = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f'{held:.1f} of {there:.1f} GB of the GPU'
    return f'{psutil.Process().memory_info().rss / 2**30:.1f} GB'


def _start(runner: Runner) -> str:
    source = runner._load_from
    if not source:
        return 'random weights, but for parts with an init_cfg'
    resumed = f', resumed at step {runner.iter:,}' if runner._resume else ''
    return _short(source) + resumed if '://' not in str(source) else source + resumed


def _validation(runner: Runner) -> str:
    if runner._val_loop is None:
        return 'none'
    loop = runner.train_loop
    unit = 'epochs' if isinstance(loop, EpochBasedTrainLoop) else 'steps'
    every = f'every {loop.val_interval:,} {unit}' if loop.val_interval > 1 else ''
    return f'{_data(runner.val_dataloader)}, {every or f"after all {unit}"}'


def _steps(runner: Runner, total: int) -> str:
    clips = len(runner.train_dataloader.dataset)
    epochs = runner.max_iters * total / max(clips, 1)
    return f'{runner.max_iters:,}, {epochs:.1f} epochs'


def _warnings(runner: Runner, total: int) -> list[str]:
    model = bare_model(runner)
    clips = len(runner.train_dataloader.dataset)
    lines = []
    heads = getattr(model, 'heads', {})
    if total == 1 and any(head.needs_negatives for head in heads.values()):
        lines.append(
            'batches of 1 clip: contrastive and matching losses have nothing to '
            'compare and learn nothing; raise train_dataloader.batch_size'
        )
    lines += _about_rate(runner, total)
    if clips < total:
        lines.append(
            f'the data set has {clips} clips and a batch {total}: each clip is in a '
            'batch several times, which is no negative of itself; set '
            f'train_dataloader.batch_size={max(clips // get_world_size(), 1)} or less'
        )
    return lines


def _about_rate(runner: Runner, total: int) -> list[str]:
    """A learning rate holds for one number of clips in a step of the optimiser."""
    scaling = runner.cfg.get('auto_scale_lr') or {}
    meant = scaling.get('base_batch_size')
    counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    if scaling.get('enable') or meant in (None, total * counts):
        return []
    now = total * counts
    steps = f'batch={now}' if 'batch' in runner.cfg else 'train_cfg.max_iters=STEPS'
    return [
        f'learning rate and number of steps are meant for {meant} clips a step, these '
        f'are {now}: --auto-scale-lr scales the rate, --cfg-options {steps} the steps'
    ]


class TestScreen(Hook):
    """Says what is going to be tested."""

    __test__ = False  # for pytest
    priority = 'VERY_LOW'

    def before_test(self, runner: Runner) -> None:
        """Say it.

        Args:
            runner: The runner, its checkpoint loaded.
        """
        loader, evaluator = runner.test_dataloader, runner.test_evaluator
        texts = cut_texts(loader.dataset)
        if ' are cut ' in texts:  # a report says it with its numbers
            meta = evaluator.dataset_meta or {}
            evaluator.dataset_meta = {**meta, 'cut_texts': texts}
        lines = {
            'model': _model(runner),
            'checkpoint': _start(runner),
            'clips': _data(loader),
            'batch': f'{getattr(loader, "batch_size", None)} clips on {_processes()}',
            'texts': texts,
            'details': f'{log_file(runner)} (config, hooks)',
        }
        runner.logger.info(_block(f'testing {_name(runner)}', lines))


# --------------------------------------------------------------------------------------
# The end
# --------------------------------------------------------------------------------------
def say_trained(runner: Runner) -> None:
    """Say where a training has left what, and how to go on.

    Args:
        runner: That has trained.
    """
    work_dir = Path(runner.work_dir)
    noted = noted_checkpoint(work_dir)
    last = Path(noted) if noted else None
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    best = next((p for hook in hooks for p in _best(hook)), None)
    config = work_dir / Path(runner.cfg.filename or 'config.py').name
    lines = {
        'last checkpoint': _short(last) if last else '',
        # joined: an f-string would write the metric as its file is named
        'best checkpoint': _short(best[1]) + ' (by ' + best[0] + ')' if best else '',
        'curves': _short(work_dir / 'vis_data' / 'scalars.json'),
        'log': log_file(runner),
    }
    chosen = best[1] if best else last
    if chosen and runner.cfg.get('test_evaluator'):
        lines['go on with'] = _command('test', config, chosen, work_dir)
    runner.logger.info(_block(f'trained {runner.iter:,} steps', lines))


def _best(hook: CheckpointHook) -> list[tuple[str, str]]:
    if not hook.save_best:
        return []
    if len(hook.key_indicators) == 1:
        found = {hook.key_indicators[0]: getattr(hook, 'best_ckpt_path', None)}
    else:
        found = getattr(hook, 'best_ckpt_path_dict', {})
    return [(name, path) for name, path in found.items() if path]


def _command(verb: str, config: Path, checkpoint: Any, work_dir: Path) -> str:
    words = [_short(config), _short(checkpoint)]
    words += ['--work-dir', _short(work_dir / 'test')]
    return f'coavt {verb} {shlex.join(words)}'


def say_tested(runner: Runner, found: dict[str, float], since: float) -> None:
    """Say where a test has left what, and the numbers that are in no table.

    Args:
        runner: That has tested.
        found: Name of a metric -> value.
        since: When the test began, in s since 1970.
    """
    files = [f for metric in runner.test_evaluator.metrics for f in _written(metric)]
    files = sorted({f for f in files if f.is_file() and f.stat().st_mtime >= since - 2})
    tables = [f for f in files if f.suffix != '.png']
    plots = [f for f in files if f.suffix == '.png']
    numbers = Path(runner.log_dir) / f'{runner.timestamp}.json'
    lines = {
        'numbers': _without_table(runner, found),
        'results': _names(tables),
        'plots': _names(plots),
        'all numbers': _short(numbers) if numbers.is_file() else '',
        'log': log_file(runner),
    }
    able = [m for m in runner.test_evaluator.metrics if hasattr(m, 'out_dir')]
    if able and not tables:
        several = isinstance(runner.cfg.test_evaluator, list)
        key = f'test_evaluator{f".{type(able[0]).__name__}" * several}.out_dir'
        lines['to keep tables'] = f'--cfg-options {key}=DIR'
    runner.logger.info(_block('tested', lines))


def _without_table(runner: Runner, found: dict[str, float]) -> str:
    drawn = [
        metric
        for metric in runner.test_evaluator.metrics
        if getattr(metric, 'last_results', None) and metric.table(metric.last_results)
    ]
    prefixes = tuple(f'{metric.prefix}/' for metric in drawn)
    left = {
        n: v for n, v in found.items() if not prefixes or not n.startswith(prefixes)
    }
    more = ', ...' if len(left) > _NUMBERS else ''
    return ', '.join(f'{n} {v:.4g}' for n, v in [*left.items()][:_NUMBERS]) + more


def _written(metric: Any) -> list[Path]:
    folder, found = getattr(metric, 'out_dir', None), []
    if folder:
        found += [*Path(folder).glob('*')]
    for name in ('out_file', 'out_file_path'):
        if getattr(metric, name, None):
            found.append(Path(getattr(metric, name)))
    return found


def _names(files: list[Path]) -> str:
    """Files of one folder behind its name, once."""
    folders: dict[str, list[str]] = {}
    for file in files:
        folders.setdefault(_short(file.parent), []).append(file.name)
    return '; '.join(f'{folder}/: {", ".join(n)}' for folder, n in folders.items())
