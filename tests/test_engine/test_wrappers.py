"""Strategies are files that go behind any recipe."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import ranks
import ranks_exchange
import torch
from mmengine.config import Config
from torch import nn

from coavt_mm.engine import DDP, deepspeed
from coavt_mm.errors import ConfigError
from coavt_mm.registry import STRATEGIES as STRATEGY_TYPES

CONFIGS = Path(__file__).parents[2] / 'configs'
STRATEGIES = sorted((CONFIGS / '_base_' / 'strategies').glob('*.py'))


def behind(recipe, strategy, folder, more=''):
    path = folder / 'own.py'
    base = [str(CONFIGS / 'coavt' / recipe), str(strategy)]
    path.write_text(f'_base_ = {base}\n{more}')
    return str(path)


@pytest.mark.parametrize('strategy', STRATEGIES, ids=lambda path: path.stem)
@pytest.mark.parametrize('recipe', ['pretrain_vggsound.py', 'cls_audioset20k.py'])
def test_they_go_behind_any_recipe(recipe, strategy, tmp_path):
    cfg = Config.fromfile(behind(recipe, strategy, tmp_path))
    alone = Config.fromfile(str(CONFIGS / 'coavt' / recipe))
    added = {key for key in cfg if cfg[key] != alone.get(key)}
    assert added and added <= {
        'model_wrapper_cfg', 'runner_type', 'strategy'
    }  # fmt: skip


@pytest.mark.parametrize('stage', [2, 3])
def test_deepspeed_has_what_the_recipe_says(stage, tmp_path, monkeypatch):
    strategy = CONFIGS / '_base_' / 'strategies' / f'deepspeed_zero{stage}.py'
    more = 'optim_wrapper = dict(accumulative_counts=4)'
    cfg = Config.fromfile(behind('pretrain_vggsound.py', strategy, tmp_path, more))
    plain = cfg.copy()
    monkeypatch.setattr(deepspeed, 'find_spec', lambda name: name == 'deepspeed')
    deepspeed.follow_recipe(cfg)
    assert cfg.strategy == dict(
        type='coavt_mm.DeepSpeedStrategy',
        zero_optimization=dict(stage=stage),
        config=dict(
            zero_allow_untested_optimizer=True,
            train_micro_batch_size_per_gpu=32,
            torch_autocast=dict(enabled=True, dtype='bfloat16'),
        ),
        gradient_clipping=1.0,
        gradient_accumulation_steps=4,
    )
    assert {*cfg.optim_wrapper} == {'type', 'constructor', 'optimizer', 'paramwise_cfg'}
    assert cfg.optim_wrapper.type == 'mmengine.DeepSpeedOptimWrapper'
    monkeypatch.setattr(deepspeed, 'find_spec', lambda name: None)
    with pytest.raises(ConfigError, match='needs the package deepspeed'):
        deepspeed.follow_recipe(plain)


def test_deepspeed_gets_no_scalars():
    cls = STRATEGY_TYPES.get('coavt_mm.DeepSpeedStrategy')
    model = nn.Linear(2, 3)
    model.temperature = nn.Parameter(torch.tensor(0.5))
    built = cls.build_model(object.__new__(cls), model)  # as it needs deepspeed
    assert [tuple(p.shape) for p in built.parameters()] == [(3, 2), (3,), (1,)]
    assert built.temperature.item() == 0.5


def test_without_deepspeed_a_recipe_stays(tmp_path):
    cfg = Config.fromfile(str(CONFIGS / 'coavt' / 'pretrain_vggsound.py'))
    before = cfg.to_dict()
    deepspeed.follow_recipe(cfg)
    assert cfg.to_dict() == before


@pytest.mark.slow
def test_gradients_in_bf16_are_those_of_ddp(tmp_path):
    config = behind(
        'pretrain_demo.py',
        CONFIGS / '_base_' / 'strategies' / 'ddp_bf16.py',
        tmp_path,
        'find_unused_parameters = True',
    )
    ranks.run_two_ranks(ranks_exchange.wrapper_worker, config, str(tmp_path / 'grads'))
    for rank in range(2):
        said, (whole, half), views = torch.load(tmp_path / f'grads.{rank}')
        assert said == ('DDP', True)
        for name, grad in whole.items():
            assert half[name].dtype == torch.float32
            torch.testing.assert_close(half[name], grad, rtol=2**-7, atol=1e-3)
        assert any(not torch.equal(half[name], whole[name]) for name in whole)
        assert len({*views}) == 1 and views[0] > 4 * 30 * 40  # all in one bucket


def test_a_precision_that_is_none():
    with pytest.raises(ConfigError, match="compress='int8'; expected bf16 or fp16"):
        DDP(nn.Linear(1, 1), compress='int8')


@pytest.mark.slow
@pytest.mark.skipif(not find_spec('deepspeed'), reason='needs deepspeed')
def test_zero_trains_the_weights_of_ddp(tmp_path):
    ranks.run_two_ranks(ranks_exchange.deepspeed_worker, str(tmp_path / 'weights'))
    for rank in range(2):
        ddp, *sharded = torch.load(tmp_path / f'weights.{rank}')
        for weights in sharded:
            torch.testing.assert_close(weights, ddp, rtol=1e-5, atol=1e-5)
