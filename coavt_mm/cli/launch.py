"""The commands ``train`` and ``test``, and how every command ends."""

import gc
import os
import re
import sys
import warnings
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, MutableMapping, Sequence
from errno import EDQUOT, ENOSPC
from typing import Any, NoReturn

from coavt_mm.cli.commands import CHECKPOINT_HELP, Command, SettingsAction
from coavt_mm.cli.launchers import ending_with_launcher
from coavt_mm.errors import CoAVTError, ConfigError, shown

# Modules without which nothing runs -> what brings them.
NEEDED = dict.fromkeys(
    ('av', 'mmengine', 'numpy', 'torch', 'torchaudio', 'torchvision', 'transformers'),
    'it comes with `pip install coavt-mm`, and `coavt info` says what else is missing',
)
NEEDED['mmcv'] = (
    'compiled ops are not needed: `pip install "mmcv-lite>=2.1,<2.2"`, or the full '
    'mmcv, but never both'
)
NEEDED['mteb'] = 'the extra mteb brings it, on Python 3.11 and later'
NEEDED['sentence_transformers'] = 'the extra of this name brings it'
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
CONFIG_HELP = 'path of the config, or the name of one that is shipped (coavt_mm::...)'


def add_config_argument(parser: ArgumentParser) -> None:
    """Add the config, and the settings that replace its own.

    Args:
        parser: The command's parser.
    """
    parser.add_argument('config', help=CONFIG_HELP)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=SettingsAction,
        default={},
        metavar='KEY=VALUE',
        help='settings that replace those of the config, e.g. train_cfg.max_iters=100 '
        'or test_dataloader.dataset.pipeline.LoadFrames.pick=all',
    )


def _add_common_arguments(parser: ArgumentParser) -> None:
    parser.add_argument('--work-dir', help='folder for logs, checkpoints and results')
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='who started the processes of a run on several GPUs',
    )
    # torch.distributed.launch adds it, torchrun sets the environment variable
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=SUPPRESS
    )


def _add_train_arguments(parser: ArgumentParser) -> None:
    add_config_argument(parser)
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
    _add_common_arguments(parser)


def _add_test_arguments(parser: ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument('checkpoint', help=CHECKPOINT_HELP)
    parser.add_argument(
        '--dump', metavar='FILE.pkl', help="pickle file for each clip's predictions"
    )
    _add_common_arguments(parser)


def _prepare(args: Namespace, loaders: Sequence[str], checkpoint: str | None) -> Any:
    """The config, with nothing missing that it takes no model to see."""
    from coavt_mm.cli.checks import check_inputs
    from coavt_mm.config import (
        check_writable,
        idle_settings,
        load_config,
        set_work_dir,
    )

    _set_environment(args, os.environ)
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise ConfigError(
            '--launcher pytorch: torchrun starts such a run, as in `torchrun '
            '--nproc_per_node 2 -m coavt_mm ... --launcher pytorch`'
        )
    # mmengine sets one thread for each process, as it should
    warnings.filterwarnings('ignore', message=r'Setting (MKL|OMP)_NUM_THREADS')
    if rank() != '0':  # the first process says it
        warnings.simplefilter('ignore')
        sys.stdout = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115
    cfg = load_config(args.config, args.cfg_options)
    for line in idle_settings(args.config, cfg):
        print(f'Warning: {line}')
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.work_dir)
    check_inputs(cfg, loaders, checkpoint)
    check_writable(cfg.work_dir)
    return cfg


def _set_environment(args: Namespace, environ: MutableMapping[str, str]) -> None:
    """Say what mmengine's launchers leave out.

    Its mpi launcher picks the GPU, but does not set LOCAL_RANK, by which DDP picks it.
    Two jobs of Slurm on one node would meet at the same port, and where a cluster binds
    one GPU to each task its slurm launcher asks for a GPU that the task can't see.
    """
    local_rank = str(args.local_rank)
    if args.launcher == 'mpi':
        local_rank = environ.get('OMPI_COMM_WORLD_LOCAL_RANK', local_rank)
    environ.setdefault('LOCAL_RANK', local_rank)
    if args.launcher == 'slurm' and environ.get('SLURM_JOB_ID', '').isdigit():
        port = 20000 + int(environ['SLURM_JOB_ID']) % 20000
        environ.setdefault('MASTER_PORT', str(port))
    alone = environ.get('CUDA_VISIBLE_DEVICES', '').isdigit()
    if args.launcher == 'slurm' and alone and 'SLURM_LOCALID' in environ:
        # a task sees one GPU, its own; none has number 3
        environ['SLURM_LOCALID'] = '0'


