import json
import logging
import re

import pytest
from media_files import write_rows

from coavt_mm.datasets import AVTDataset, manifest
from coavt_mm.datasets.manifest import (
    content_hash,
    find_manifest,
    iter_manifest,
    leave_out,
    parse_row,
    read_sidecar,
    write_manifest,
)
from coavt_mm.errors import DatasetMissingError, ManifestError


def test_a_full_row():
    row = parse_row(
        {
            'id': 'x',
            'clip': 'c/a.mp4',
            'audio': 'w/a.flac',
            'start': 1,
            'end': 2.5,
            'captions': ['A dog.'],
            'audio_captions': ['Barking.'],
            'visual_captions': [],
            'labels': ['dog'],
        },
        '/corpus',
    )
    assert row == {
        'sample_id': 'x',
        'clip_path': '/corpus/c/a.mp4',
        'audio_path': '/corpus/w/a.flac',
        'start': 1.0,
        'end': 2.5,
        'captions': ['A dog.'],
        'audio_captions': ['Barking.'],
        'visual_captions': [],
        'labels': ['dog'],
    }


def test_defaults():
    row = parse_row({'clip': 'c/a.mp4', 'start': 30, 'audio': None})
    assert row['sample_id'] == 'a_30' and row['audio_path'] == 'c/a.mp4'
    assert row['end'] is None and row['captions'] == [] and row['labels'] == []
    sound = parse_row({'audio': '/abs/b.wav', 'clip': None}, '/corpus')
    assert sound['sample_id'] == 'b' and sound['clip_path'] is None
    assert sound['audio_path'] == '/abs/b.wav'


@pytest.mark.parametrize(
    'line, reason',
    [
        ('{"clip": "a.mp4"', 'delimiter'),
        ('[1]', 'JSON object'),
        ('{"captions": ["x"]}', "neither 'clip' nor 'audio'"),
        ('{"clip": 5}', "'clip' must be a string"),
        ('{"clip": ""}', "'clip' must be a string"),
        ('{"clip": "a", "start": "3"}', "'start' must be a number"),
        ('{"clip": "a", "start": true}', "'start' must be a number"),
        ('{"clip": "a", "start": -1}', "'start' must be 0 s or later"),
        ('{"clip": "a", "end": NaN}', "'end' must be 0 s or later"),
        ('{"clip": "a", "start": 3, "end": 3}', "'end' .3 s. must lie behind"),
        ('{"clip": "a", "captions": "x"}', "'captions' must be a list"),
        ('{"clip": "a", "captions": ["x", 3]}', "'captions' must be a list"),
        ('{"clip": "a", "labels": [" "]}', "'labels' must be a list of non-empty"),
        ('{"clip": "a", "caption": ["x"]}', "unknown key 'caption'.*'captions'"),
        ('{"clip": "x/good.mp4"}', "id 'good' is also that of line 1"),
        ('{"clip": "a", "start": 1e15}', "'start' must be 0 s or later and below 1e"),
        ('{"clip": "a", "end": 1' + '0' * 400 + '}', "'end' must be 0 s or later"),
        ('{"clip": "a", "start": 1' + '0' * 5000 + '}', 'integer string conversion'),
        ('{"clip": "a\\u0000.mp4"}', "'clip' holds NUL or half a character"),
        ('{"clip": "a\\ud800.mp4"}', "'clip' holds NUL or half a character"),
        ('{"audio": "a\\udce4.wav"}', "'audio' holds NUL or half a character"),
        ('{"clip": "a", "captions": ["\\ud800"]}', "'captions' holds NUL or half"),
        ('{"id": "\\ud800", "clip": "a"}', "'id' holds NUL or half"),
        ('[' * 200_000, 'nested too deep'),
    ],
)
def test_bad_rows_are_named(tmp_path, line, reason):
    path = tmp_path / 'm.jsonl'
    path.write_text('{"clip": "good.mp4"}\n\n' + line + '\n')
    with pytest.raises(ManifestError, match=rf'm\.jsonl:3: .*{reason}'):
        list(iter_manifest(path))


def test_a_missing_manifest_says_what_to_do(tmp_path):
    with pytest.raises(DatasetMissingError) as caught:
        find_manifest(tmp_path / 'no.jsonl', 'run tools/x.py')
    message = str(caught.value)
    assert '\n' not in message and 'run tools/x.py' in message
    assert str(tmp_path / 'no.jsonl') in message


def test_the_hash_follows_the_content(tmp_path):
    first = write_rows(tmp_path / 'a.jsonl', [{'clip': 'a'}])
    same = write_rows(tmp_path / 'b.jsonl', [{'clip': 'a'}])
    other = write_rows(tmp_path / 'c.jsonl', [{'clip': 'b'}])
    assert content_hash(first) == content_hash(same) != content_hash(other)
    assert len(content_hash(first)) == 12


