"""Text, JSON and csv files written by others: read as UTF-8, or refused in one line.

A byte order mark, which spreadsheet programs and editors leave at the start of a file
(and ``cat a b`` in its middle), belongs to no entry. Lines may end in CR, LF or both.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coavt_mm.errors import DatasetMissingError, ManifestError

BYTE_ORDER_MARK = '\ufeff'

# How to open a text file, so that a byte that is not UTF-8 can be seen in its line,
# as the letter 0xDC00 + the byte.
DECODING: dict[str, Any] = dict(encoding='utf-8-sig', errors='surrogateescape')
UNDECODED = re.compile('[\udc80-\udcff]')

LONGEST_MESSAGE = 400  # letters

# Half a character: JSON can spell it, no file can hold it.
UNWRITABLE = re.compile('[\0\ud800-\udfff]')

SEPARATORS = {';': 'semicolons', '\t': 'tabs', ',': 'commas'}


def is_plain(text: str) -> bool:
    """Whether a text can be written as UTF-8 and be (part of) a file's name."""
    return not UNWRITABLE.search(text)


def printable(text: str) -> str:
    r"""The text with a ``\udc..`` in the place of each byte that is no UTF-8."""
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def existing(path: str | Path, what: str = 'list') -> Path:
    """The path of a file that is there.

    Raises:
        DatasetMissingError: There is no such file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DatasetMissingError(
            f'{what} {path.name} is missing; looked for {path.absolute()}'
        )
    return path


def _checked(line: str, where: str) -> str:
    if line.isascii() and '\0' not in line:
        return line
    wrong = UNDECODED.search(line)
    if '\0' in line or (wrong and line[:2] in ('\udcff\udcfe', '\udcfe\udcff')):
        raise ManifestError(
            f'{where}: no UTF-8 text but UTF-16 or damaged (it has NUL bytes); save it '
            'as UTF-8, such as with iconv -f UTF-16 -t UTF-8'
        )
    if wrong:
        raise ManifestError(
            f'{where}: no UTF-8 text (byte 0x{ord(wrong[0]) - 0xDC00:02x} after '
            f'{line[: wrong.start()][-20:]!r}); save the file as UTF-8, such as with '
            'iconv -f WINDOWS-1252 -t UTF-8'
        )
    return line.lstrip(BYTE_ORDER_MARK)


def iter_lines(
    path: str | Path, newline: str | None = None
) -> Iterator[tuple[int, str]]:
    """Yield number, from 1, and text of each line.

    Args:
        path: The file.
        newline: As that of :func:`open`.

    Raises:
        ManifestError: A line is no UTF-8, or has NUL bytes; says which.
    """
    with open(path, newline=newline, **DECODING) as file:
        yield from checked_lines(file, str(path))


def checked_lines(lines: Iterable[str], name: str) -> Iterator[tuple[int, str]]:
    """As ``iter_lines``, of a file that the caller opened with ``**DECODING``.

    Args:
        lines: The file.
        name: Its name for the errors.

    Raises:
        ManifestError: See ``iter_lines``.
    """
    for number, line in enumerate(lines, start=1):
        yield number, _checked(line, f'{name}:{number}')


def parse_json(text: str) -> Any:
    """Decode JSON.

    Raises:
        ValueError: It is broken, nested too deep, or says something twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError('nested too deep') from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # Python keeps the last one
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f'the key {twice!r:.60} is there twice')
    return found


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ManifestError: It is no JSON in UTF-8; the message names file and line.
    """
    text = ''.join(line for _, line in iter_lines(path))
    with located(str(path)):
        return parse_json(text)


def read_list(path: str | Path) -> list[str]:
    r"""Read a text file with one entry (an id, a class) per line.

    Empty lines and those that begin with # are skipped; an entry that begins with # is
    written as ``\#...``, and one that begins with a backslash as ``\\...``.

    Raises:
        DatasetMissingError: The file isn't there.
        ManifestError: It is no UTF-8.
    """
    entries = (line.strip() for _, line in iter_lines(existing(path)))
    return [
        entry[1:] if entry.startswith(('\\#', '\\\\')) else entry
        for entry in entries
        if entry and not entry.startswith('#')
    ]


def list_entry(entry: str) -> str:
    """How ``read_list`` wants an entry to be written.

    Raises:
        ManifestError: It holds a line break.
    """
    if len(f'{entry}.'.splitlines()) > 1:
        raise ManifestError(f'{entry!r} holds a line break, a list can not name it')
    return f'\\{entry}' if entry.startswith(('#', '\\')) else entry


def iter_csv(
    path: str | Path, comments: bool = False, **dialect
) -> Iterator[tuple[str, list[str]]]:
    """Yield place (``<path>:<line>``) and cells of each row that is not empty.

    Args:
        path: The file.
        comments: Whether rows that begin with # are none, in front of the first other
            row.
        **dialect: Those of :func:`csv.reader`.

    Raises:
        ManifestError: It is no csv; the message names file and line.
        DatasetMissingError: The file isn't there.
    """
    lines = (line for _, line in iter_lines(existing(path), newline=''))
    reader = csv.reader(lines, strict=True, **dialect)
    while True:
        place = f'{path}:{reader.line_num + 1}'
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ManifestError(printable(f'{place}: {error}')) from error
        if row is None:
            return
        comments = comments and (not row or row[0].startswith('#'))
        if not comments and any(cell.strip() for cell in row):
            yield place, row


def separator_hint(row: list[str]) -> str:
    """What may be the matter with a row of one cell, or nothing."""
    signs = [sign for sign in SEPARATORS if len(row) == 1 and sign in row[0]]
    if not signs:
        return ''
    if signs[0] == ',':
        return 'the whole row stands in quotes'
    return f'the columns are separated by {SEPARATORS[signs[0]]}, save it with commas'


def columns(row: list[str], count: int) -> list[str]:
    """The cells of a row, without empty ones that a spreadsheet program appended.

    Raises:
        ValueError: There are more or fewer; says so, and what may be the matter.
    """
    if len(row) < count or any(cell.strip() for cell in row[count:]):
        hint = separator_hint(row)
        if len(row) > count:
            hint = 'a text with a comma must stand in quotes'
        raise ValueError(
            f'{count} columns expected, {len(row)} found' + (hint and f'; {hint}')
        )
    return row[:count]


@contextmanager
def located(place: str) -> Iterator[None]:
    """Turn a ValueError into a ManifestError that begins with the place; what it quotes
    of the file may be long."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        if len(text) > LONGEST_MESSAGE:
            text = f'{text[: LONGEST_MESSAGE // 2]} ... {text[-LONGEST_MESSAGE // 2 :]}'
        raise ManifestError(printable(f'{place}: {text}')) from error


