import random
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_apis
import torch
from mmengine.config import Config, ConfigDict

from coavt_mm.checkpoints import read_stored_config
from coavt_mm.engine.hooks import (
    HardnessRampHook,
    IterationSeedHook,
    SensesFirstHook,
    StoreConfigHook,
    StrictCheckpointHook,
)
from coavt_mm.engine.launch import build_runner
from coavt_mm.errors import CheckpointError, ConfigError
from coavt_mm.registry import MODELS


def draw(seed: int, iteration: int) -> tuple:
    runner = SimpleNamespace(seed=seed, iter=iteration)
    IterationSeedHook().before_train_iter(runner, iteration)
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_seed_depends_on_seed_and_iteration_only():
    first = draw(5, 2)
    other, third = draw(5, 3), draw(6, 2)
    assert draw(5, 2) == first
    for mine, its, thats in zip(first, other, third, strict=True):
        assert len({mine, its, thats}) == 3


def test_seed_differs_between_ranks(monkeypatch):
    first = draw(5, 2)
    monkeypatch.setattr('coavt_mm.engine.hooks.get_rank', lambda: 1)
    assert all(a != b for a, b in zip(first, draw(5, 2), strict=True))


def test_seed_hook_runs_last(toy_cfg):
    hooks = build_runner(toy_cfg()).hooks
    assert isinstance(hooks[-1], IterationSeedHook)


@pytest.mark.parametrize(
    'iteration, hardness', [(0, 0.1), (10, 0.1), (15, 0.3), (20, 0.5), (99, 0.5)]
)
def test_hardness_follows_the_iteration(iteration, hardness):
    head = SimpleNamespace(hardness=1.0)
    model = torch.nn.Module()
    model.matching_head = head
    hook = HardnessRampHook(start=0.1, stop=0.5, begin=10, end=20)
    hook.before_train_iter(SimpleNamespace(model=model, iter=iteration), 0)
    assert head.hardness == pytest.approx(hardness)


def test_hardness_of_a_model_without_the_loss_or_the_head():
    model = torch.nn.Module()
    runner = SimpleNamespace(model=model, iter=0)
    hook = HardnessRampHook(start=0.1, begin=0, end=1)
    with pytest.raises(ConfigError, match='no matching_head'):
        hook.before_train(runner)
    model.matching_head = None
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    assert model.matching_head is None


def test_a_ramp_that_goes_nowhere_is_refused():
    with pytest.raises(ConfigError, match='begin=5, end=5 make no ramp'):
        HardnessRampHook(start=0.1, begin=5, end=5)


def _head(streams):
    return None if streams is None else SimpleNamespace(streams=streams)


def model_of(contrastive, matching=None, lm=None):
    """A model of nothing but the weights of its losses."""
    model = torch.nn.Module()
    model.contrastive_head = _head(contrastive)
    model.matching_head = _head(matching)
    model.lm_head = _head(lm)
    return model


def weights_at(hook, model, iteration, logged=None):
    hub = SimpleNamespace(log_scalars={} if logged is None else logged)
    runner = SimpleNamespace(model=model, iter=iteration, message_hub=hub)
    hook.before_train_iter(runner, 0)
    heads = (model.contrastive_head, model.matching_head, model.lm_head)
    return [head and head.streams for head in heads]


def test_senses_come_first():
    everything = [dict(AV=1.0, A=2.0, V=3.0), dict(AV=4.0), dict(AV=5.0)]
    model = model_of(*everything)
    hook = SensesFirstHook(until=3, lm_weight=0.5)
    hook.before_train(SimpleNamespace(model=model))
    first = [dict(A=2.0, V=3.0), {}, dict(A=0.5, V=0.5)]
    assert [weights_at(hook, model, i) for i in (0, 2)] == [first, first]
    assert weights_at(hook, model, 3) == everything  # also where a run is resumed
    assert weights_at(hook, model, 0) == first
    hook.after_train(SimpleNamespace(model=model))
    assert model.lm_head.streams == dict(AV=5.0)


def test_losses_of_the_senses_leave_the_log_with_them():
    model = model_of(dict(AV=1.0, A=1.0))
    hook = SensesFirstHook(until=2)
    hook.before_train(SimpleNamespace(model=model))
    losses = ('train/loss_lm_A', 'train/matching_acc_A', 'train/loss_contrastive_A')
    logged = dict.fromkeys((*losses, 'train/lr', 'val/loss_lm_A'), 1.0)
    weights_at(hook, model, 1, logged)
    assert len(logged) == 5
    weights_at(hook, model, 2, logged)
    assert [*logged] == ['train/lr', 'val/loss_lm_A']


