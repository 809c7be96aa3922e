import itertools
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader

from coavt_mm.datasets import (
    EpochSampler,
    ResumableSampler,
    ShardSampler,
    samplers,
)
from coavt_mm.engine import loops
from coavt_mm.engine.loops import compare_batches
from coavt_mm.engine.resuming import ResumeHook
from coavt_mm.engine.running import build_runner
from coavt_mm.errors import ConfigError


def train(cfg):
    from toy_parts import ToyDataset

    ToyDataset.loaded.clear()
    runner = build_runner(cfg)
    runner.train()
    return runner


def states(runner):
    """Parameters of the model and of its moving average."""
    average = next(h for h in runner.hooks if hasattr(h, 'ema_model')).ema_model
    return {**runner.model.state_dict(), **average.state_dict()}


@pytest.mark.slow
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
    from toy_parts import ToyDataset

    train(toy_cfg(val_dataloader=None, val_cfg=None, val_evaluator=None))
    whole = list(ToyDataset.loaded)
    cfg = toy_cfg(val_dataloader=None, val_cfg=None, val_evaluator=None)
    cfg.resume, cfg.load_from = True, f'{cfg.work_dir}/iter_4.pth'
    train(cfg)
    assert len(whole) == 14
    assert ToyDataset.loaded == whole[8:]


BARE = dict(
    val_dataloader=None,
    val_cfg=None,
    val_evaluator=None,
    custom_hooks=[dict(type='IterationSeedHook')],
)


@pytest.fixture
def warnings(monkeypatch):
    """What runs warn of."""
    lines = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, line: lines.append(line))
    return lines


@pytest.mark.parametrize('batch_size, seen', [(3, [8, 11, 14]), (1, [8, 9, 10])])
def test_resume_with_another_batch_size_goes_on_at_the_next_sample(
    toy_cfg, warnings, batch_size, seen
):
    from toy_parts import ToyDataset

    train(toy_cfg(**BARE))
    whole = list(ToyDataset.loaded)
    assert not warnings
    for first in (8, seen[1]):  # and once more, from the checkpoint of that run
        name = {8: 'iter_4.pth'}.get(first, 'iter_5.pth')
        cfg = toy_cfg(train_dataloader__batch_size=batch_size, **BARE)
        cfg.train_cfg.max_iters = 5 if first == 8 else 6
        cfg.resume, cfg.load_from = True, f'{cfg.work_dir}/{name}'
        train(cfg)
        assert ToyDataset.loaded == whole[first:][:batch_size]
    (line,) = warnings
    assert f'resumed with batches of {batch_size} clips in 1 processes' in line
    assert 'trained with 2 in 1' in line


def test_a_checkpoint_that_counts_no_samples_is_taken_to_have_equal_batches(
    toy_cfg, tmp_path, warnings
):
    from toy_parts import ToyDataset

    train(toy_cfg(**BARE))
    whole = list(ToyDataset.loaded)
    cfg = toy_cfg(**BARE)
    old = torch.load(f'{cfg.work_dir}/iter_4.pth', weights_only=False)
    for key in ('samples_seen', 'train_batches'):
        del old['message_hub']['runtime_info'][key]
    torch.save(old, tmp_path / 'old.pth')
    cfg.resume, cfg.load_from = True, str(tmp_path / 'old.pth')
    train(cfg)
    assert ToyDataset.loaded == whole[8:]
    assert (
        'does not say how many samples' in warnings[0] and 'go on at 8' in warnings[0]
    )


@pytest.mark.parametrize('kind', [ResumableSampler, ShardSampler])
@pytest.mark.parametrize('before, after', [(1, 2), (2, 1), (2, 3)])
def test_other_numbers_of_processes_go_on_at_the_next_sample(
    monkeypatch, kind, before, after
):
    def ranks(count, start, steps, batch):
        """What so many ranks see in so many steps, from a position on."""
        seen = []
        for rank in range(count):
            monkeypatch.setattr(samplers, 'get_dist_info', lambda r=rank: (r, count))
            stream = iter(kind(data, seed=5, start=start))
            seen.append(list(itertools.islice(stream, steps * batch)))
        return [sample for row in zip(*seen, strict=True) for sample in row]

    data = Rows(range(7))
    whole = ranks(1, 0, 24, 1)
    assert ranks(before, 0, 3, 2) == whole[: 6 * before]
    assert ranks(after, 6 * before, 2, 1) == whole[6 * before :][: 2 * after]


class Rows(list):
    """Seven rows in three shards."""

    shard_numbers = torch.tensor([0, 0, 0, 1, 1, 2, 2])


