"""Each kind of file that is no clip, at the doors that read folders: a line each."""

import json
import os
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from coavt_mm.cli.infer import main as infer
from coavt_mm.errors import ClipError

PREPARE = Path(__file__).parents[2] / 'tools/data/prepare_folder.py'
BAD = (
    'truncated', 'truncated_index_first', 'truncated_mkv', 'zero_bytes', 'text',
    'noise',
)  # fmt: skip


@pytest.fixture
def folder(horrors, short, tmp_path):
    """One good clip, all kinds of bad ones, and what has only the name of one."""
    root = tmp_path / 'clips'
    root.mkdir()
    shutil.copy(short, root / 'good.mp4')
    for name in BAD:
        shutil.copy(horrors[name], root / f'{name}{horrors[name].suffix}')
    os.mkfifo(root / 'pipe.mp4')
    (root / 'loop.mp4').symlink_to('loop.mp4')
    (root / 'nowhere.mp4').symlink_to('gone')
    return root


def bad(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != 'good.mp4')


def test_infer_names_each_and_answers_the_good_one(folder, checkpoint, capsys):
    out = folder.parent / 'out.json'
    command = ['embed', str(checkpoint), str(folder), '--out', str(out)]
    with pytest.raises(ClipError, match='9 of 10 clips are without an answer'):
        infer([*command, '--device', 'cpu'])
    lines = capsys.readouterr().err.splitlines()
    named = [line for line in lines if line.startswith(str(folder))]
    assert sorted(Path(line.split(': ')[0]).name for line in named) == bad(folder)
    assert all(len(line.split(': ', 1)[1]) > 5 for line in named)


def test_prepare_folder_reports_each_and_keeps_the_good_one(
    folder, monkeypatch, tmp_path
):
    out = tmp_path / 'prepared'
    command = ['--clips', folder, '--out', out, '--min-seconds', 0.1, '--workers', 0]
    monkeypatch.setattr(sys, 'argv', [str(PREPARE), *map(str, command)])
    runpy.run_path(str(PREPARE), run_name='__main__')
    rows = [json.loads(line) for line in (out / 'all.jsonl').read_text().splitlines()]
    assert [row['id'] for row in rows] == ['good']
    (report,) = out.glob('*report*.json')
    problems = json.loads(report.read_text())['splits']['all']['problems']
    unreadable = problems['unreadable']
    assert sorted(unreadable) == sorted([*BAD, 'loop', 'nowhere', 'pipe'])
    assert all(reason and '\n' not in reason for reason in unreadable.values())
