"""A folder as a user of the projects has it: a few demo clips and a checkpoint."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.registry import MODELS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def workspace(tmp_path_factory):
    """The folder; its checkpoint has random weights."""
    root = tmp_path_factory.mktemp('workspace')
    settings = Settings(train_clips=8, test_clips=4, val_clips=4)
    make_sounding_shapes(root / 'data/sounding_shapes', settings, 1)
    cfg = Config.fromfile(ROOT / 'configs/coavt/pretrain_demo.py')
    torch.manual_seed(0)
    state = MODELS.build(cfg.model).state_dict()
    (root / 'work_dirs/demo').mkdir(parents=True)
    torch.save(dict(state_dict=state), root / 'work_dirs/demo/checkpoint.pth')
    return root


@pytest.fixture
def run(workspace, monkeypatch):
    """Runs a script in the workspace, in this process; it may set another scope."""

    def run(script, *arguments):
        monkeypatch.setattr(sys, 'argv', [str(script), *map(str, arguments)])
        runpy.run_path(str(ROOT / script), run_name='__main__')

    monkeypatch.chdir(workspace)
    yield run
    init_default_scope('coavt_mm')
