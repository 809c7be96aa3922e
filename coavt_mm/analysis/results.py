"""The results of many evaluations, gathered from the JSON files that they left.

A file of results is a JSON object with the key ``metric`` and the facts that
:func:`coavt_mm.evaluation.metric.describe_clips` gives; all other numbers in it are
results, at whatever depth. Numbers side by side in one dictionary make one row.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from coavt_mm.datasets.reading import read_json
from coavt_mm.errors import CoAVTError, ManifestError
from coavt_mm.evaluation.metric import draw_table

FACTS = ('metric', 'protocol', 'manifest', 'manifest_hash', 'clips', 'missing')
#: counts and settings that a metric's JSON has beside its numbers
ASIDE = {
    'retrieval': ('streams', 'captions', 'shared_texts', 'temperatures'),
    'classification': ('streams',),
}
#: a dictionary of more numbers is a list by class or clip, which no table can show
LONGEST_ROW = 20


@dataclass
class Row:
    """Numbers that stand side by side in a file.

    Args:
        run: Folder of the file.
        facts: Of the file, by :data:`FACTS`; None where it does not say.
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
    aside = (*FACTS, *ASIDE.get(str(facts['metric']), ()))
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
    """One table a metric; rows are runs and parts, columns the numbers."""
    tables = []
    for metric in dict.fromkeys(row.facts['metric'] for row in rows):
        mine = [
            row
            for row in rows
            if row.facts['metric'] == metric and len(row.numbers) <= LONGEST_ROW
        ]
        names = list(dict.fromkeys(name for row in mine for name in row.numbers))
        head = ['run', 'protocol', 'clips', 'missing', 'part', *names]
        lines = [
            [
                row.run,
                *(_cell(row.facts[key]) for key in ('protocol', 'clips', 'missing')),
                row.part or '-',
                *(_cell(row.numbers.get(name)) for name in names),
            ]
            for row in mine
        ]
        tables.append(f'## {metric}\n\n{draw_table(head, lines)}')
    return '\n'.join(tables)


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
                table.writerow([row.run, *facts, row.part, name, value])
