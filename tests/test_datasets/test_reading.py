import codecs
import json

import pytest

from coavt_mm.datasets.reading import (
    iter_csv,
    iter_lines,
    iter_table,
    list_entry,
    located,
    read_json,
    read_list,
)
from coavt_mm.errors import DatasetMissingError, ManifestError

TEXT = 'a\nLücke\n映画\n'


def write(path, content):
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(content)
    return path


@pytest.mark.parametrize('newline', ['\n', '\r\n', '\r'])
@pytest.mark.parametrize('mark', [b'', codecs.BOM_UTF8, 2 * codecs.BOM_UTF8])
def test_lines_of_any_kind(tmp_path, newline, mark):
    path = write(tmp_path / 'l.txt', mark + TEXT.replace('\n', newline).encode())
    assert [(n, line.strip()) for n, line in iter_lines(path)] == [
        (1, 'a'), (2, 'Lücke'), (3, '映画')
    ]  # fmt: skip
    assert read_list(path) == ['a', 'Lücke', '映画']


def test_a_mark_in_the_middle_and_strange_separators_belong_to_no_entry(tmp_path):
    path = write(tmp_path / 'l.txt', '\ufeffa\n\ufeffb\n\ufeff# note\nc\u2028d\x0ce\n')
    assert read_list(path) == ['a', 'b', 'c\u2028d\x0ce']


@pytest.mark.parametrize(
    ('content', 'line', 'reason'),
    [
        (TEXT.encode('latin-1', 'replace'), 2, 'no UTF-8 text .byte 0xfc after .L'),
        (TEXT.encode('utf-16'), 1, 'UTF-16'),
        (TEXT.encode('utf-16-le'), 1, 'UTF-16'),
        (TEXT.encode('utf-16-be'), 1, 'UTF-16'),
        (codecs.BOM_UTF16_BE + '映画'.encode('utf-16-be'), 1, 'UTF-16'),
        (TEXT.encode('utf-32'), 1, 'UTF-16 or damaged'),
        (b'a\nb\0c\n', 2, 'NUL bytes'),
        (b'a\nb\xed\xa0\x80c\n', 2, 'byte 0xed'),  # half a character
        (TEXT.encode()[:-2], 3, 'byte 0xe7'),  # cut off in a character
    ],
)
def test_other_encodings_are_one_line(tmp_path, content, line, reason):
    path = write(tmp_path / 'list.csv', content)
    for read in (read_list, read_json, lambda path: list(iter_csv(path))):
        with pytest.raises(ManifestError, match=rf'list.csv:{line}: .*{reason}') as e:
            read(path)
        assert 'save ' in str(e.value) and '\n' not in str(e.value)
        str(e.value).encode()


def test_a_long_file_names_the_right_line(tmp_path):
    path = write(tmp_path / 'l.txt', b'abc\n' * 50_000 + b'\xff\n')
    with pytest.raises(ManifestError, match='l.txt:50001: '):
        read_list(path)


def test_entries_that_begin_with_a_hash(tmp_path):
    ids = ['#1 hit', '\\#2', '\\x', 'C#']
    path = write(
        tmp_path / 'l.txt', '# ids\n' + ''.join(f'{list_entry(x)}\n' for x in ids)
    )
    assert read_list(path) == ids
    with pytest.raises(ManifestError, match='line break'):
        list_entry('a\rb')


def test_lists(tmp_path):
    assert read_list(write(tmp_path / 'l.txt', '# ids\na b\n\n c \n')) == ['a b', 'c']
    with pytest.raises(DatasetMissingError, match='no.txt'):
        read_list(tmp_path / 'no.txt')


def test_json(tmp_path):
    path = write(tmp_path / 'x.json', codecs.BOM_UTF8 + b'{"a": "\xc3\xbc"}')
    assert read_json(path) == {'a': 'ü'}
    for content, reason in (('{"a": ', 'line 1'), ('[' * 200_000, 'nested too deep')):
        with pytest.raises(ManifestError, match=f'x.json: .*{reason}'):
            read_json(write(path, content))


