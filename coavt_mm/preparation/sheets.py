"""Spreadsheets of users, as their programs save them: csv of several kinds, or xlsx.

Encoding, separator and columns are found out. What had to be guessed, and what is not
used, is said in one line each; what can't be told is an error that says the cure.
"""

import codecs
import csv
import difflib
import io
import logging
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from coavt_mm.datasets.reading import BYTE_ORDER_MARK, SEPARATORS, existing, located
from coavt_mm.errors import ManifestError, shown

Rows = Iterable[tuple[int, list[str]]]

CURE = (
    'save it as "CSV UTF-8" (Excel: File, Save As; LibreOffice: Save As, Text CSV, '
    'character set UTF-8)'
)

MARKS = {
    codecs.BOM_UTF8: 'utf8',
    codecs.BOM_UTF32_LE: 'utf-32',  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: 'utf-32',
    codecs.BOM_UTF16_LE: 'utf-16',
    codecs.BOM_UTF16_BE: 'utf-16',
}

# What no Western European text has when it is read as Windows-1252: within a word a
# sign (DOS, Mac, Polish) or a capital from where other tables have vowels; a low quote
# that opens nothing (Japanese); words of nothing but accents (other alphabets).
LETTER = '[A-Za-zÀ-ÖØ-öø-ÿŠŽŸšžœŒ]'
OTHER_TABLE = re.compile(
    rf'{LETTER}(?!{LETTER})[^\x00-\x7f’‘–—·«»ªº\xad\xa0]{LETTER}|[a-zß-ÿ][ŠŽŸŒ]'
    r'|[^\s(\[,;"\'„–—][‚„]|\b[À-ÖØ-öø-ÿ]{3,}\b|[^\x00-\x7f\xa0–—…„“”‘’‚‹›«»€]{4}'
)

WORKBOOK, OLD_WORKBOOK = b'PK\3\4', b'\xd0\xcf\x11\xe0'

DAMAGED = (zipfile.BadZipFile, zlib.error)

# Near enough to a column's name to be a slip of the finger ('captoin').
SLIP = 0.8


