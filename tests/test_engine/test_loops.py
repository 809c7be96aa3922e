import re

import pytest
import torch
from mmengine.runner import IterBasedTrainLoop

from coavt_mm.engine.launch import build_runner
from coavt_mm.errors import ConfigError


def train(cfg):
    from test_engine.toy_parts import ToyDataset

    ToyDataset.loaded.clear()
    runner = build_runner(cfg)
    runner.train()
    return runner


def states(runner):
    """Parameters of the model and of its moving average."""
    average = next(h for h in runner.hooks if hasattr(h, 'ema_model')).ema_model
    return {**runner.model.state_dict(), **average.state_dict()}


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('accumulate', [1, 2])
def test_resumed_run_equals_an_unbroken_one(toy_cfg, tmp_path, workers, accumulate):
    options = dict(
        train_dataloader__num_workers=workers,
        train_dataloader__persistent_workers=workers > 0,
        optim_wrapper__accumulative_counts=accumulate,
    )
    whole = states(train(toy_cfg(work_dir=str(tmp_path / 'whole'), **options)))
    cfg = toy_cfg(work_dir=str(tmp_path / 'whole'), **options)
    cfg.work_dir = str(tmp_path / 'resumed')
    cfg.resume, cfg.load_from = True, str(tmp_path / 'whole' / 'iter_4.pth')
    resumed = states(train(cfg))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_resume_loads_no_batch_twice(toy_cfg, tmp_path):
    from test_engine.toy_parts import ToyDataset

    train(toy_cfg(val_dataloader=None, val_cfg=None, val_evaluator=None))
    whole = list(ToyDataset.loaded)
    cfg = toy_cfg(val_dataloader=None, val_cfg=None, val_evaluator=None)
    cfg.resume, cfg.load_from = True, f'{cfg.work_dir}/iter_4.pth'
    train(cfg)
    assert len(whole) == 14
    assert ToyDataset.loaded == whole[8:]


def test_the_test_can_fail(toy_cfg):
    """Without the seed hook a resumed run draws other dropout masks."""
    hooks = [dict(type='EMAHook')]
    whole = states(train(toy_cfg(custom_hooks=hooks)))
    cfg = toy_cfg(custom_hooks=hooks)
    cfg.resume, cfg.load_from = True, f'{cfg.work_dir}/iter_4.pth'
    resumed = states(train(cfg))
    assert any(not torch.equal(whole[k], resumed[k]) for k in whole)


def test_resume_without_a_fixed_seed_takes_the_one_of_the_checkpoint(toy_cfg):
    whole = train(toy_cfg(randomness__seed=None))
    cfg = toy_cfg(randomness__seed=None)
    cfg.resume, cfg.load_from = True, f'{cfg.work_dir}/iter_4.pth'
    resumed = train(cfg)
    assert resumed.seed == whole.seed
    after, before = states(resumed), states(whole)
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_validates_at_the_interval_and_the_end(toy_cfg, monkeypatch):
    from test_engine.toy_parts import ToyMetric

    counts = []
    original = ToyMetric.compute_metrics
    monkeypatch.setattr(
        ToyMetric,
        'compute_metrics',
        lambda self, results: counts.append(len(results)) or original(self, results),
    )
    train(toy_cfg())
    assert counts == [7, 7, 7]  # after iterations 3, 6 and 7


def test_sampler_that_cannot_continue_is_refused(toy_cfg):
    cfg = toy_cfg()
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler')
    with pytest.raises(ConfigError, match=re.escape("type='ResumableSampler'")):
        train(cfg)


def test_is_a_loop_of_mmengine(toy_cfg):
    assert isinstance(train(toy_cfg()).train_loop, IterBasedTrainLoop)
