import json

import pytest
from media_files import write_rows

from coavt_mm.datasets.manifest import (
    content_hash,
    find_manifest,
    iter_manifest,
    parse_row,
    read_list,
    read_sidecar,
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


def test_lists(tmp_path):
    (tmp_path / 'l.txt').write_text('# ids\na b\n\n c \n', encoding='utf-8')
    assert read_list(tmp_path / 'l.txt') == ['a b', 'c']
    with pytest.raises(DatasetMissingError, match='no.txt'):
        read_list(tmp_path / 'no.txt')