def test_another_number_of_clips_is_said(toy_cfg, warnings):
    train(toy_cfg(**BARE))
    cfg = toy_cfg(train_dataloader__dataset__size=12, **BARE)
    cfg.resume, cfg.load_from = True, f'{cfg.work_dir}/iter_4.pth'
    train(cfg)
    (line,) = warnings
    assert 'resumed with 12 clips; the checkpoint was trained with 10' in line


class Epochs:
    """What `compare_batches` asks of a runner between epochs."""

    def __init__(self, epoch, info):
        self.iter = self.epoch = epoch
        self.lines, self.info = [], info
        self.logger = SimpleNamespace(warning=self.lines.append)
        self.train_loop = None
        self.message_hub = SimpleNamespace(
            runtime_info=info, update_info=info.__setitem__
        )
        sampler = EpochSampler(range(7), seed=5)
        self.train_dataloader = DataLoader(range(7), batch_size=2, sampler=sampler)

    def epoch_of(self, epoch):
        self.train_dataloader.sampler.set_epoch(epoch)
        return list(self.train_dataloader.sampler)


def test_epochs_of_another_number_of_processes_go_on_at_the_next_sample(monkeypatch):
    def ranks(count):
        monkeypatch.setattr(samplers, 'get_dist_info', lambda: (0, count))
        monkeypatch.setattr(loops, 'get_world_size', lambda: count)

    stream = ResumableSampler(range(7), seed=5)
    draws = list(itertools.islice(iter(stream), 60))
    info = {}
    ranks(2)  # epochs of 8
    compare_batches(Epochs(0, info))
    ranks(1)  # of 7, after two of 8
    alone = Epochs(2, info)
    compare_batches(alone)
    compare_batches(alone)  # the loop's and the hook's call
    assert alone.epoch_of(2) == draws[16:23]
    assert len(alone.lines) == 1 and 'in 2. The data go on' in alone.lines[0]
    ranks(3)  # of 9, after one of 7
    three = Epochs(3, info)
    compare_batches(three)
    assert three.epoch_of(3) == draws[23:32:3]
    assert three.epoch_of(4) == draws[32:41:3]


def test_a_loop_that_replays_other_batches_is_said(monkeypatch):
    info = {}
    compare_batches(Epochs(0, info))
    monkeypatch.setattr(loops, 'get_world_size', lambda: 2)
    later = Epochs(2, info)
    later.train_loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    compare_batches(later)
    assert 'The data do not go on at the next sample' in later.lines[0]


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
    from toy_parts import ToyMetric

    counts = []
    original = ToyMetric.compute_metrics
    monkeypatch.setattr(
        ToyMetric,
        'compute_metrics',
        lambda self, results: counts.append(len(results)) or original(self, results),
    )
    train(toy_cfg())
    assert counts == [7, 7, 7]  # after iterations 3, 6 and 7


@pytest.mark.parametrize(('stopped', 'made_up'), [(3, True), (4, False), (7, True)])
def test_a_validation_that_was_due_when_a_run_was_stopped(
    toy_cfg, tmp_path, monkeypatch, stopped, made_up
):
    cfg = toy_cfg()
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
    train(cfg)
    cfg.resume, cfg.load_from = True, f'{cfg.work_dir}/iter_{stopped}.pth'
    runner = build_runner(cfg)
    runner.register_hook(ResumeHook())
    validated = []
    run = type(runner.val_loop).run
    monkeypatch.setattr(
        type(runner.val_loop),
        'run',
        lambda self: validated.append(runner.iter) or run(self),
    )
    runner.train()
    assert validated == [stopped] * made_up + [i for i in (3, 6, 7) if i > stopped]


def test_sampler_that_cannot_continue_is_refused(toy_cfg):
    cfg = toy_cfg()
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler')
    with pytest.raises(ConfigError, match=re.escape("type='ResumableSampler'")):
        train(cfg)


def test_is_a_loop_of_mmengine(toy_cfg):
    assert isinstance(train(toy_cfg()).train_loop, IterBasedTrainLoop)


def test_stages_that_nobody_would_carry_out_are_refused(toy_cfg):
    stages = [dict(epochs=1, streams=('A',))]
    cfg = toy_cfg(train_dataloader__sampler__curriculum=stages)
    with pytest.raises(ConfigError, match='needs default_hooks.curriculum.type'):
        build_runner(cfg).train()


def test_batches_after_a_resume_start_where_the_sampler_says():
    """As mmengine drops what was trained, and as the fork does, at once."""
    loader = DataLoader(torch.arange(3))
    asked, told = (loops._AfterReplay(loader, 2) for _ in range(2))
    assert [next(asked), next(asked)] == [None, None]
    told.skip_iter(2)
    for batches in (asked, told):
        assert [int(next(batches)) for _ in range(3)] == [0, 1, 2]
