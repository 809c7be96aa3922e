"""The page and the notebook "Train on your own clips", with clips made here."""

import csv
import json
import shlex
from pathlib import Path

import pytest
from documents import ROOT, Block, blocks_of
from media_files import write_clip

from coavt_mm.cli.main import main
from coavt_mm.finetuning import run

PAGE, NOTEBOOK = ROOT / 'docs/own_clips.md', ROOT / 'docs/own_clips.ipynb'


def _lines(block: Block) -> list[list[str]]:
    return [shlex.split(line) for line in block.text.splitlines()]


@pytest.fixture
def here(tmp_path, monkeypatch, checkpoint):
    """A folder of clips, a spreadsheet and a checkpoint, as on the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, 'run_command', lambda *words: main(words))
    Path('checkpoint.pth').symlink_to(checkpoint)
    with open('captions.csv', 'w', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(['clip', 'caption'])
        for i in range(20):
            write_clip(f'my_clips/{i}.mp4', seconds=1, frequency=200 + 30 * i)
            rows.writerow([f'{i}.mp4', f'the dog number {i} barks'])
    return tmp_path


@pytest.mark.slow
def test_the_commands_of_the_page(here, capsys):
    """In their order, of four steps."""
    commands = [
        words
        for block in blocks_of(PAGE)
        if block.language == 'shell' and '\n' in block.text
        for words in _lines(block)
    ]
    assert [words[1] for words in commands] == [
        'finetune', 'retrieve', 'caption', 'finetune',
    ]  # fmt: skip
    for program, *words in commands:
        assert program == 'coavt'
        short = ['--steps', '4', '--workers', '0'] if words[0] == 'finetune' else []
        main([*words, *short])
    said = capsys.readouterr().out
    assert 'Train with\n  coavt train coavt_mm::coavt/finetune_own.py' in said
    out = Path('work_dirs/finetune_my_clips')
    for name in ('report.html', 'checkpoint.pth', 'data/report.md', 'before', 'after'):
        assert (out / name).exists()


def test_the_notebook_shows_what_it_gives():
    notebook = json.loads(NOTEBOOK.read_text('utf-8'))
    cells = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    outputs = [output for cell in cells for output in cell['outputs']]
    assert len(cells) >= 4
    assert any('image/png' in output.get('data', {}) for output in outputs)
    assert NOTEBOOK.stat().st_size < 1_000_000


@pytest.mark.slow
def test_the_notebook(here):
    """Its cells in order, with few clips and steps."""
    names: dict = {}
    notebook = json.loads(NOTEBOOK.read_text('utf-8'))
    for number, cell in enumerate(notebook['cells']):
        if cell['cell_type'] == 'code':
            source = ''.join(cell['source'])
            source = source.replace('steps = 120', 'steps = 4')
            source = source.replace('number = 120', 'number = 20')
            code = compile(source, f'own_clips.ipynb, cell {number}', 'exec')
            exec(code, names)
    assert names['page'].is_file()
