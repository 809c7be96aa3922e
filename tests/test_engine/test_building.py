"""What can't be built is said in one line, with the setting and the place."""

import re
from types import SimpleNamespace

import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from coavt_mm.engine import running
from coavt_mm.engine.running import build_runner
from coavt_mm.errors import CheckpointError, ConfigError


@HOOKS.register_module(force=True)
class Fussy(Hook):
    """Raises what it is told to."""

    def __init__(self, what):
        raise dict(value=ValueError('no such\nvalue'), own=CheckpointError('own'))[what]


WRONG = {
    'lr': (
        dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=-1.0))),
        'optim_wrapper coavt_mm.OptimWrapper: ValueError: Invalid learning rate: -1.0',
    ),
    'no number': (
        dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr='x'))),
        'optim_wrapper coavt_mm.OptimWrapper: TypeError: ',
    ),
    'schedule': (
        dict(param_scheduler=[dict(type='LinearLR', start_factor=5.0)]),
        'param_scheduler: ValueError: Starting multiplicative factor',
    ),
    'loop': (
        dict(train_cfg=dict(max_epochs='x', by_epoch=True)),
        'train_cfg ResumableIterLoop: RuntimeError: Only one of',
    ),
    'workers': (
        dict(train_dataloader=dict(num_workers=1, prefetch_factor=-1)),
        'train_dataloader: ValueError: prefetch_factor',
    ),
    'hook': (
        dict(custom_hooks=[dict(type='Fussy', what='value')]),
        'hook Fussy: ValueError: no such value (test_building.py, line ',
    ),
    'what a hook makes': (
        dict(custom_hooks=[dict(type='EMAHook', momentum=5)]),
        'hook EMAHook: AssertionError: momentum must be in range',
    ),
    'a part of the model': (
        dict(activation_checkpointing=['layers.9']),
        "activation_checkpointing: AttributeError: 'Sequential' object has no",
    ),
    'seed': (dict(randomness=dict(seed=-1)), 'randomness: ValueError: Seed must'),
    'log': (
        dict(log_processor=dict(window_size='x', custom_cfg=[5])),
        'log_processor: ',
    ),
}


@pytest.mark.parametrize(('wrong', 'said'), WRONG.values(), ids=WRONG)
def test_a_value_that_a_part_refuses(toy_cfg, wrong, said):
    with pytest.raises(ConfigError) as caught:
        build_runner(toy_cfg(**wrong), ['train_dataloader']).train()
    line = str(caught.value)
    assert (
        line.startswith(said) and '\n' not in line and re.search(r'line \d+\)$', line)
    )
    assert caught.value.__cause__ is not None


def test_what_is_said_well_stays(toy_cfg):
    cfg = toy_cfg(custom_hooks=[dict(type='Fussy', what='own')])
    with pytest.raises(CheckpointError, match='^own$'):
        build_runner(cfg)


def test_an_error_while_it_trains_keeps_its_traceback(toy_cfg, monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError('in a step')

    runner = build_runner(toy_cfg())
    monkeypatch.setattr(runner.model, 'train_step', fail)
    assert isinstance(runner, Runner)
    with pytest.raises(ValueError, match='in a step'):
        runner.train()


def test_compile_is_asked_of_the_model(toy_cfg, monkeypatch):
    asked = []
    model = SimpleNamespace(compile_losses=lambda **options: asked.append(options))
    with monkeypatch.context() as patch:
        patch.setattr(running, 'bare_model', lambda runner: model)
        build_runner(toy_cfg(compile=dict(backend='eager')))
        build_runner(toy_cfg(compile=True))
        build_runner(toy_cfg(compile=False))
    assert asked == [dict(backend='eager'), {}]
    with pytest.raises(ConfigError, match='compile: .* has no compile_losses'):
        build_runner(toy_cfg(compile=True))
