"""Run the demo ablations over seeds: ``python tools/analysis/ablate.py``.

Every run is trained and tested in a process of its own, one after the other. A run
whose result lies in the work dir is not repeated, one that was interrupted goes on;
table and plot are written anew after each. ``--cfg-options`` reach all runs.
"""

import ast
import json
import statistics
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from coavt_mm.cli.launch import run_tool
from coavt_mm.engine.running import last_checkpoint
from coavt_mm.errors import CoAVTError, ConfigError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'coavt' / 'ablations'
COLUMNS = {
    'text to clip, AV': ('text_to_clip', 'AV'),
    'text to A': ('text_to_clip', 'A'),
    'text to V': ('text_to_clip', 'V'),
    'clip to text, AV': ('clip_to_text', 'AV'),
}
MATCHING = 'matching accuracy'


def parse_args() -> Namespace:
    parser = ArgumentParser(description='Run the demo ablations over seeds')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--only', nargs='+', help="names, such as 'full' or 'no_at'")
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablations'))
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'ablations.md')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE')
    parser.add_argument(
        '--table-only', action='store_true', help='write table and plot, run nothing'
    )
    return parser.parse_args()


def ablations() -> dict[str, Path]:
    """Name -> config; 'full', which the others inherit from, comes first."""
    found = sorted(CONFIGS.glob('demo_*.py'))
    named = {path.stem.removeprefix('demo_'): path for path in found}
    return {'full': named.pop('full'), **named}


def chosen(only: list[str] | None) -> dict[str, Path]:
    every = ablations()
    unknown = set(only or []) - set(every)
    if unknown:
        raise ConfigError(
            f'no ablation {", ".join(sorted(unknown))}; there are {", ".join(every)}'
        )
    return {name: path for name, path in every.items() if not only or name in only}


def call(tool: str, *args: str | Path, options: list[str]) -> None:
    """Run a tool; its output is the user's to see."""
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, args)]
    if options:
        command += ['--cfg-options', *options]
    if subprocess.run(command).returncode:
        raise CoAVTError(f'{" ".join(command)} failed; the ablations stop here')


def run(config: Path, folder: Path, seed: int, options: list[str]) -> None:
    """Train and test once, unless that was done.

    Raises:
        ConfigError: If it was done, or begun, with other options.
    """
    made_with = folder / 'options.json'
    made = made_with.read_text('utf-8') if made_with.is_file() else ''
    if made and json.loads(made) != options:
        raise ConfigError(
            f'{folder} was made with the options {made}, not with '
            f'{json.dumps(options)}; name another --work-dir'
        )
    if (folder / 'retrieval.json').is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    made_with.write_text(json.dumps(options), 'utf-8')
    common = ('--work-dir', folder)
    call('train.py', config, '--resume', '--seed', str(seed), *common, options=options)
    last = last_checkpoint(folder)
    asked = [
        f'test_evaluator.out_dir={folder}',
        'test_evaluator.matching_accuracy=True',
        'model.test_cfg.keep_tokens=True',
    ]
    call('test.py', config, last, *common, options=options + asked)


def results(work_dir: Path, name: str, seeds: list[int]) -> dict[str, list[float]]:
    """Column -> one value a finished seed, in per cent."""
    values = {}
    for seed in seeds:
        path = work_dir / name / f'seed_{seed}' / 'retrieval.json'
        if not path.is_file():
            continue
        report = json.loads(path.read_text('utf-8'))
        for column, (direction, stream) in COLUMNS.items():
            if stream in report[direction]:
                value = report[direction][stream]['R@1']
                values.setdefault(column, []).append(value)
        if report.get('matching_accuracy') is not None:
            share = 100 * report['matching_accuracy']
            values.setdefault(MATCHING, []).append(share)
    return values


def cell(values: list[float]) -> str:
    if not values:
        return 'not measured'
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f'{statistics.mean(values):.1f} ± {spread:.1f} ({len(values)})'


def table(measured: dict[str, dict], configs: dict[str, Path]) -> str:
    columns = [*COLUMNS, MATCHING]
    lines = [
        f'| ablation | {" | ".join(columns)} | what changes |',
        '|' + '---|' * (len(columns) + 2),
    ]
    for name, values in measured.items():
        what = ast.get_docstring(
            ast.parse(configs[name].read_text('utf-8'))
        ).splitlines()[0]
        what = what.removeprefix('Ablation in miniature: ') if name != 'full' else '-'
        cells = [cell(values.get(column, [])) for column in columns]
        lines.append(f'| {name} | {" | ".join(cells)} | {what} |')
    return '\n'.join(lines)


def plot(measured: dict[str, dict], path: Path) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    done = {name: values for name, values in measured.items() if values}
    figure, axes = plt.subplots(1, len(COLUMNS), figsize=(12, 0.4 * len(done) + 1.5))
    for axis, column in zip(axes, COLUMNS, strict=True):
        rows = [values.get(column, [0.0]) for values in done.values()]
        spread = [statistics.stdev(row) if len(row) > 1 else 0.0 for row in rows]
        axis.barh(list(done), [statistics.mean(row) for row in rows], xerr=spread)
        axis.invert_yaxis()
        axis.set(title=column, xlabel='R@1 (%)')
        axis.tick_params(labelleft=axis is axes[0])
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write(args: Namespace, configs: dict[str, Path]) -> None:
    """Table and plot of all that is there, measured now or before."""
    measured = {name: results(args.work_dir, name, args.seeds) for name in ablations()}
    if not any(measured.values()):
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    begin, end = '<!-- table: begin -->', '<!-- table: end -->'
    text = args.out.read_text('utf-8') if args.out.is_file() else ''
    if begin not in text:
        text = f'# Ablations on the demo data\n\n{begin}\n{end}\n'
    picture = args.out.with_suffix('.png')
    plot(measured, picture)
    made = (
        f'Made by `tools/analysis/ablate.py`: R@1 and matching accuracy on held-out '
        f'clips, in per cent; mean ± standard deviation (number of seeds).\n\n'
        f'{table(measured, configs)}\n\n![R@1 of every ablation]({picture.name})'
    )
    head, tail = text.split(begin)[0], text.split(end)[1]
    args.out.write_text(f'{head}{begin}\n{made}\n{end}{tail}', 'utf-8')


def main() -> None:
    args = parse_args()
    configs = chosen(args.only)
    for seed in args.seeds if not args.table_only else []:
        for name, config in configs.items():
            run(config, args.work_dir / name / f'seed_{seed}', seed, args.cfg_options)
            write(args, ablations())
    write(args, ablations())


if __name__ == '__main__':
    run_tool(main)
