"""search.md runs as it is written, beside the demo's files."""

import os
import re
import shlex
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from coavt_mm.checkpoints import config_to_json, save_weights
from coavt_mm.cli.main import main as coavt
from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.registry import MODELS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/search.md').read_text(encoding='utf-8')
CHECKPOINT = 'work_dirs/demo/checkpoint.pth'
NOT_HERE = ('long', 'postgresql:')  # glued clips, which take a minute; a server


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder like the repository after the demo, but with an untrained model."""
    monkeypatch.chdir(tmp_path)
    make_sounding_shapes('data/sounding_shapes', Settings(1, 6, 0))
    os.symlink(ROOT / 'configs', 'configs')
    cfg = Config.fromfile('configs/coavt/pretrain_demo.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    save_weights(model.state_dict(), CHECKPOINT, config=config_to_json(cfg, model))
    Path('labels.csv').write_text('clip,label\ntest_000000.mp4,bell\n')


def test_every_command_and_the_python_of_the_page(place, capsys):
    lines = [line for block in blocks('shell') for line in block.splitlines()]
    lines += re.findall(r'`(coavt search [^`\n]+ [^`\n]+)`', PAGE)
    chosen = [
        line
        for line in lines
        if line.startswith('coavt search') and not any(x in line for x in NOT_HERE)
    ]
    assert len(chosen) >= 13
    for line in chosen:
        coavt(shlex.split(line)[1:])
        assert capsys.readouterr().out.strip(), line
    for block in blocks('python'):
        exec(compile(block, 'search.md', 'exec'), {})
    assert len(capsys.readouterr().out.splitlines()) == 3
