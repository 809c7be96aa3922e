"""Weights averaged over epochs, against means by hand."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook

from coavt_mm.engine.running import build_runner
from coavt_mm.engine.weights import EpochAverageHook
from coavt_mm.errors import ConfigError


class Keeper(Hook):
    """Remembers the weights trained in each epoch, and those that validation sees."""

    priority = 'LOWEST'

    def __init__(self):
        self.trained, self.seen = [], []

    def after_train_epoch(self, runner):
        self.trained.append(weights(runner.model.state_dict()))

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            self.seen.append(weights(runner.model.state_dict()))


def weights(state):
    return torch.cat([value.flatten().clone() for value in state.values()])


@pytest.fixture
def epochs_cfg(toy_cfg):
    """A toy run by epochs that averages some of them."""

    def make(max_epochs, begin, end=None, **options):
        cfg = toy_cfg(**options)
        cfg.train_cfg = ConfigDict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
        cfg.train_dataloader.sampler.type = 'EpochSampler'
        cfg.param_scheduler = []
        cfg.default_hooks.checkpoint = ConfigDict(type='CheckpointHook', interval=1)
        average = dict(type='EpochAverageHook', begin=begin)
        cfg.custom_hooks = [
            ConfigDict(type='IterationSeedHook'),
            ConfigDict(average if end is None else dict(average, end=end)),
        ]
        return cfg

    return make


def train(cfg):
    runner, keeper = build_runner(cfg), Keeper()
    runner.register_hook(keeper)
    runner.train()
    return runner, keeper


def saved(cfg, epoch, key='state_dict'):
    path = f'{cfg.work_dir}/epoch_{epoch}.pth'
    return weights(torch.load(path, weights_only=False)[key])


def test_means_by_hand(epochs_cfg):
    cfg = epochs_cfg(5, begin=2, end=4)
    _, keeper = train(cfg)
    trained = keeper.trained
    assert not torch.allclose(trained[1], trained[2])
    means = [trained[0], trained[1], sum(trained[1:3]) / 2]
    means += 2 * [sum(trained[1:4]) / 3]  # epoch 5 counts no more
    for epoch, expected in enumerate(means, 1):
        torch.testing.assert_close(keeper.seen[epoch - 1], expected)
        torch.testing.assert_close(saved(cfg, epoch), expected)


def test_a_resumed_run_equals_an_unbroken_one(epochs_cfg, tmp_path):
    _, keeper = train(epochs_cfg(4, begin=2))
    broken = epochs_cfg(3, begin=2)
    broken.work_dir = str(tmp_path / 'broken')
    train(broken)
    resumed = epochs_cfg(4, begin=2)
    resumed.work_dir, resumed.resume = broken.work_dir, True
    _, rest = train(resumed)
    assert len(rest.trained) == 1
    assert torch.equal(rest.trained[0], keeper.trained[3])
    torch.testing.assert_close(saved(resumed, 4), sum(keeper.trained[1:]) / 3)


def test_a_checkpoint_tests_as_the_mean(epochs_cfg):
    cfg = epochs_cfg(2, begin=1)
    _, keeper = train(cfg)
    cfg.load_from = f'{cfg.work_dir}/epoch_2.pth'
    cfg.experiment_name += 'test'
    runner = build_runner(cfg)
    runner.test()
    mean = sum(keeper.trained) / 2
    torch.testing.assert_close(weights(runner.model.state_dict()), mean)


@pytest.mark.parametrize(('begin', 'end'), [(0, 2), (3, 2)])
def test_spans_that_are_none(begin, end):
    with pytest.raises(ConfigError, match='no span'):
        EpochAverageHook(begin, end)


def test_spans_and_runs_that_do_not_fit(epochs_cfg, toy_cfg):
    with pytest.raises(ConfigError, match='epoch 4 lies behind the last one, 3'):
        train(epochs_cfg(3, begin=2, end=4))
    cfg = toy_cfg(custom_hooks=[ConfigDict(type='EpochAverageHook')])
    with pytest.raises(ConfigError, match='ResumableIterLoop'):
        build_runner(cfg).train()