def test_sidecar(tmp_path):
    path = tmp_path / 'a.jsonl'
    assert read_sidecar(path) == {}
    beside = tmp_path / 'a.meta.json'
    beside.write_text(json.dumps({'protocol': 'p', 'missing': 3}))
    assert read_sidecar(path) == {'protocol': 'p', 'missing': 3}
    beside.write_text('{"mising": 3}')
    with pytest.raises(ManifestError, match="a.meta.json: .*'mising'.*'missing'"):
        read_sidecar(path)


@pytest.mark.parametrize(
    'content',
    [
        '5', 'null', '["protocol"]', '[[1]]', '{"classes": 5}', '{"classes": "abc"}',
        '{"classes": ["a", 1]}', '{"classes": [" "]}', '{"missing": "x"}',
        '{"missing": -1}', '{"missing": true}', '{"protocol": {}}', '{"ceilings": 5}',
        '{"hash": 1}', '[' * 200_000, '{"\\ud800": 1}',
    ],
)  # fmt: skip
def test_sidecars_of_other_kinds(tmp_path, content):
    (tmp_path / 'a.meta.json').write_text(content)
    with pytest.raises(ManifestError, match='a.meta.json: ') as caught:
        read_sidecar(tmp_path / 'a.jsonl')
    assert len(str(caught.value).encode()) < 200 + len(str(tmp_path))


def test_manifests_as_other_programs_write_them(tmp_path):
    path, row = tmp_path / 'm.jsonl', '{"clip": "ü.mp4", "captions": ["Ü"]}'
    path.write_bytes(f'\ufeff{row}\r\n\r\n'.encode())
    (tmp_path / 'm.meta.json').write_text('\ufeff{"protocol": "ü"}', 'utf-8')
    assert [r['sample_id'] for r in iter_manifest(path)] == ['ü']
    assert read_sidecar(path) == dict(protocol='ü')
    path.write_bytes(f'{{"clip": "a"}}\n{row}\n'.encode('latin-1'))
    with pytest.raises(ManifestError, match='m.jsonl:2: no UTF-8 text .byte 0xfc'):
        list(iter_manifest(path))


def test_spans_with_one_start_and_other_ends(tmp_path):
    spans = [(30, 40), (30, 50), (None, None), (None, 5), (12345.67, 9e4)]
    rows = [
        {'clip': 'a.mp4', **{k: t for k, t in (('start', s), ('end', e)) if t}}
        for s, e in spans
    ]
    path = write_rows(tmp_path / 'm.jsonl', [*rows, dict(rows[-1], end=91e3)])
    assert [row['sample_id'] for row in iter_manifest(path)] == [
        'a_30', 'a_30_50', 'a', 'a_0_5', 'a_12345.7', 'a_12345.67_91000'
    ]  # fmt: skip


@pytest.fixture
def logged(monkeypatch):
    """What `leave_out` logs: (level, message)."""
    lines = []
    monkeypatch.setattr(
        manifest, 'print_log', lambda text, logger, level: lines.append((level, text))
    )
    return lines


@pytest.mark.parametrize(
    ('text', 'kept', 'level', 'message'),
    [
        ('a\n# note\nb', ['c'], logging.INFO, '2 of its 2 ids are in m.jsonl'),
        ('\ufeffa\r\nb\r\n', ['c'], logging.INFO, '2 of its 2'),
        ('a\nx', ['b', 'c'], logging.WARNING, "1 of its 2 .* 1 are not, such as 'x'"),
        ('A', ['a', 'b', 'c'], logging.WARNING, "0 of its 1 .*'A' .it has 'a'"),
        ('', ['a', 'b', 'c'], logging.WARNING, '0 of its 0'),
    ],
)
def test_an_exclusion_list_says_what_it_did(
    tmp_path, logged, text, kept, level, message
):
    (tmp_path / 'l.txt').write_text(text, encoding='utf-8', newline='')
    rows = [dict(sample_id=name) for name in 'abc']
    left = leave_out(rows, [tmp_path / 'l.txt'], 'm.jsonl')
    assert [row['sample_id'] for row in left] == kept
    assert len(logged) == 1 and logged[0][0] == level
    assert re.search(message, logged[0][1])


def test_a_manifest_that_was_cut_between_rows(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'coavt_mm.datasets.dataset.print_log', lambda text, **_: lines.append(text)
    )
    path = tmp_path / 'm.jsonl'
    write_manifest(path, [dict(id=str(i), clip='a.mp4') for i in range(3)], {})
    AVTDataset(str(path)).full_init()
    assert not lines
    path.write_text(''.join(path.read_text().splitlines(keepends=True)[:2]))
    AVTDataset(str(path)).full_init()
    assert len(lines) == 1 and '2 rows, its .meta.json says 3' in lines[0]
