"""Configs of the toy run."""

import copy
import uuid

import pytest
from mmengine.config import Config

CONFIG = """
custom_imports = dict(imports=['toy_parts'])
default_scope = 'coavt_mm'
randomness = dict(seed=3)
model = dict(type='ToyModel', width=4)
train_pipeline = [dict(type='mmaction.CenterCrop', crop_size=8)]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    dataset=dict(type='ToyDataset', size=10),
    sampler=dict(type='ResumableSampler'))
val_dataloader = dict(
    batch_size=3,
    num_workers=0,
    dataset=dict(type='ToyDataset', size=7),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = [dict(type='ToyMetric')]
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
train_cfg = dict(type='ResumableIterLoop', max_iters=7, val_interval=3)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, T_max=7)]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4))
log_processor = dict(by_epoch=False)
custom_hooks = [
    dict(type='IterationSeedHook'),
    dict(type='ShareModelHook'),
    dict(type='EMAHook', momentum=0.1)]
log_level = 'WARNING'
"""


@pytest.fixture(scope='session')
def toy_config(tmp_path_factory) -> str:
    """Path of the toy config."""
    path = tmp_path_factory.mktemp('configs') / 'toy.py'
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def toy_cfg(toy_config, tmp_path):
    """A function that gives a fresh toy config with options merged into it."""
    loaded = Config.fromfile(toy_config)

    def make(**options):
        cfg = copy.deepcopy(loaded)
        cfg.work_dir = str(tmp_path / 'run')
        cfg.experiment_name = uuid.uuid4().hex
        cfg.merge_from_dict(
            {key.replace('__', '.'): value for key, value in options.items()}
        )
        return cfg

    return make
