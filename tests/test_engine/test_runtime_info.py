"""Logged values are read when they are logged, and are those that mmengine logs."""

import pytest
import torch
from waits import Waits

from coavt_mm.engine.running import build_runner


def history(runner):
    scalars = runner.message_hub.log_scalars
    return {name: scalars[name].data for name in scalars if 'time' not in name}


@pytest.mark.parametrize('interval', [1, 3, 50])
def test_values_are_those_of_every_step(toy_cfg, interval):
    runners = []
    for kind in ('mmengine.RuntimeInfoHook', 'coavt_mm.RuntimeInfoHook'):
        cfg = toy_cfg(train_cfg__max_iters=7)
        cfg.default_hooks.runtime_info = dict(type=kind)
        cfg.default_hooks.logger = dict(type='LoggerHook', interval=interval)
        runners.append(build_runner(cfg))
        runners[-1].train()
    theirs, ours = map(history, runners)
    assert theirs.keys() == ours.keys() and 'train/loss' in ours
    for name, (values, counts) in theirs.items():
        assert ours[name][0] == pytest.approx(values, rel=1e-6)
        assert ours[name][1].tolist() == counts.tolist()


def test_nothing_is_read_between(toy_cfg):
    cfg = toy_cfg(train_cfg__max_iters=9)
    cfg.default_hooks.runtime_info = dict(type='coavt_mm.RuntimeInfoHook')
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=3)
    runner = build_runner(cfg)
    (hook,) = [h for h in runner.hooks if type(h).__name__ == 'RuntimeInfoHook']
    runner.train()
    for step in range(3):
        with Waits() as waits:
            outputs = dict(loss=torch.tensor(1.0), other=torch.tensor(2.0))
            hook.after_train_iter(runner, step, outputs=outputs)
        assert waits.found == []
    assert runner.message_hub.get_scalar('train/other').current() == 2.0


def test_a_checkpoint_between_two_lines_of_the_log_has_all_values(toy_cfg):
    cfg = toy_cfg(train_cfg__max_iters=7)
    cfg.default_hooks.runtime_info = dict(type='coavt_mm.RuntimeInfoHook')
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=50)
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=4
    )
    runner = build_runner(cfg)
    runner.train()
    saved = torch.load(f'{cfg.work_dir}/iter_4.pth', weights_only=False)
    log = saved['message_hub']['log_scalars']['train/loss']
    assert len(log['values']) == 4
