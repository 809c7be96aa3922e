"""The results of many evaluations, gathered from the JSON files that they left.

A file of results is a JSON object with the key ``metric`` and the facts that
:func:`coavt_mm.evaluation.metric.describe_clips` gives; all other numbers in it are
results, at whatever depth. Numbers side by side in one dictionary make one row.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from coavt_mm.datasets.reading import read_json
from coavt_mm.errors import CoAVTError, ManifestError
from coavt_mm.evaluation.metric import draw_table
from coavt_mm.texts import in_csv, in_markdown

FACTS = ('metric', 'protocol', 'manifest', 'manifest_hash', 'clips', 'missing',
         'checkpoint', 'date')  # fmt: skip
#: what metrics say of the clips, not of the model
ABOUT_CLIPS = ('ceilings', 'text_ceilings', 'shared_texts', 'chance', 'gallery')
#: counts and settings that a metric's JSON has beside its numbers
ASIDE = {
    'retrieval': ('streams', 'captions', 'temperatures', 'matching_accuracy_parts'),
    'classification': ('streams',),
}
#: a dictionary of more numbers is a list by class or clip, which no table can show
LONGEST_ROW = 20


@dataclass
class Row:
    """Numbers that stand side by side in a file.

    Args:
        run: Folder of the file.
        facts: Of the file, by :data:`FACTS`; None where it does not say. The date (of
            UTC) is that of the file.
        part: Path of the dictionary in the file, such as 'text_to_clip/AV'.
        numbers: Name -> value.
    """

    run: str
    facts: dict
    part: str
    numbers: dict[str, float]


def find_results(folders: Sequence[str | Path]) -> tuple[list[Path], list[Path]]:
    """JSON files below some folders that name their metric, and those that do not.

    Raises:
        CoAVTError: If a folder is not there, or no file holds results.
    """
    found: list[Path] = []
    others: list[Path] = []
    for folder in map(Path, folders):
        if not folder.exists():
            raise CoAVTError(f'{folder}: there is no such folder or file')
        paths = sorted(folder.rglob('*.json')) if folder.is_dir() else [folder]
        for path in paths:
            named = isinstance(_read(path).get('metric'), str)
            (found if named else others).append(path)
    if not found:
        raise CoAVTError(
            f'no JSON file below {", ".join(map(str, folders))} names its metric; '
            'evaluate with out_dir set'
        )
    return list(dict.fromkeys(found)), others


def _read(path: Path) -> dict:
    """The object of a file; other JSON, such as a log of lines, counts as empty."""
    try:
        value = read_json(path)
    except ManifestError:
        return {}
    return value if isinstance(value, dict) else {}


def read_rows(path: str | Path) -> list[Row]:
    """All numbers of one file of results."""
    path = Path(path)
    report = _read(path)
    facts = {key: report.get(key) for key in FACTS}
    written = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    facts['date'] = written.date().isoformat()
    aside = (*FACTS, *ABOUT_CLIPS, *ASIDE.get(str(facts['metric']), ()))
    rest = {key: value for key, value in report.items() if key not in aside}
    return [
        Row(str(path.parent), facts, '/'.join(part), numbers)
        for part, numbers in _numbers(rest, ())
    ]


def _numbers(node: dict, part: tuple[str, ...]) -> Iterator[tuple[tuple, dict]]:
    own = {
        name: value
        for name, value in node.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if own:
        yield part, own
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _numbers(value, (*part, name))


def markdown_tables(rows: list[Row]) -> str:
    """A section a metric, in it a table for all rows that have the same numbers."""
    sections: dict[str, dict[tuple, list[Row]]] = {}
    for row in rows:
        tables = sections.setdefault(row.facts['metric'], {})
        if len(row.numbers) <= LONGEST_ROW:
            tables.setdefault(tuple(row.numbers), []).append(row)
    return '\n'.join(
        '\n'.join(
            [f'## {in_markdown(metric)}\n', *(_table(mine) for mine in tables.values())]
        )
        for metric, tables in sections.items()
    )


def _table(rows: list[Row]) -> str:
    """Rows with the same numbers; a column that says nothing of any row is left out."""
    shown = ('protocol', 'clips', 'missing', 'checkpoint', 'date')
    facts = [x for x in shown if any(row.facts[x] is not None for row in rows)]
    parts = ['part'] if any(row.part for row in rows) else []
    lines = [
        [
            row.run,
            *(_cell(row.facts[name]) for name in facts),
            *[row.part or '-' for _ in parts],
            *map(_cell, row.numbers.values()),
        ]
        for row in rows
    ]
    return draw_table(['run', *facts, *parts, *rows[0].numbers], lines)


def _cell(value: str | float | None) -> str:
    if value is None:
        return '-'
    if isinstance(value, float) and math.isfinite(value):
        return f'{value:.3f}'.rstrip('0').rstrip('.')
    return str(value)


def write_csv(rows: list[Row], path: str | Path) -> None:
    """Every number on a line of its own, unrounded, with all that is known of it."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', encoding='utf-8', newline='') as file:
        table = csv.writer(file)
        table.writerow(['run', *FACTS, 'part', 'name', 'value'])
        for row in rows:
            for name, value in row.numbers.items():
                facts = [row.facts[key] for key in FACTS]
                cells = [row.run, *facts, row.part, name, value]
                table.writerow(map(in_csv, cells))