def header(row: list[str]) -> list[str]:
    """Names of columns in small letters; 'Audio caption ' is 'audio_caption'.

    Empty names at the end are left out.

    Raises:
        ValueError: A name is there twice, or the separator is another.
    """
    if hint := separator_hint(row):
        raise ValueError(hint)
    names = ['_'.join(cell.lower().split()) for cell in row]
    while names and not names[-1]:
        names.pop()
    for name in names:
        if name and names.count(name) > 1:
            raise ValueError(f"the column '{name}' is there twice")
    return names


def iter_table(
    path: str | Path, check: Callable[[list[str]], None]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield place (``<path>:<line>``) and cells by column of a csv with a header.

    Args:
        path: The file.
        check: Is given the names of the columns; raises ValueError.

    Raises:
        ManifestError: The header or a row is wrong; the message names file and line.
        DatasetMissingError: The file isn't there.
    """
    rows = iter_csv(path)
    place, first = next(rows, (f'{path}:1', []))
    with located(place):
        names = header(first)
        check(names)
    for place, row in rows:
        with located(place):
            cells = _by_name(names, row)
        yield place, cells


def _by_name(names: list[str], row: list[str]) -> dict[str, str]:
    cells = columns(row, len(names))
    for number, (name, cell) in enumerate(zip(names, cells, strict=True), start=1):
        if not name and cell.strip():
            raise ValueError(f'column {number} has no name, but holds {cell!r}')
    return {name: cell for name, cell in zip(names, cells, strict=True) if name}
