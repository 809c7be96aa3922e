"""What an earlier run of a preparation found out."""

from pathlib import Path
from typing import Any

from coavt_mm.datasets.manifest import check_seconds
from coavt_mm.datasets.reading import parse_json
from coavt_mm.preparation.settings import PROBLEMS, UNUSABLE


def read_journal(path: Path) -> dict[str, dict]:
    """Results of an earlier run, by the keys of their tasks.

    A line that was cut off or damaged is left out: its clip is looked at again.
    """
    results: dict[str, dict] = {}
    if not path.is_file():
        return results
    with open(path, encoding='utf-8-sig', errors='replace') as file:
        for line in file:
            try:
                key, result = _entry(parse_json(line))
            except ValueError:
                continue
            results[key] = result
    return results


def _entry(entry: Any) -> tuple[str, dict]:
    """Key and result of a line; a ValueError for what ``check_clip`` never gave."""
    match entry:
        case [str(key), {'problems': [*problems], **rest}] if all(
            problem in PROBLEMS for problem in problems
        ):
            pass
        case _:
            raise ValueError('no entry of a journal')
    if not isinstance(rest.get('reason', ''), str):
        raise ValueError('the reason is no text')
    if not set(problems) & set(UNUSABLE):
        _check_usable(rest)
    return key, entry[1]


def _check_usable(result: dict) -> None:
    """Raise a ValueError unless a manifest may have these values."""
    match result:
        case {'hash': str(), 'start': int() | float() as start, 'end': end}:
            check_seconds(start, 'start')
            known = isinstance(end, int | float) and start < check_seconds(end, 'end')
            if not (end is None or known) or isinstance(start, bool):
                raise ValueError('end does not lie behind start')
        case _:
            raise ValueError('hash, start or end is missing')