def iter_sheet(
    path: str | Path,
    known: Mapping[str, Sequence[str]],
    example: Sequence[str],
    seconds: Sequence[str] = (),
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield place (``<path>:<line>``) and cells by column of a user's spreadsheet.

    Rows with nothing in the known columns are left out, and so are columns of the
    user's own, with a line that names them.

    Args:
        path: A csv (commas, semicolons or tabs; UTF-8, UTF-16 or Windows-1252) or an
            xlsx. Its first row names the columns, in any order and case.
        known: Columns and their other names; the first column must be there.
        example: Two rows for the message that the header is missing.
        seconds: Columns of numbers that may have a decimal comma.

    Raises:
        DatasetMissingError: The file isn't there.
        ManifestError: It can't be read with certainty; says where and the cure.
    """
    path = existing(path, 'spreadsheet')
    content = path.read_bytes()
    if content.startswith(WORKBOOK):
        rows, separator = _workbook_rows(content, path), '\t'
    elif content.startswith(OLD_WORKBOOK):
        raise ManifestError(f'{path}: an old or locked Excel file; {CURE}')
    else:
        rows, separator = _csv_rows(_decoded(content, path), path, known)
    filled = ((n, row) for n, row in rows if any(cell.strip() for cell in row))
    number, first = next(filled, (1, []))
    with located(f'{path}:{number}'):
        names = _header(first, known, example)
        _tell(path, first, names, known)
    for number, row in filled:
        place = f'{path}:{number}'
        with located(place):
            cells = _by_name(names, row, separator)
        for key in set(seconds) & set(cells):
            cells[key] = _with_point(cells[key], separator)
        cells = {name: cell for name, cell in cells.items() if name in known}
        if any(cell.strip() for cell in cells.values()):
            yield place, cells


def _say(text: str) -> None:
    print_log(shown(text), logger='current', level=logging.WARNING)


def _decoded(content: bytes, path: Path) -> str:
    """Text of a csv: by its byte order mark, else UTF-8, else a guess that is said."""
    marked = [name for mark, name in MARKS.items() if content.startswith(mark)]
    guessed = None if marked else _utf16_without_mark(content)
    encoding = marked[0] if marked else guessed or 'utf-8'
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != 'utf-8':
            raise ManifestError(
                f'{path}: damaged, its byte {error.start} is no {encoding}; {CURE}'
            ) from None
        return _western(content, path)
    if '\0' in text:
        line = text.count('\n', 0, text.index('\0')) + 1
        raise ManifestError(f'{path}:{line}: no text, it has NUL bytes; {CURE}')
    if guessed:
        _say(f'{path}: read as {guessed} (UTF-16), of which it has no mark')
    return text.replace(BYTE_ORDER_MARK, '')


def _utf16_without_mark(content: bytes) -> str | None:
    """Every second byte of a table in a Latin script is 0."""
    zeros = [content[start:1000:2].count(0) for start in (0, 1)]
    most = len(content[:1000]) // 4
    if zeros[1] > most and not zeros[0]:
        return 'utf-16-le'
    return 'utf-16-be' if zeros[0] > most and not zeros[1] else None


def _western(content: bytes, path: Path) -> str:
    """Text read as Windows-1252, with a line that shows a word of it."""
    text = content.decode('cp1252', errors='replace')
    first = next(i for i, letter in enumerate(text) if not letter.isascii())
    line = text.count('\n', 0, first) + 1
    if '\ufffd' in text or OTHER_TABLE.search(text):
        raise ManifestError(
            f'{path}:{line}: letters that are neither UTF-8 nor Windows-1252 (Western '
            f'European); {CURE}'
        )
    word = re.findall(r'[^\s,;"]*[^\x00-\x7f][^\s,;"]*', text)[0]
    _say(
        f'{path}: no UTF-8, read as Windows-1252 (Western European), such as "{word}" '
        f'in line {line}; if that is not what you wrote, {CURE}'
    )
    return text


def _csv_rows(
    text: str, path: Path, known: Mapping[str, Sequence[str]]
) -> tuple[Rows, str]:
    """Rows with their lines, and the separator: that which finds most columns."""
    head = re.match(r'"?sep=(.)"?(\r\n|\r|\n)', text)  # for Excel, not a row
    if head:
        separator, text = head[1], text[head.end() :]
    else:
        names = {name for key, others in known.items() for name in (key, *others)}
        first = next((x for x in text.splitlines() if x.strip(' \t,;')), '')

        def found(sign: str) -> tuple[int, int]:
            cells = next(csv.reader([first], delimiter=sign), [])
            return len(names & {_plain(cell) for cell in cells}), len(cells)

        separator = max(SEPARATORS, key=found)
    return _numbered(text, separator, path, 1 if head else 0), separator


def _numbered(text: str, separator: str, path: Path, before: int) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator, strict=True)
    while True:
        number = before + reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ManifestError(f'{path}:{number}: {error}') from error


# what openpyxl raises of parts that are none of a workbook
_NO_WORKBOOK = (
    ValueError, LookupError, SyntaxError, OSError, TypeError, AttributeError,
)  # fmt: skip


def _workbook_rows(content: bytes, path: Path) -> Rows:
    """Rows of the first sheet of an xlsx that holds something, as text."""
    try:
        import openpyxl
    except ImportError:
        raise ManifestError(
            f'{path}: reading Excel files needs openpyxl (pip install '
            f'"coavt-mm[excel]"); or {CURE}'
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of what it can't draw
            book = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
            sheets = [x for x in book.worksheets if x.calculate_dimension() != 'A1:A1']
    except (*_NO_WORKBOOK, *DAMAGED) as error:
        raise ManifestError(f'{path}: no Excel file ({error!s:.120}); {CURE}') from None
    if sheets[1:]:
        left = ', '.join(f'"{sheet.title}"' for sheet in sheets[1:])
        _say(f'{path}: the sheet "{sheets[0].title}" is read, and not {left}')
    rows = sheets[0].iter_rows(values_only=True) if sheets else ()
    return enumerate(([_text(cell) for cell in row] for row in rows), start=1)


def _text(value: Any) -> str:
    if value is None:
        return ''
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def _plain(name: str) -> str:
    """Name of a column in small letters; 'Start (s)' is 'start_s'."""
    return re.sub(r'[\W_]+', '_', name.lower()).strip('_')


def _header(
    row: Sequence[str], known: Mapping[str, Sequence[str]], example: Sequence[str]
) -> list[str]:
    """Names of the columns: the known one where another name of it is given."""
    names = [_plain(cell) for cell in row]
    for key, others in known.items():
        if key not in names:
            other = next((name for name in others if name in names), None)
            names = [key if name == other else name for name in names]
        if names.count(key) > 1:
            raise ValueError(f"the column '{key}' is there {names.count(key)} times")
    absent = [key for key in known if key not in names]
    for cell, name in zip(row, names, strict=True):
        near = difflib.get_close_matches(name, absent, 1, SLIP)
        if near and name not in known:
            raise ValueError(f"unknown column '{cell}'; did you mean '{near[0]}'?")
    if next(iter(known)) in absent:
        raise ValueError(
            f"there is no column '{absent[0]}'; the first row must name the columns, "
            f"such as '{example[0]}' above '{example[1]}', and is "
            f"'{' '.join(' '.join(row).split())[:60]}'"
        )
    return names


def _tell(path: Path, row: Sequence[str], names: Sequence[str], known: Any) -> None:
    """Say which columns are known by another name, and which are not used."""
    pairs = [(cell.strip(), name) for cell, name in zip(row, names, strict=True)]
    other = [f'"{c}" as {n}' for c, n in pairs if n in known and n != _plain(c)]
    if other:
        _say(f'{path}: read the column {", ".join(other)}')
    own = [f'"{cell}"' for cell, name in pairs if name and name not in known]
    if own:
        _say(f'{path}: columns that are not used: {", ".join(own)}')


def _by_name(names: Sequence[str], row: list[str], separator: str) -> dict[str, str]:
    """Cells by column; programs leave out empty ones at the end of a row."""
    spare = row[len(names) :]
    mixed = len(row) == 1 < len(names) and re.search('[,;\t]', row[0])
    if mixed or any(cell.strip() for cell in spare):
        raise ValueError(
            f'{len(names)} columns expected, {len(row)} found; they are separated by '
            f'{SEPARATORS.get(separator, separator)}, and a text with such a sign must '
            'stand in quotes'
        )
    row = [*row, *[''] * (len(names) - len(row))]
    named = next(number for number, name in enumerate(names) if name)
    for number, (name, cell) in enumerate(zip(names, row, strict=False), start=1):
        if number > named and not name and cell.strip():  # else numbers of rows
            raise ValueError(f'column {number} has no name, but holds {cell!r}')
    return {name: cell for name, cell in zip(names, row, strict=False) if name}


def _with_point(number: str, separator: str) -> str:
    """A number with a decimal comma as one with a point, where it can be none of
    thousands: programs separate by semicolons where the comma is the decimal sign."""
    number = number.strip()
    comma = separator == ';' or not re.fullmatch(r'\d+,\d{3}', number)
    if separator != ',' and comma and re.fullmatch(r'\d+,\d+', number):
        return number.replace(',', '.')
    return number
