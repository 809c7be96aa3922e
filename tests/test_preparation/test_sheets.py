"""Spreadsheets as people have them: what is read, what is said, what is refused."""

import codecs
import io
import sys
from zipfile import ZipFile

import pytest

from coavt_mm.errors import ManifestError
from coavt_mm.preparation import read_folder_csv, sheets

GERMAN = 'Jahr;Caption;Clip;Ort \r\n1998;"Käfer – „brummt“; 5 €";Lücke.mp4;\r\n'
FRENCH = 'filename\tcaption\r\na.mp4\tl’œuvre coûte «5 €», déjà\r\n\t\r\n\r\n'


@pytest.fixture
def said(monkeypatch):
    """The lines that were logged."""
    lines = []
    monkeypatch.setattr(sheets, 'print_log', lambda text, **_: lines.append(text))
    return lines


@pytest.fixture
def read(tmp_path):
    """Reads the bytes of a spreadsheet: (clip, first caption or None) of each row."""

    def rows(content, name='x.csv'):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        clips = [clip for group in read_folder_csv(path).values() for clip in group]
        return [(clip.source, *(clip.captions or [None])) for clip in clips]

    return rows


def put(said, start):
    """The one line that has a part."""
    (line,) = [line for line in said if start in line]
    return line


GERMAN_ROWS = [('Lücke.mp4', 'Käfer – „brummt“; 5 €')]


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_an_encoding_that_is_certain_is_not_spoken_of(read, said, encoding):
    content = GERMAN.encode(encoding)
    assert read(content) == GERMAN_ROWS
    assert said == [put(said, 'not used: "Jahr", "Ort"')]


@pytest.mark.parametrize('order', ['le', 'be'])
def test_utf16(read, said, order):
    text = 'clip\tcaption\r\na\t"x ""ü"""\r\n'
    mark = dict(le=codecs.BOM_UTF16_LE, be=codecs.BOM_UTF16_BE)[order]
    assert read(mark + text.encode(f'utf-16-{order}')) == [('a', 'x "ü"')]
    assert not said
    assert read(text.encode(f'utf-16-{order}')) == [('a', 'x "ü"')]
    assert f'read as utf-16-{order}' in put(said, 'no mark')


def test_a_guessed_encoding_is_said_with_a_word(read, said):
    assert read(GERMAN.encode('cp1252')) == GERMAN_ROWS
    line = put(said, 'Windows-1252')
    assert '"Käfer" in line 2' in line and 'CSV UTF-8' in line
    assert '\n' not in line
    said.clear()
    assert read(FRENCH.encode('cp1252')) == [('a.mp4', 'l’œuvre coûte «5 €», déjà')]
    assert '"l’œuvre" in line 2' in put(said, 'Windows-1252')
    assert '"filename" as clip' in put(said, 'read the column')


@pytest.mark.parametrize(
    ('encoding', 'text'),
    [
        ('cp850', 'ein Käfer'), ('cp850', 'un café élevé'), ('mac_roman', 'für Elise'),
        ('mac_roman', 'été'), ('cp1250', 'żółty'), ('cp1251', 'мой дом'),
        ('koi8-r', 'собака лает'), ('cp1253', 'ο σκύλος'), ('cp1255', 'כלב נובח'),
        ('shift_jis', '犬が吠える'), ('gbk', '狗在叫'), ('euc_kr', '개가 짖는다'),
    ],
)  # fmt: skip
def test_letters_of_other_tables_are_refused(read, encoding, text):
    content = f'clip;caption\r\na;x\r\nb;{text}\r\n'.encode(encoding)
    with pytest.raises(ManifestError, match='x.csv:3: letters .* save it as "CSV UTF'):
        read(content)


def test_western_words_are_not_refused(read):
    text = (
        'Ärger über Öl, Straße GRÖSSE; l’été «déjà» vu, naïf n° 3½ Ça ¿Qué? niño ação '
        'på ön hääyöaie Þórður col·lecció „Hund“ (‚x‘) “Hi” it’s Škoda über… KirchÖl 5€'
    )
    (row,) = read(f'clip,caption\na,"{text}"\n'.encode('cp1252'))
    assert row == ('a', text)


@pytest.mark.parametrize(
    'content',
    [
        'clip;caption\na;b, c\n',
        'sep=;\r\nclip;caption\r\na;b, c\r\n',
        'clip\tcaption\na\tb, c\n',
        'Caption , CLIP,,\n"b, c", a,,\n,,,\n\n',
        ';;\r\n\r\nclip;caption;\r\na;b, c;\r\n;;\r\n;;\r\n',
        ',clip,caption\n0,a,"b, c"\n',
        'File;Text\ra;b, c\r',
        'caption;note;clip\n"b, c";;a\n;only mine;\n',
    ],
)
def test_separators_and_blanks(read, content):
    assert read(content) == [('a', 'b, c')]


def test_programs_leave_out_empty_cells_at_the_end(read):
    assert read('clip;caption;label\na\nb;c\n') == [('a', None), ('b', 'c')]