def test_csv_rows_and_where_they_stand(tmp_path):
    path = write(tmp_path / 'x.csv', '\ufeff"a","b\nc"\r\n,,\r\n\r\n#d,e\rf,g')
    assert list(iter_csv(path)) == [
        (f'{path}:1', ['a', 'b\nc']), (f'{path}:5', ['#d', 'e']),
        (f'{path}:6', ['f', 'g']),
    ]  # fmt: skip
    path = write(tmp_path / 'y.csv', '# head\n\n# "more\na,b\n#c,d\n')
    assert [row for _, row in iter_csv(path, comments=True)] == [
        ['a', 'b'],
        ['#c', 'd'],
    ]
    with pytest.raises(ManifestError, match='x.csv:2: '):
        list(iter_csv(write(tmp_path / 'x.csv', 'a,b\n"c\n')))
    with pytest.raises(DatasetMissingError, match='no.csv is missing'):
        list(iter_csv(tmp_path / 'no.csv'))


def table(path):
    return [row for _, row in iter_table(path, lambda names: None)]


@pytest.mark.parametrize(
    'content',
    [
        'clip,audio caption\na,b\n',
        '\ufeff"Clip"," Audio  Caption "\r\n"a","b"\r\n',
        'CLIP,AUDIO_CAPTION,,\na,b,,\n,,,\n',
        'clip,,audio_caption\na,,b\n',
        'clip,audio_caption\na,b,,,\n\n',
        'clip,audio_caption\ra,b',
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, content):
    assert table(write(tmp_path / 'x.csv', content)) == [
        dict(clip='a', audio_caption='b')
    ]


@pytest.mark.parametrize(
    ('content', 'line', 'reason'),
    [
        ('clip;caption\na;b\n', 1, 'separated by semicolons, save it with commas'),
        ('clip\tcaption\na\tb\n', 1, 'separated by tabs'),
        ('"clip,caption"\n"a,b"\n', 1, 'the whole row stands in quotes'),
        ('clip,caption,Clip\na,b,c\n', 1, "'clip' is there twice"),
        (',clip\n0,a\n', 2, "column 1 has no name, but holds '0'"),
        ('clip,,\na,,x\n', 2, '1 columns expected, 3 found'),
        ('clip,caption\na\n', 2, '2 columns expected, 1 found'),
        ('clip,caption\na;b\n', 2, 'separated by semicolons'),
        ('clip,caption\na,b,c\n', 2, '2 columns expected, 3 found; .* in quotes'),
    ],
)
def test_tables_that_are_none(tmp_path, content, line, reason):
    path = write(tmp_path / 'x.csv', content)
    with pytest.raises(ManifestError, match=rf'x.csv:{line}: .*{reason}'):
        table(path)


def test_json_lines_keep_their_separators(tmp_path):
    rows = [dict(a='x\u2028y\x85z'), dict(a='b')]
    text = '\n'.join(json.dumps(row, ensure_ascii=False) for row in rows)
    path = write(tmp_path / 'x.jsonl', text)
    assert [json.loads(line) for _, line in iter_lines(path)] == rows


@pytest.mark.parametrize(
    'text', ['{"a": 1, "b": 2, "a": 1}', '[{"c": {"a": 1, "a": 2}}]']
)
def test_json_that_says_something_twice(tmp_path, text):
    with pytest.raises(ManifestError, match="'a' is there twice"):
        read_json(write(tmp_path / 'a.json', text))


def test_a_message_quotes_no_more_than_fits():
    message = r'^a.csv:3: x+ \.\.\. x+$'
    with pytest.raises(ManifestError, match=message) as caught, located('a.csv:3'):
        raise ValueError('x' * 100_000)
    assert len(str(caught.value)) < 500
