import csv
import json
import os
import runpy
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from coavt_mm.analysis.results import find_results, markdown_tables, read_rows
from coavt_mm.errors import CoAVTError

TOOL = Path(__file__).parents[2] / 'tools/analysis/collect_results.py'
ABOUT = dict(protocol='toy', manifest='m.jsonl', manifest_hash='12ab', missing=None)
RETRIEVAL = dict(
    metric='retrieval',
    **ABOUT,
    clips=7,
    checkpoint='work_dirs/one/iter_7.pth',
    streams={'AV': {'gallery': 7, 'captions': 9}},
    ceilings={'AV': {'R@1': 100.0}},
    matching_accuracy=0.5,
    matching_accuracy_parts={'positive': 0.25},
    note=None,
    text_to_clip={'AV': {'R@1': 50.0, 'MedR': 1.5}, 'A': {'R@1': 100 / 3, 'MedR': 2.0}},
)
CLASSIFICATION = dict(
    metric='classification',
    **ABOUT,
    clips=5,
    mAP=0.25,
    good=True,
    classes=['a', 'b'],
    per_class_ap={f'class {i}': i / 30 for i in range(30)},
)


@pytest.fixture
def folder(tmp_path):
    for path, value in {
        'one/retrieval.json': RETRIEVAL,
        'two/deep/classification.json': CLASSIFICATION,
        'two/settings.json': {'size': 96},
        'two/list.json': [1, 2],
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(value))
    (tmp_path / 'one/scalars.json').write_text('{"a": 1}\n{"a": 2}\n')  # mmengine's
    return tmp_path


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['collect_results.py', *map(str, args)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_files_that_name_their_metric_are_found(folder):
    found, others = find_results([folder / 'one', folder / 'two', folder / 'one'])
    assert [path.name for path in found] == ['retrieval.json', 'classification.json']
    assert {path.name for path in others} == {
        'settings.json',
        'list.json',
        'scalars.json',
    }


def test_files_of_other_kinds_are_left_out(folder):
    bad = [
        b'{"metric": "\xfc"}',
        b'[' * 200_000,
        b'{"metric": ["x"]}',
        b'{"metric": 5}',
    ]
    for number, content in enumerate(bad):
        (folder / f'two/bad{number}.json').write_bytes(content)
    marked = b'\xef\xbb\xbf' + json.dumps(RETRIEVAL).encode()
    (folder / 'two/marked.json').write_bytes(marked)
    found, others = find_results([folder / 'two'])
    assert [path.name for path in found] == ['classification.json', 'marked.json']
    assert len(others) == 2 + len(bad)


def test_numbers_side_by_side_make_a_row(folder):
    rows = read_rows(folder / 'one/retrieval.json')
    assert [(row.part, row.numbers) for row in rows] == [
        ('', {'matching_accuracy': 0.5}),
        ('text_to_clip/AV', {'R@1': 50.0, 'MedR': 1.5}),
        ('text_to_clip/A', {'R@1': 100 / 3, 'MedR': 2.0}),
    ]
    rows = read_rows(folder / 'two/deep/classification.json')
    assert rows[0].part == '' and rows[0].numbers == {'mAP': 0.25}
    assert len(rows[1].numbers) == 30


def test_tables_have_one_section_a_metric_and_no_lists_by_class(folder):
    found, _ = find_results([folder])
    for path in found:
        os.utime(
            path, (0, datetime(2026, 11, 27, 0, 5, tzinfo=timezone.utc).timestamp())
        )
    page = markdown_tables([row for path in found for row in read_rows(path)])
    assert page.count('## ') == 2
    assert '| text_to_clip/A  | 33.333 | 2    |' in page
    assert 'class 3' not in page
    start = (
        f'| {folder}/one | toy      | 7     | work_dirs/one/iter_7.pth | 2026-11-27 |'
    )
    assert page.count(start) == 3 and ' - ' not in page
    assert f'{start} text_to_clip/A  | 33.333 | 2    |' in page
    assert 'missing' not in page  # no file says


def test_tool_writes_page_and_csv(folder, monkeypatch, capsys):
    page, table = folder / 'out/results.md', folder / 'out/results.csv'
    run(monkeypatch, folder, '--out', page, '--csv', table)
    assert page.read_text().startswith('# Results\n\n## retrieval')
    assert '2 files of results; 3 other' in capsys.readouterr().err
    with open(table, newline='') as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 5 + 1 + 30
    third = next(x for x in lines if x['part'] == 'text_to_clip/A')
    assert float(third['value']) == 100 / 3  # unrounded
    assert (third['metric'], third['clips'], third['missing']) == ('retrieval', '7', '')


def test_tool_shows_chosen_metrics(folder, monkeypatch, capsys):
    run(monkeypatch, folder, '--metrics', 'retrieval')
    assert 'mAP' not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run(monkeypatch, folder, '--metrics', 'retreival')
    assert 'there are classification, retrieval' in capsys.readouterr().err


def test_nothing_to_gather_is_an_error(folder):
    with pytest.raises(CoAVTError, match='no such folder'):
        find_results([folder / 'three'])
    with pytest.raises(CoAVTError, match='names its metric'):
        find_results([folder / 'two/settings.json'])