@pytest.mark.parametrize(
    ('content', 'line', 'reason'),
    [
        ('clip;captoin\na;b\n', 1, "unknown column 'captoin'; did you mean 'caption'"),
        ('clip,lable\na,b\n', 1, "'lable'; did you mean 'label'"),
        ('clp,caption\na,b\n', 1, "'clp'; did you mean 'clip'"),
        ('a.mp4;ein Hund\n', 1, "no column 'clip'.*'clip,caption' above 'dog.mp4,a d"),
        ('', 1, "no column 'clip'"),
        ('"clip,caption"\n"a,b"\n', 1, "no column 'clip'"),
        ('clip,caption,Clip\na,b,c\n', 1, "'clip' is there 2 times"),
        ('clip,caption\na,b,c\n', 2, '2 columns expected, 3 found; .* in quotes'),
        ('clip;caption\na,b\n', 2, '1 found; they are separated by semicolons'),
        ('clip,caption,,\na,b, c,\n', 2, "column 3 has no name, but holds ' c'"),
        ('sep=;\nclip;caption\na;"b\n', 3, 'unexpected end'),
        ('clip;caption\n;b\n', 2, 'the clip is empty'),
        ('clip,start\na,"1,5"\n', 2, "'1,5' is no number"),
        ('clip\tstart\na\t1,500\n', 2, "'1,500' is no number"),
        ('clip;start\na;0:15\n', 2, "'0:15' is no number"),
        ('clip;caption\na;b\0\n', 2, 'NUL bytes'),
    ],
)
def test_errors_name_the_line_and_the_cure(read, content, line, reason):
    with pytest.raises(ManifestError, match=f'x.csv:{line}: .*{reason}'):
        read(content)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (codecs.BOM_UTF8 + b'clip,caption\na,\xe4\n', 'damaged, its byte 18'),
        (codecs.BOM_UTF16_LE + b'c', 'damaged'),
        (b'\xd0\xcf\x11\xe0', 'an old or locked Excel file'),
        (b'clip,caption\n', 'no rows'),
    ],
)
def test_files_that_are_none(read, content, reason):
    with pytest.raises(ManifestError, match=f'x.csv: {reason}'):
        read(content)


def test_decimal_commas_and_units(tmp_path):
    path = tmp_path / 'x.csv'
    for text in (
        'Clip;Start (s);End (s)\na;1,5;12,250\n',
        'clip\tstart_time\tend_time\na\t1,5\t12.25\n',
    ):
        path.write_text(text)
        (clip,) = read_folder_csv(path)['all']
        assert (clip.start, clip.end) == (1.5, 12.25)


def test_a_known_column_wins_over_another_name(read, said):
    assert read('file,clip,text,caption\nx,a,y,b\n') == [('a', 'b')]
    assert 'not used: "file", "text"' in put(said, 'not used')
    assert read('path,filename\nx,a\n') == [('a', None)]


@pytest.fixture
def workbook(tmp_path):
    """Writes sheets of rows to an xlsx; returns its bytes."""
    openpyxl = pytest.importorskip('openpyxl')

    def write(**of_name):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for name, rows in of_name.items():
            sheet = book.create_sheet(name)
            for row in rows:
                sheet.append(row)
        book.save(tmp_path / 'made.xlsx')
        return (tmp_path / 'made.xlsx').read_bytes()

    return write


def test_excel(read, said, workbook, tmp_path):
    rows = [['Jahr', 'Clip', 'Caption', 'Start', 'End'], [None], [1998, 'ü', 'x;y, z']]
    content = workbook(empty=[], mine=[*rows, [None, 12, 'b', 1.5, '2,5']], notes=rows)
    assert read(content, 'x.xlsx') == [('ü', 'x;y, z'), ('12', 'b')]
    assert '"mine" is read, and not "notes"' in put(said, 'sheet')
    clip = read_folder_csv(tmp_path / 'x.xlsx')['all'][1]
    assert (clip.start, clip.end) == (1.5, 2.5)
    with pytest.raises(ManifestError, match='x.xlsx:3: the clip is empty'):
        read(workbook(mine=[['clip', 'caption'], ['a', 'b'], [None, 'c']]), 'x.xlsx')
    with pytest.raises(ManifestError, match="x.xlsx:1: there is no column 'clip'"):
        read(workbook(mine=[]), 'x.xlsx')
    with pytest.raises(ManifestError, match='no Excel file .* "CSV UTF-8"'):
        read(content[:1000], 'x.xlsx')


def test_excel_without_the_reader(read, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openpyxl', None)
    with pytest.raises(ManifestError, match=r'needs openpyxl .*\[excel\].*"CSV UTF-8"'):
        read(b'PK\3\4', 'x.xlsx')


@pytest.mark.parametrize('other', [b'', b'<a/>', b'<workbook/>', b'\xff' * 300])
def test_parts_of_a_workbook_that_are_something_else(read, workbook, other):
    """Rows, or one short line: openpyxl raises what comes of it."""
    content = workbook(mine=[['clip', 'caption'], ['a', 'b']])
    with ZipFile(io.BytesIO(content)) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    refused = 0
    for changed in parts:
        made = io.BytesIO()
        with ZipFile(made, 'w') as book:
            for name, part in parts.items():
                book.writestr(name, other if name == changed else part)
        try:
            assert read(made.getvalue(), 'x.xlsx') == [('a', 'b')], changed
        except ManifestError as error:
            assert str(error).startswith('x.xlsx') or 'x.xlsx:' in str(error)
            assert len(str(error)) < 600
            refused += 1
    assert 2 <= refused <= len(parts)
