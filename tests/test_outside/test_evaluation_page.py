"""evaluation.md runs as it is written, beside the demo's files."""

import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from coavt_mm.checkpoints import config_to_json, save_weights
from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.registry import MODELS

pytestmark = pytest.mark.slow
pytest.importorskip('mteb', reason='the extra mteb is not installed')

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/evaluation.md').read_text(encoding='utf-8')
CHECKPOINT = 'work_dirs/demo/checkpoint.pth'


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder like the repository after the demo, but with an untrained model."""
    monkeypatch.chdir(tmp_path)
    make_sounding_shapes('data/sounding_shapes', Settings(1, 4, 0))
    cfg = Config.fromfile(ROOT / 'configs/coavt/pretrain_demo.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    save_weights(model.state_dict(), CHECKPOINT, config=config_to_json(cfg, model))
    os.symlink(ROOT / 'tools', 'tools')


def test_commands_and_python_of_the_page(place, capsys, monkeypatch):
    """All blocks that name what the demo leaves, in order."""
    found = re.findall(r'^```(\w+)\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
    blocks = [(kind, code) for kind, code in found if 'work_dirs/demo/' in code]
    assert [kind for kind, _ in blocks] == ['shell', 'python', 'shell', 'python']
    for kind, code in blocks:
        if kind == 'python':
            exec(compile(code, 'evaluation.md', 'exec'), {})
        else:
            _, script, *words = shlex.split(code)
            monkeypatch.setattr(sys, 'argv', [script, *words])
            runpy.run_path(script, run_name='__main__')
        assert capsys.readouterr().out.strip(), code