@pytest.mark.parametrize(
    'weights, weight, first',
    [
        (
            (dict(AV=1.0, V=1.0), dict(AV=1.0), dict(AV=1.0)),
            2,
            [dict(V=1.0), dict(V=2), dict(V=2)],
        ),
        ((dict(A=1.0), {}, {}), 2, [dict(A=1.0), {}, {}]),
        ((dict(AV=1.0, A=1.0), None, dict(AV=1.0)), 0, [dict(A=1.0), None, {}]),
    ],
)
def test_what_is_off_stays_off(weights, weight, first):
    model = model_of(*weights)
    hook = SensesFirstHook(until=1, matching_weight=weight, lm_weight=weight)
    hook.before_train(SimpleNamespace(model=model))
    assert weights_at(hook, model, 0) == first


def test_batches_without_a_loss_stop_the_run():
    model = model_of(dict(A=1.0))
    hook = SensesFirstHook(until=40)
    hook.before_train(SimpleNamespace(model=model))

    def after(iteration, loss):
        runner = SimpleNamespace(model=model, iter=iteration)
        hook.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(loss)))

    for iteration in range(19):  # one batch with a caption in between
        after(iteration, float(iteration == 9))
    with pytest.raises(ConfigError, match='last 10 batches is about A, so'):
        after(19, 0.0)
    for iteration in range(40, 60):
        after(iteration, 0.0)  # not its business any more


def test_no_sense_to_begin_with():
    with pytest.raises(ConfigError, match='A-T and V-T are both switched off'):
        SensesFirstHook(until=1).before_train(
            SimpleNamespace(model=model_of(dict(AV=1.0)))
        )
    with pytest.raises(ConfigError, match='must be at least 1'):
        SensesFirstHook(until=0)


@pytest.mark.parametrize(
    'hooks, shared', [([dict(type='ShareModelHook')], 1.0), ([], 0)]
)
def test_model_is_shared_with_the_metrics_that_ask(toy_cfg, hooks, shared):
    cfg = toy_cfg(custom_hooks=[ConfigDict(hook) for hook in hooks])
    runner = build_runner(cfg)
    assert runner.val()['shared'] == shared
    assert runner.test()['shared'] == shared
    if shared:
        assert runner.val_evaluator.metrics[0].model is runner.model


@pytest.mark.parametrize(
    'spoil, first',
    [
        (lambda state: state.pop('layers.2.bias'), 'layers.2.bias'),
        (lambda state: state.update({'layers.0.bias': torch.ones(9)}), 'layers.0.bias'),
    ],
)
def test_checkpoint_of_another_model_is_refused(toy_cfg, spoil, first):
    runner = build_runner(toy_cfg())
    state = dict(runner.model.state_dict())
    hook = StrictCheckpointHook()
    hook.after_load_checkpoint(runner, {'state_dict': state})
    spoil(state)
    with pytest.raises(CheckpointError, match=f"1 of 4 .*'{first}'"):
        hook.after_load_checkpoint(runner, {'state_dict': state})


def stored(cfg, **dataset):
    """What the hook adds to a checkpoint of a run with this config."""
    lines = []
    runner = SimpleNamespace(
        cfg=cfg,
        model=MODELS.build(cfg.model) if 'model' in cfg else None,
        train_dataloader=SimpleNamespace(dataset=SimpleNamespace(**dataset)),
        logger=SimpleNamespace(warning=lines.append),
    )
    hook, checkpoint = StoreConfigHook(), dict(meta={})
    hook.before_train(runner)
    hook.before_save_checkpoint(runner, checkpoint)
    return checkpoint, lines


def test_the_config_is_stored_with_the_classes_of_the_data(vocabulary):
    cfg = tiny_apis.coavt_cfg(vocabulary)
    checkpoint, lines = stored(cfg, metainfo=dict(classes=['dog', 'cat']))
    read = read_stored_config(checkpoint, 'x.pth')
    assert read['classes'] == ['dog', 'cat'] and not lines
    assert read_stored_config(stored(cfg)[0], 'x.pth')['classes'] is None


def test_a_run_without_test_data_says_that_nothing_is_stored():
    checkpoint, (line,) = stored(Config(dict(train_cfg={})))
    assert checkpoint == dict(meta={})
    assert 'will need the config beside the checkpoints' in line
