"""Command lines of the tools that look at configs, data, schedules and logs."""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction

from coavt_mm.config import load_config
from coavt_mm.errors import ConfigError


def _parser(description: str) -> ArgumentParser:
    parser = ArgumentParser(description=description)
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE'
    )
    return parser


def print_config(argv: Sequence[str] | None = None) -> None:
    """Print a config as a run takes it, all its bases and options merged.

    Args:
        argv: Arguments; default those of the process.
    """
    args = _parser('Print a whole config.').parse_args(argv)
    print(load_config(args.config, args.cfg_options).pretty_text)


def browse_dataset(argv: Sequence[str] | None = None) -> None:
    """Write pages of what the model sees of the first clips.

    Args:
        argv: Arguments; default those of the process.

    Raises:
        ConfigError: If no clip is asked for, or the config has no such loader.
    """
    from coavt_mm.analysis.browsing import PHASES, browse
    from coavt_mm.visualization import save_figure

    parser = _parser('Draw clips as the model sees them, after all transforms.')
    parser.add_argument(
        '-o', '--output-dir', type=Path, default=Path('work_dirs/browse')
    )
    parser.add_argument('-p', '--phase', choices=PHASES, default='train')
    parser.add_argument('-n', '--show-number', type=int, default=8, help='clips')
    args = parser.parse_args(argv)
    if args.show_number < 1:
        raise ConfigError(f'--show-number {args.show_number}: 1 or more clips')
    cfg = load_config(args.config, args.cfg_options)
    for i, (name, page) in enumerate(browse(cfg, args.phase, args.show_number)):
        stem = re.sub(r'[^\w.-]+', '_', name)[-60:]
        print(save_figure(page, args.output_dir / f'{args.phase}_{i:03d}_{stem}.png'))


def vis_scheduler(argv: Sequence[str] | None = None) -> None:
    """Draw what a config changes during a run by plan.

    Args:
        argv: Arguments; default those of the process.

    Raises:
        ConfigError: If the config trains nothing.
    """
    from coavt_mm.analysis.schedules import planned_panels
    from coavt_mm.visualization import save_figure
    from coavt_mm.visualization.curves import curves_figure

    parser = _parser('Draw the learning rate and all else that changes by plan.')
    parser.add_argument(
        '-p', '--parameter', choices=['lr', 'wd', 'momentum'], default='lr'
    )
    parser.add_argument(
        '-d', '--dataset-size', type=int, help='clips; default: the data set is opened'
    )
    parser.add_argument('-n', '--ngpus', type=int, default=1, help='processes of a run')
    parser.add_argument('-s', '--save-path', type=Path, help='default: CONFIG.png')
    args = parser.parse_args(argv)
    for option in ('dataset_size', 'ngpus'):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise ConfigError(f'--{option.replace("_", "-")}: must be 1 or more')
    cfg = load_config(args.config, args.cfg_options)
    panels = planned_panels(cfg, args.parameter, args.dataset_size, args.ngpus)
    stem = Path(args.config).stem
    path = args.save_path or Path(f'{stem}.png')
    print(save_figure(curves_figure(panels, title=stem), path))


def analyze_logs(argv: Sequence[str] | None = None) -> None:
    """Draw curves of several runs, or say how long their steps took.

    Args:
        argv: Arguments; default those of the process.

    Raises:
        CoAVTError: If there is no such log or key.
    """
    args = _parse_logs(argv)
    from coavt_mm.analysis.logs import (
        USUAL_KEYS,
        panels,
        read_run,
        run_names,
        step_times,
    )
    from coavt_mm.visualization import save_figure
    from coavt_mm.visualization.curves import curves_figure

    names = args.legend if args.task == 'plot_curve' and args.legend else None
    if names and len({*names}) != len(args.runs):
        raise ConfigError(f'--legend: {len(args.runs)} different names, one a run')
    names = names or run_names(args.runs)
    runs = dict(zip(names, map(read_run, args.runs), strict=True))
    if args.task == 'plot_curve':
        drawn = panels(runs, args.keys or USUAL_KEYS)
        print(save_figure(curves_figure(drawn, title=args.title), args.out))
        return
    print('| run | s/iter | std | fastest | slowest | waiting for data |')
    print('|---|---|---|---|---|---|')
    for name, series in runs.items():
        times = step_times(series, args.include_outliers)
        columns = (f'{times[k]:.4f}' for k in ('mean', 'std', 'fastest', 'slowest'))
        print(f'| {name} | {" | ".join(columns)} | {times["data_share"]:.1%} |')


def _parse_logs(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description='Curves and step times of several runs.')
    tasks = parser.add_subparsers(dest='task', required=True)
    plot = tasks.add_parser('plot_curve', help='losses, recalls, any logged value')
    time = tasks.add_parser('cal_train_time', help='time of a training step')
    for task in (plot, time):
        task.add_argument('runs', nargs='+', help='work dirs, or scalars.json files')
    plot.add_argument(
        '--keys', nargs='+', help="names or patterns; default: loss 'loss_*' '*/R@1'"
    )
    plot.add_argument('--legend', nargs='+', help='a name for each run')
    plot.add_argument('--title', default='')
    plot.add_argument('--out', type=Path, default=Path('curves.png'))
    time.add_argument(
        '--include-outliers', action='store_true', help='with the first value of a run'
    )
    return parser.parse_args(argv)


def publish_model(argv: Sequence[str] | None = None) -> None:
    """Write weights alone, under a name that ends with their file's hash.

    Args:
        argv: Arguments; default those of the process.

    Raises:
        CheckpointError: If the weights are not of the config that the file carries.
    """
    from coavt_mm.checkpoints.own import publish

    parser = ArgumentParser(description='Weights alone, with a hash in the name.')
    parser.add_argument('in_file', help='checkpoint of a run')
    parser.add_argument('out_file', help='NAME.pth or NAME.safetensors')
    args = parser.parse_args(argv)
    print(publish(args.in_file, args.out_file))
