"""Command lines of the tools that look at configs, data, schedules and logs."""

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

from coavt_mm.cli.commands import Command
from coavt_mm.cli.launch import add_config_argument
from coavt_mm.errors import ConfigError


def _print_config(args: Namespace) -> None:
    from coavt_mm.config import load_config

    print(load_config(args.config, args.cfg_options).pretty_text)


def _add_browse(parser: ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument(
        '-o',
        '--output-dir',
        type=Path,
        default=Path('work_dirs/browse'),
        help='folder for the pages',
    )
    parser.add_argument(
        '-p',
        '--phase',
        choices=('train', 'val', 'test'),
        default='train',
        help='whose data and transforms',
    )
    parser.add_argument('-n', '--show-number', type=int, default=8, help='clips')


def _browse(args: Namespace) -> None:
    from coavt_mm.analysis.browsing import browse
    from coavt_mm.config import load_config
    from coavt_mm.visualization import save_figure

    if args.show_number < 1:
        raise ConfigError(f'--show-number {args.show_number}: 1 or more clips')
    cfg = load_config(args.config, args.cfg_options)
    for i, (name, page) in enumerate(browse(cfg, args.phase, args.show_number)):
        stem = re.sub(r'[^\w.-]+', '_', name)[-60:]
        print(save_figure(page, args.output_dir / f'{args.phase}_{i:03d}_{stem}.png'))


def _add_scheduler(parser: ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument(
        '-p',
        '--parameter',
        choices=['lr', 'wd', 'momentum'],
        default='lr',
        help='of the optimiser',
    )
    parser.add_argument(
        '-d', '--dataset-size', type=int, help='clips; default: the data set is opened'
    )
    parser.add_argument('-n', '--ngpus', type=int, default=1, help='processes of a run')
    parser.add_argument('-s', '--save-path', type=Path, help='default: CONFIG.png')


def _scheduler(args: Namespace) -> None:
    from coavt_mm.analysis.schedules import planned_panels
    from coavt_mm.config import load_config
    from coavt_mm.visualization import save_figure
    from coavt_mm.visualization.curves import curves_figure

    for option in ('dataset_size', 'ngpus'):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise ConfigError(f'--{option.replace("_", "-")}: must be 1 or more')
    cfg = load_config(args.config, args.cfg_options)
    panels = planned_panels(cfg, args.parameter, args.dataset_size, args.ngpus)
    stem = Path(args.config).stem
    path = args.save_path or Path(f'{stem}.png')
    print(save_figure(curves_figure(panels, title=stem), path))


def _add_logs(parser: ArgumentParser) -> None:
    tasks = parser.add_subparsers(dest='task', required=True)
    plot = tasks.add_parser('plot_curve', help='losses, recalls, any logged value')
    time = tasks.add_parser('cal_train_time', help='time of a training step')
    for task in (plot, time):
        task.add_argument('runs', nargs='+', help='work dirs, or scalars.json files')
    plot.add_argument(
        '--keys', nargs='+', help="names or patterns; default: loss 'loss_*' '*/R@1'"
    )
    plot.add_argument('--legend', nargs='+', help='a name for each run')
    plot.add_argument('--title', default='', help='of the figure')
    plot.add_argument('--out', type=Path, default=Path('curves.png'), help='the figure')
    time.add_argument(
        '--include-outliers', action='store_true', help='with the first value of a run'
    )


def _logs(args: Namespace) -> None:
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


def _add_publish(parser: ArgumentParser) -> None:
    parser.add_argument('in_file', help='checkpoint of a run')
    parser.add_argument('out_file', help='NAME.pth or NAME.safetensors')


def _publish(args: Namespace) -> None:
    from coavt_mm.checkpoints.own import publish

    print(publish(args.in_file, args.out_file))


print_config = Command(
    'Print a config as a run takes it, all its bases and options merged.',
    add_config_argument,
    _print_config,
    ('print_config.py coavt_mm::coavt/pretrain_demo.py',),
)
browse_dataset = Command(
    'Draw clips as the model sees them, after all transforms, a page each.',
    _add_browse,
    _browse,
    ('browse_dataset.py coavt_mm::coavt/pretrain_demo.py -n 4',),
)
vis_scheduler = Command(
    'Draw the learning rate and all else that a config changes by plan.',
    _add_scheduler,
    _scheduler,
    ('vis_scheduler.py coavt_mm::coavt/pretrain_demo.py -s schedule.png',),
)
analyze_logs = Command(
    'Draw curves of several runs, or say how long their steps took.',
    _add_logs,
    _logs,
    ('analyze_logs.py plot_curve work_dirs/a work_dirs/b --keys loss',),
)
publish_model = Command(
    "Write weights alone, under a name that ends with their file's hash.",
    _add_publish,
    _publish,
    ('publish_model.py work_dirs/demo/checkpoint.pth coavt_demo.pth',),
)
