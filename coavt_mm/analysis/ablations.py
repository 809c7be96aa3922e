"""Ablations over seeds: run what is missing, and write a table and a figure of all.

The variants are the table of ``configs/coavt/ablations.py``: name -> what changes, and
the ``--cfg-options`` that change it.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from coavt_mm.analysis.results import read_rows
from coavt_mm.config import load_config
from coavt_mm.engine.choosing import last_checkpoint
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.streams import LOOKS
from coavt_mm.visualization import save_figure
from coavt_mm.visualization.variants import Measured, variants_figure

SHIPPED = Path(__file__).parents[1] / '.mim'
CONFIG = SHIPPED / 'configs' / 'coavt' / 'ablations.py'
#: column -> part of the results and name of the number there
RECALLS = {
    'text to clip, AV': ('text_to_clip/AV', 'R@1'),
    'text to A': ('text_to_clip/A', 'R@1'),
    'text to V': ('text_to_clip/V', 'R@1'),
    'clip to text, AV': ('clip_to_text/AV', 'R@1'),
}
#: column -> stream whose colour it has
STREAM_OF = {column: part.split('/')[1] for column, (part, _) in RECALLS.items()}
MATCHING = 'matching accuracy'
BASE = 'full'  # the variant that all others are compared with
BEGIN, END = '<!-- table: begin -->', '<!-- table: end -->'


def read_variants(only: Sequence[str] | None = None) -> dict[str, dict]:
    """Read the table of variants.

    Args:
        only: Names to take; None for all.

    Returns:
        Name -> dict of ``what`` and ``options``, in the order of the table.

    Raises:
        ConfigError: If there is no variant of a name.
    """
    every = load_config(str(CONFIG)).variants
    unknown = set(only or ()) - set(every)
    if unknown:
        raise ConfigError(
            f'no ablation {", ".join(sorted(unknown))}; there are {", ".join(every)}'
        )
    return {name: entry for name, entry in every.items() if not only or name in only}


def run_variant(variant: dict, folder: Path, seed: int, options: list[str]) -> None:
    """Train and test once, unless that was done.

    Args:
        variant: An entry of the table.
        folder: The run's work dir.
        seed: Of the run.
        options: ``KEY=VALUE`` for all variants.

    Raises:
        ConfigError: If it was done, or begun, with other options.
        CoAVTError: If training or test fails.
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
    common, changes = ('--work-dir', folder), [*variant['options'], *options]
    _call('train.py', '--resume', '--seed', str(seed), *common, options=changes)
    asked = [
        f'test_evaluator.out_dir={folder}',
        'test_evaluator.matching_accuracy=True',
        'model.test_cfg.keep_tokens=True',
    ]
    _call('test.py', last_checkpoint(folder), *common, options=changes + asked)


def _call(tool: str, *args: str | Path | None, options: list[str]) -> None:
    """Run a tool on the config; its output is the user's to see."""
    script = SHIPPED / 'tools' / tool
    command = [*map(str, (sys.executable, script, CONFIG, *args))]
    command += ['--cfg-options', *options] if options else []
    if subprocess.run(command).returncode:
        raise CoAVTError(f'{" ".join(command)} failed; the ablations stop here')


def measured(work_dir: Path, name: str, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Column -> one value per finished seed, in per cent."""
    values: dict[str, list[float]] = {}
    for seed in seeds:
        path = work_dir / name / f'seed_{seed}' / 'retrieval.json'
        rows = read_rows(path) if path.is_file() else []
        numbers = {row.part: row.numbers for row in rows}
        for column, (part, number) in RECALLS.items():
            if number in numbers.get(part, {}):
                values.setdefault(column, []).append(numbers[part][number])
        if 'matching_accuracy' in numbers.get('', {}):
            share = 100 * numbers['']['matching_accuracy']
            values.setdefault(MATCHING, []).append(share)
    return values


def write_page(work_dir: Path, seeds: Sequence[int], page: Path) -> None:
    """Write table and figure of all that is there, measured now or before.

    Args:
        work_dir: Folder of the runs.
        seeds: Which of them count.
        page: Markdown file; what is outside its marks stays.
    """
    variants = read_variants()
    found = {name: measured(work_dir, name, seeds) for name in variants}
    if not any(found.values()):
        return
    text = page.read_text('utf-8') if page.is_file() else ''
    if BEGIN not in text:
        text = f'# Ablations on the demo data\n\n{BEGIN}\n{END}\n'
    picture = save_figure(bars(found, variants), page.with_suffix('.png'))
    made = (
        'Made by `tools/analysis/ablate.py`: R@1 and matching accuracy on held-out '
        'clips, in per cent; mean ± standard deviation (number of seeds).\n\n'
        f'{_table(found, variants)}\n\n![R@1 of every ablation]({picture.name})'
    )
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f'{head}{BEGIN}\n{made}\n{END}{tail}', 'utf-8')


def _table(found: dict[str, dict], variants: dict[str, dict]) -> str:
    head = ['ablation', *RECALLS, MATCHING, 'what changes']
    rows = [
        [name, *(_cell(values.get(column, [])) for column in head[1:-1])]
        + [variants[name]['what']]
        for name, values in found.items()
    ]
    lines = [f'| {" | ".join(row)} |' for row in (head, *rows)]
    lines.insert(1, '|' + '---|' * len(head))
    return '\n'.join(lines)


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _cell(values: list[float]) -> str:
    if not values:
        return 'not measured'
    return f'{statistics.mean(values):.1f} ± {_spread(values):.1f} ({len(values)})'


def bars(found: dict[str, dict[str, list[float]]], variants: dict[str, dict]) -> Figure:
    """R@1 of the variants, one panel per column.

    Args:
        found: Name -> column -> values, as of :func:`measured`.
        variants: The table, as of :func:`read_variants`.
    """
    summaries = {
        variant_title(name, variants): {
            column: Measured(statistics.mean(x), _spread(x), len(x))
            for column, x in values.items()
        }
        for name, values in found.items()
        if values
    }
    colors = {column: LOOKS[stream]['color'] for column, stream in STREAM_OF.items()}
    return variants_figure(summaries, BASE, 'R@1 (%)', colors)


def variant_title(name: str, variants: dict[str, dict]) -> str:
    """Name and, in words, what is changed; the full model has nothing to add."""
    what = variants[name]['what'].rstrip('.')
    return name if name == BASE else f'{name}: {what}'
