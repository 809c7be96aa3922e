"""What ``tools/train.py``, ``tools/test.py`` and the demo share."""

import errno
import gc
import os
import os.path as osp
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import torch.distributed as dist
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .. import compat
from ..errors import CheckpointError, CoAVTError, ConfigError, shown
from .hooks import StoreConfigHook, StrictCheckpointHook
from .negatives import NegativesHook
from .options import check_cfg_options
from .saving import ResumeHook

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')

# what torch refuses in a DataLoader that has no worker processes
_OF_WORKERS = (
    'persistent_workers',
    'prefetch_factor',
    'timeout',
    'multiprocessing_context',
)


# --------------------------------------------------------------------------------------
# Command lines
# --------------------------------------------------------------------------------------
def add_common_arguments(parser: ArgumentParser) -> None:
    """Add what every tool takes that builds a Runner.

    Args:
        parser (ArgumentParser): The tool's parser.
    """
    parser.add_argument('--work-dir', help='folder for logs, checkpoints and results')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='settings that replace those of the config, e.g. train_cfg.max_iters=100 '
        'or test_evaluator.0.topk=[1,5]',
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none')
    # torch.distributed.launch adds it, torchrun sets the environment variable
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def parse_train_args(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line of ``tools/train.py``.

    Args:
        argv (sequence of str, optional): Arguments; default those of the process.

    Returns:
        Namespace: The arguments.
    """
    parser = ArgumentParser(description='Train a model of a config.')
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a path from the last one in the work '
        'dir, or from the start when there is none',
    )
    parser.add_argument('--seed', type=int, help='replaces randomness.seed')
    add_common_arguments(parser)
    return parser.parse_args(argv)


def parse_test_args(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line of ``tools/test.py``.

    Args:
        argv (sequence of str, optional): Arguments; default those of the process.

    Returns:
        Namespace: The arguments.
    """
    parser = ArgumentParser(description='Evaluate a checkpoint.')
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path or address of the checkpoint')
    add_common_arguments(parser)
    return parser.parse_args(argv)


# --------------------------------------------------------------------------------------
# Configs
# --------------------------------------------------------------------------------------
def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config and merge checked options into it.

    Args:
        path (str): Path of the config.
        options (dict, optional): Dotted key -> value, see :func:`check_cfg_options`.

    Returns:
        Config: The config.

    Raises:
        ConfigError: If the file is missing or broken, or an option is not valid.
    """
    if not osp.isfile(path):
        raise ConfigError(f'{path}: there is no such config{_similar_configs(path)}.')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code and may raise anything
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise ConfigError(f'{path}: cannot be read ({reason}).') from error
    if options:
        check_cfg_options(cfg, options)
        cfg.merge_from_dict(options)
    return cfg


def _similar_configs(path: str) -> str:
    """Name the nearest config below ``configs/``, here or beside the package."""
    folders = {Path('configs'), Path(__file__).parents[2] / 'configs'}
    files = {f.stem: str(f) for folder in folders for f in folder.rglob('*.py')}
    close = get_close_matches(Path(path).stem, sorted(files), n=1, cutoff=0.5)
    return f'; the nearest is {files[close[0]]}' if close else ''


def set_work_dir(cfg: Config, work_dir: str | None = None) -> None:
    """Choose the work dir: the option, else the config's, else by the config's name.

    Args:
        cfg (Config): The config; ``work_dir`` is set.
        work_dir (str, optional): The command line's.
    """
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        name = Path(cfg.filename).stem if cfg.filename else 'run'
        cfg.work_dir = osp.join('work_dirs', name)


def set_resume(cfg: Config, resume: str | None) -> None:
    """Say which checkpoint the Runner goes on from.

    With 'auto' and no checkpoint in the work dir the run starts anew and the config's
    ``load_from`` stays in force, so that a job may be started with ``--resume`` always.

    Args:
        cfg (Config): The config, with ``work_dir``; ``resume`` and ``load_from`` are
            set.
        resume (str, optional): None (change nothing), 'auto' or a path.

    Raises:
        CheckpointError: If the work dir's note names a file that is not there.
    """
    if resume is None:
        return
    if resume == 'auto':
        resume = last_checkpoint(cfg.work_dir)
    if resume is not None:
        cfg.resume, cfg.load_from = True, resume


def last_checkpoint(work_dir: str | Path) -> str | None:
    """The local file that mmengine's note names, also after the folder has moved.

    Args:
        work_dir (str | Path): Of a run.

    Returns:
        str | None: Its path; None if the run left no note.

    Raises:
        CheckpointError: If the note names a file that is not there, or an address.
    """
    work_dir = Path(work_dir)
    note = work_dir / 'last_checkpoint'
    if not note.is_file():
        print(f'{work_dir}: no last_checkpoint to go on from, a new run begins')
        return None
    try:
        named = note.read_text('utf-8').strip()
    except UnicodeDecodeError:
        named = ''
    for path in (Path(named), work_dir / Path(named).name):
        if named and '://' not in named and path.exists():
            return str(path.absolute())
    raise CheckpointError(
        f'{note}: names {named!r}, which is no file here; say which one to go on from: '
        '--resume CHECKPOINT'
    )


# --------------------------------------------------------------------------------------
# Runs
# --------------------------------------------------------------------------------------
def build_runner(cfg: Config) -> Runner:
    """Build the Runner of a config, with the cures that the versions here need.

    Args:
        cfg (Config): A complete config, with ``work_dir`` and ``launcher``.

    Returns:
        Runner: The runner.

    Raises:
        ConfigError: If ``load_from`` is an address of a kind that is not read safely,
            or nothing can be written to the work dir.
    """
    compat.check_mmcv()
    compat.register_checkpoint_loader()
    _check_source(cfg.get('load_from'))
    _check_writable(cfg.work_dir)
    saving = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if saving.get('type') in ('CheckpointHook', 'mmengine.CheckpointHook'):
        saving['type'] = 'coavt_mm.CheckpointHook'  # in configs of other scopes too
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if isinstance(loader, dict) and not loader.get('num_workers'):
            for key in _OF_WORKERS:
                loader.pop(key, None)
    compat.init_cpu_process_group(cfg)
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def _check_source(load_from: str | None) -> None:
    """mmengine's own readers of other addresses would trust the file."""
    load_from = load_from or ''
    if '://' in load_from and not load_from.startswith(('http://', 'https://')):
        raise ConfigError(
            f'{load_from}: checkpoints are read from disk, http:// and https://; copy '
            'it here first'
        )


def _check_writable(work_dir: str) -> None:
    try:
        os.makedirs(work_dir, exist_ok=True)
        if not os.access(work_dir, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(
            f'{osp.abspath(work_dir)}: nothing can be written there '
            f'({error.strerror}); name another folder with --work-dir'
        ) from error


def _prepare(args: Namespace) -> Config:
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.work_dir)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return cfg


def train(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says.

    Args:
        argv (sequence of str, optional): Arguments; default those of the process.
    """
    args = parse_train_args(argv)
    cfg = _prepare(args)
    set_resume(cfg, args.resume)
    if args.seed is not None:
        cfg.randomness = ConfigDict(cfg.get('randomness', {}), seed=args.seed)
    runner = build_runner(cfg)
    for hook in (StoreConfigHook(), NegativesHook(), ResumeHook()):
        runner.register_hook(hook)
    runner.train()


def test(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Evaluate a checkpoint as the command line says.

    Args:
        argv (sequence of str, optional): Arguments; default those of the process.

    Returns:
        dict: Name of a metric -> value.
    """
    args = parse_test_args(argv)
    cfg = _prepare(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    runner = build_runner(cfg)
    runner.register_hook(StrictCheckpointHook())
    return runner.test()


def run_tool(main: Callable[[], Any]) -> None:
    """Run a tool's main function; an error that the user can mend is one line.

    A process group that the run opened is closed. Left to the interpreter's exit,
    gloo's threads now and then abort a process that has done all its work. After an
    error it stays: closing it would wait for ranks that are still in a collective.

    Args:
        main (callable): The function.

    Raises:
        SystemExit: With status 1, when a :class:`CoAVTError` was raised, or a file or
            folder could not be opened or made.
    """
    try:
        main()
    except CoAVTError as error:
        _end(one_line(error))
    except OSError as error:  # no right to write there, a file where a folder goes
        if error.filename is None or error.strerror is None:
            raise
        _end(shown(f'{os.fsdecode(error.filename)}: {error.strerror}'))
    if dist.is_available() and dist.is_initialized():
        gc.collect()  # the model's wrapper, in the Runner's cycles, holds the group
        dist.destroy_process_group()


def _end(reason: str) -> NoReturn:
    rank = os.environ.get('RANK', '0')
    prefix = '' if rank == '0' else f'[rank {rank}] '
    print(f'{prefix}Error: {reason}', file=sys.stderr)
    sys.exit(1)


def one_line(error: CoAVTError) -> str:
    """The message of an error, without what others wrapped around it.

    A DataLoader raises a worker's error again with the worker's traceback as its
    message; mmengine < 0.10.7 puts "class `X` in file: " before it when a class of a
    registry fails to build.

    Args:
        error (CoAVTError): The error.

    Returns:
        str: One line.
    """
    text = str(error)
    if ' DataLoader worker ' in text:
        text = re.split(r'^(?:\w+\.)*\w+Error: ', text, flags=re.MULTILINE)[-1]
    text = re.sub(r'^(class `\w+` in \S+: )+', '', text)
    return shown(' '.join(text.split()))
