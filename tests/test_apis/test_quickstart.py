"""Pages on a trained model (quickstart.md, its notebook, tasks.md, README.md's Python)
run as they are written."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from coavt_mm.checkpoints import config_to_json, save_weights
from coavt_mm.cli import infer as command
from coavt_mm.cli.main import main as coavt_command
from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.errors import CheckpointError
from coavt_mm.registry import MODELS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'quickstart.md').read_text(encoding='utf-8')
CHECKPOINT = 'work_dirs/demo/checkpoint.pth'
CLIP = 'data/sounding_shapes/clips/test_000000.mp4'


def blocks(language, page=PAGE):
    return re.findall(rf'^```{language}\n(.*?)^```', page, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder like the repository after the demo, but with an untrained model."""
    root = tmp_path_factory.mktemp('place')
    make_sounding_shapes(root / 'data/sounding_shapes', Settings(1, 6, 0))
    (root / 'configs').symlink_to(ROOT / 'configs')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        cfg = Config.fromfile('configs/coavt/pretrain_demo.py')
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        save_weights(model.state_dict(), CHECKPOINT, config=config_to_json(cfg, model))
    return root


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)


def run_line(line, monkeypatch):
    words = shlex.split(line)
    if words[0] == 'coavt':
        coavt_command(words[1:])
        return
    assert words[0] == 'python'
    monkeypatch.setattr(sys, 'argv', words[1:])
    runpy.run_path(str(ROOT / words[1]), run_name='__main__')


def test_every_command_of_the_page(here, monkeypatch, capsys):
    lines = [line for block in blocks('shell') for line in block.splitlines() if line]
    tasks = [line.split()[1] for line in lines if line.startswith('coavt ')]
    assert set(command.TASKS) < set(tasks)
    for line in lines:
        run_line(line, monkeypatch)
        printed = capsys.readouterr()
        assert printed.out.strip(), line
        assert 'does not know' not in printed.err, line  # words of the demo
    assert Path('work_dirs/demo/whole.safetensors').is_file()
    command.main(['caption', 'work_dirs/demo/whole.safetensors', CLIP])
    assert capsys.readouterr().out.startswith(f'{CLIP} [0.0-2.6 s, AV]')


def test_every_python_block_of_the_page(here, capsys):
    names = {}
    for block in blocks('python'):
        exec(compile(block, 'docs/quickstart.md', 'exec'), names)
    printed = capsys.readouterr().out
    assert "['AV', 'A', 'V']" in printed
    assert list(Path('work_dirs/pictures').glob('*.png'))


def test_every_python_block_of_tasks(here, capsys):
    names = {}
    for block in blocks('python', (ROOT / 'docs/tasks.md').read_text('utf-8')):
        exec(compile(block, 'docs/tasks.md', 'exec'), names)
    assert "{'label':" in capsys.readouterr().out


def test_the_python_of_the_landing_page(here, capsys):
    page = (ROOT / 'README.md').read_text(encoding='utf-8')
    (block,) = [block for block in blocks('python', page) if CHECKPOINT in block]
    exec(compile(block, 'README.md', 'exec'), {})
    assert re.search(r'^1 test_\d+ -?[01]\.\d+', capsys.readouterr().out, re.MULTILINE)


def notebook_of(page):
    return json.loads((ROOT / 'docs' / page).read_text('utf-8'))


def test_the_notebook_shows_what_it_gives():
    path, notebook = ROOT / 'docs/quickstart.ipynb', notebook_of('quickstart.ipynb')
    outputs = [
        output
        for cell in notebook['cells']
        if cell['cell_type'] == 'code'
        for output in cell['outputs'] or pytest.fail(f'no output: {cell["source"]}')
    ]
    assert sum('image/png' in output.get('data', {}) for output in outputs) == 3
    assert path.stat().st_size < 1_000_000
    text = path.read_text('utf-8')
    assert not re.search(r'[\'" ]/(home|root|tmp|work|Users)/|Traceback', text)


def test_the_notebook(here):
    """Its cells in order, in one name space."""
    notebook = notebook_of('quickstart.ipynb')
    names = {}
    for number, cell in enumerate(notebook['cells']):
        if cell['cell_type'] == 'code':
            source = ''.join(cell['source'])
            exec(compile(source, f'quickstart.ipynb, cell {number}', 'exec'), names)
    assert names['table'].shape == (6, 6)
    assert Path('work_dirs/pictures/table.png').is_file()


def test_a_user_error_is_one_line(here, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_line('python tools/infer.py caption gone.pth x.mp4', monkeypatch)
    error = capsys.readouterr().err
    assert error.startswith('Error: gone.pth') and error.count('\n') == 1
    with pytest.raises(CheckpointError):
        command.main(['caption', 'gone.pth', 'x.mp4'])


def test_a_config_that_is_not_of_the_weights_is_refused(here, monkeypatch, capsys):
    Path('work_dirs/two_queries.py').write_text(
        f"_base_ = '{Path('configs/coavt/pretrain_demo.py').resolve()}'\n"
        'model = dict(query_encoder=dict(num_queries=2))\n'
    )
    line = (
        f'python tools/converters/own.py work_dirs/x.pth {CHECKPOINT} --config '
        'work_dirs/two_queries.py'
    )
    with pytest.raises(SystemExit):
        run_line(line, monkeypatch)
    assert 'do not fit' in capsys.readouterr().err
    assert not Path('work_dirs/x.pth').exists()
