"""What ``tools/train.py``, ``tools/test.py`` and the demo share."""

import gc
import os
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch.distributed as dist
from mmengine.config import Config, ConfigDict, DictAction

from coavt_mm.cli import options
from coavt_mm.config import load_config
from coavt_mm.engine.hooks import NegativesHook, StoreConfigHook
from coavt_mm.engine.running import build_runner, set_resume, set_work_dir
from coavt_mm.engine.saving import ResumeHook
from coavt_mm.engine.weights import StrictCheckpointHook
from coavt_mm.errors import CoAVTError, shown

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def add_common_arguments(parser: ArgumentParser) -> None:
    """Add what every tool takes that builds a Runner.

    Args:
        parser: The tool's parser.
    """
    parser.add_argument('--work-dir', help='folder for logs, checkpoints and results')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='settings that replace those of the config, e.g. train_cfg.max_iters=100 '
        'or test_dataloader.dataset.pipeline.LoadFrames.pick=all',
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none')
    # torch.distributed.launch adds it, torchrun sets the environment variable
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def parse_train_args(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line of ``tools/train.py``.

    Args:
        argv: Arguments; default those of the process.

    Returns:
        The arguments.
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
    parser.add_argument(
        '--deterministic', action='store_true', help='deterministic kernels only'
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision, bf16 without a loss scaler'
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate while training'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='multiply the learning rate by clips of a batch in all processes / '
        'auto_scale_lr.base_batch_size',
    )
    add_common_arguments(parser)
    return parser.parse_args(argv)


def parse_test_args(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line of ``tools/test.py``.

    Args:
        argv: Arguments; default those of the process.

    Returns:
        The arguments.
    """
    parser = ArgumentParser(description='Evaluate a checkpoint.')
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path or address of the checkpoint')
    parser.add_argument(
        '--dump', metavar='FILE.pkl', help="pickle file for each clip's predictions"
    )
    add_common_arguments(parser)
    return parser.parse_args(argv)


def _prepare(args: Namespace) -> Config:
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.work_dir)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return cfg


def train(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says.

    Args:
        argv: Arguments; default those of the process.
    """
    args = parse_train_args(argv)
    cfg = _prepare(args)
    set_resume(cfg, args.resume)
    if args.seed is not None:
        cfg.randomness = ConfigDict(cfg.get('randomness', {}), seed=args.seed)
    for is_asked, change in (
        (args.deterministic, options.make_deterministic),
        (args.amp, options.use_amp),
        (args.no_validate, options.skip_validation),
        (args.auto_scale_lr, options.scale_lr),
    ):
        if is_asked:
            change(cfg)
    runner = build_runner(cfg)
    for hook in (StoreConfigHook(), NegativesHook(), ResumeHook()):
        runner.register_hook(hook)
    runner.train()


def test(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Evaluate a checkpoint as the command line says.

    Args:
        argv: Arguments; default those of the process.

    Returns:
        Name of a metric -> value.
    """
    args = parse_test_args(argv)
    cfg = _prepare(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.dump:
        options.dump_results(cfg, args.dump)
    runner = build_runner(cfg)
    runner.register_hook(StrictCheckpointHook())
    return runner.test()


def run_tool(main: Callable[[], Any]) -> None:
    """Run a tool's main function; an error that the user can mend is one line.

    A process group that the run opened is closed. Left to the interpreter's exit,
    gloo's threads now and then abort a process that has done all its work. After an
    error it stays: closing it would wait for ranks that are still in a collective.

    Args:
        main: The function.

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
    message; mmengine < 0.10.7 puts "class ``X`` in file: " before it when a class of a
    registry fails to build.

    Args:
        error: The error.

    Returns:
        One line.
    """
    text = str(error)
    if ' DataLoader worker ' in text:
        text = re.split(r'^(?:\w+\.)*\w+Error: ', text, flags=re.MULTILINE)[-1]
    text = re.sub(r'^(class `\w+` in \S+: )+', '', text)
    return shown(' '.join(text.split()))
