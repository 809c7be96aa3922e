import random
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_apis
import tiny_coavt
import torch
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import Evaluator

from coavt_mm.checkpoints import read_stored_config
from coavt_mm.engine.hooks import (
    IterationSeedHook,
    ShareModelHook,
    StoreConfigHook,
)
from coavt_mm.engine.running import build_runner
from coavt_mm.engine.weights import StrictCheckpointHook
from coavt_mm.errors import CheckpointError
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
    'hooks, shared', [([dict(type='ShareModelHook')], 1.0), ([], 0)]
)
def test_model_is_shared_with_the_metrics_that_ask(toy_cfg, hooks, shared):
    cfg = toy_cfg(custom_hooks=[ConfigDict(hook) for hook in hooks])
    runner = build_runner(cfg)
    assert runner.val()['shared'] == shared
    assert runner.test()['shared'] == shared
    if shared:
        assert runner.val_evaluator.metrics[0].model is runner.model


def test_a_test_needs_no_training_data(toy_cfg):
    cfg = toy_cfg()
    cfg.train_dataloader.dataset.type = 'NoSuchDataset'
    assert build_runner(cfg, ['test_dataloader']).test()['shared'] == 1.0


@pytest.mark.parametrize('stage', ['val', 'test'])
@pytest.mark.parametrize(
    ('options', 'kept'),
    [
        (dict(modes=('cosine', 'softmax_product')), False),
        (dict(modes=('matching',)), True),
        (dict(matching_accuracy=True), True),
    ],
)
def test_a_metric_that_needs_tokens_gets_them(stage, options, kept):
    """Re-ranking is one setting: the metric's modes."""
    model = tiny_coavt.tiny_coavt().eval()
    evaluator = Evaluator(dict(type='coavt_mm.RetrievalMetric', **options))
    runner = SimpleNamespace(
        model=model,
        _train_loop=None,
        _load_from=None,
        **{f'{stage}_evaluator': evaluator},
    )
    getattr(ShareModelHook(), f'before_{stage}')(runner)
    found = model(tiny_coavt.tiny_batch(4), tiny_coavt.samples(4), mode='predict')
    assert {'tokens' in sample for sample in found} == {kept}
    for i, sample in enumerate(found):
        sample.set_metainfo(dict(sample_id=f'clip {i}', texts=[f'text {i}']))
    evaluator.process(found)
    assert evaluator.evaluate(4)


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