def _train(args: Namespace) -> None:
    loaders = ['train_dataloader'] + ['val_dataloader'] * (not args.no_validate)
    resumed = None if args.resume == 'auto' else args.resume
    with ending_with_launcher():
        cfg = _prepare(args, loaders, resumed)

        from coavt_mm.cli.running import no_litter, run_training
        from coavt_mm.engine.running import set_resume

        with no_litter(cfg.work_dir):
            set_resume(cfg, args.resume)
            _change(cfg, args)
            try:
                run_training(cfg, loaders)
            except KeyboardInterrupt:
                raise CoAVTError(
                    'interrupted; the same command with --resume goes on from the last '
                    f'checkpoint in {cfg.work_dir}'
                ) from None


def _change(cfg: Any, args: Namespace) -> None:
    from mmengine.config import ConfigDict

    from coavt_mm.cli import options

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


def _test(args: Namespace) -> dict[str, float]:
    """Return name of a metric -> value."""
    cfg = _prepare(args, ['test_dataloader'], args.checkpoint)

    from coavt_mm.cli import options
    from coavt_mm.cli.running import no_litter, run_test

    options.set_tested(cfg, args.checkpoint)
    if args.work_dir:
        options.write_results_to(cfg, args.work_dir, args.cfg_options or ())
    with no_litter(cfg.work_dir):
        if args.dump:
            options.dump_results(cfg, args.dump)
        return run_test(cfg)


train = Command(
    'Train the model of a config.\n\n'
    'Logs, checkpoints and the config as it ran go to the work dir, by default\n'
    'work_dirs/NAME_OF_THE_CONFIG. A config that is shipped is called by name:\n'
    'coavt_mm::coavt/NAME.py. With several GPUs: torchrun, see the last example.',
    _add_train_arguments,
    _train,
    examples=(
        'coavt train coavt_mm::coavt/pretrain_demo.py',
        'coavt train my_config.py --resume --cfg-options train_cfg.max_iters=5000',
        'torchrun --nproc_per_node 8 -m coavt_mm train my_config.py --launcher pytorch',
    ),
)
test = Command(
    'Evaluate a checkpoint by the metrics of a config.',
    _add_test_arguments,
    _test,
    examples=(
        'coavt test coavt_mm::coavt/retrieval_demo.py work_dirs/demo/checkpoint.pth',
    ),
)


def run_tool(main: Callable[[], Any]) -> None:
    """Run a tool's main function; an error that the user can mend is one line.

    A process group that the run opened is closed. Left to the interpreter's exit,
    gloo's threads now and then abort a process that has done all its work. After an
    error it stays: closing it would wait for ranks that are still in a collective.

    Args:
        main: The function.

    Raises:
        SystemExit: With status 1, when a :class:`CoAVTError` was raised, a package that
            is needed is missing, a file or folder could not be opened or made, or the
            user interrupts.
    """
    wait_briefly(os.environ)
    try:
        main()
    except SystemExit:  # of a training that was told to stop
        _close_process_group()
        raise
    except CoAVTError as error:
        _end(one_line(error))
    except KeyboardInterrupt:
        _end('interrupted')
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        _end(f'{error.name} is not installed; {NEEDED[error.name]}')
    except OSError as error:  # no right to write there, a file where a folder goes
        if error.errno in (ENOSPC, EDQUOT):
            place = shown(os.fsdecode(error.filename or 'writing a file'))
            _end(f'{place}: {error.strerror}; make room, and go on with --resume')
        if error.filename is None or error.strerror is None:
            raise
        _end(shown(f'{os.fsdecode(error.filename)}: {error.strerror}'))
    _close_process_group()


def wait_briefly(environ: MutableMapping[str, str]) -> None:
    """Let threads that wait for others spin for microseconds, then sleep.

    By GNU OpenMP's default they spin for milliseconds, on cores that a data worker or
    another job needs; put to sleep at once, they are woken for every small operation.
    OpenMP reads the variable when torch is loaded. What the user says is kept.

    Args:
        environ: Environment variables; changed.
    """
    if 'OMP_WAIT_POLICY' not in environ:
        environ.setdefault('GOMP_SPINCOUNT', '1000')


def _close_process_group() -> None:
    dist = sys.modules.get('torch.distributed')  # none was opened without it
    if dist is not None and dist.is_available() and dist.is_initialized():
        from mmengine.utils import digit_version

        version = digit_version(sys.modules['torch'].__version__)
        if dist.get_backend() == 'gloo' and version < digit_version('2.7'):
            return  # in some 10 % of all cases it would never return
        gc.collect()  # the model's wrapper, in the Runner's cycles, holds the group
        dist.destroy_process_group()


def rank() -> str:
    """The number of this process among those that a launcher started."""
    names = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return next((os.environ[name] for name in names if name in os.environ), '0')


def _end(reason: str) -> NoReturn:
    prefix = '' if rank() == '0' else f'[rank {rank()}] '
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
