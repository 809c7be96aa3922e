"""A step with NaN changes nothing, is written down, and many of them end a run."""

import json
import math
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper as TheirWrapper
from ranks import run_two_ranks, skip_worker
from torch import nn
from toy_parts import ToyModel
from waits import Waits

from coavt_mm.cli import launch
from coavt_mm.engine import BF16OptimWrapper, OptimWrapper, SkippedStepsHook
from coavt_mm.engine.running import build_runner
from coavt_mm.errors import ConfigError, TrainingError
from coavt_mm.registry import OPTIM_WRAPPERS

OPTIMIZERS = [
    dict(type=torch.optim.AdamW, fused=True),
    dict(type=torch.optim.Adam, fused=True),
    dict(type=torch.optim.AdamW),
    dict(type=torch.optim.SGD, momentum=0.9),
]


def wrapper_of(model, kind, optimizer, **options):
    settings = dict(optimizer, params=model.parameters(), lr=0.1)
    return kind(settings.pop('type')(**settings), **deepcopy(options))


def train(kind, optimizer, losses, **options):
    """A linear model trained on given factors of its loss: its states."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    wrapper = wrapper_of(model, kind, optimizer, **options)
    states = []
    for factor in losses:
        wrapper.update_params(model(torch.ones(4, 3)).square().mean() * factor)
        skipped = getattr(wrapper, 'last_skipped', None)
        tensors = [*model.parameters()]
        for state in wrapper.optimizer.state.values():
            tensors += [v for v in state.values() if torch.is_tensor(v)]
        states.append((skipped, [t.detach().clone() for t in tensors]))
    return states


def equal(ours, theirs):
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize('optimizer', OPTIMIZERS, ids=str)
@pytest.mark.parametrize('clip', [None, dict(max_norm=0.1)])
def test_finite_steps_are_those_of_mmengine(optimizer, clip):
    factors = [1.0, 2.0, 3.0, 1e9]
    ours = train(OptimWrapper, optimizer, factors, clip_grad=clip)
    theirs = train(TheirWrapper, optimizer, factors, clip_grad=clip)
    for (skipped, own), (_, other) in zip(ours, theirs, strict=True):
        assert not skipped and equal(own, other)


@pytest.mark.parametrize('kind', [OptimWrapper, BF16OptimWrapper])
@pytest.mark.parametrize('optimizer', OPTIMIZERS, ids=str)
@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    'clip', [None, dict(max_norm=0.1), dict(type='value', clip_value=1.0)]
)
def test_others_are_as_if_they_had_not_been(kind, optimizer, bad, clip):
    with_it = train(kind, optimizer, [1.0, bad, 2.0], clip_grad=clip)
    without = train(kind, optimizer, [1.0, 2.0], clip_grad=clip)
    assert [bool(skipped) for skipped, _ in with_it] == [False, True, False]
    assert equal(with_it[1][1], with_it[0][1])
    assert equal(with_it[2][1], without[1][1])


def test_a_gradient_that_is_not_finite_while_the_loss_is():
    model = nn.Linear(1, 1)
    wrapper = wrapper_of(model, OptimWrapper, OPTIMIZERS[0])
    before = [p.detach().clone() for p in model.parameters()]
    out = model(torch.zeros(1, 1))
    wrapper.update_params((out - out.detach()).abs().sqrt().sum())  # sqrt at zero
    assert wrapper.last_skipped and equal([*model.parameters()], before)


def test_the_first_step_of_all():
    (first, _), (second, state) = train(OptimWrapper, OPTIMIZERS[0], [math.nan, 1.0])
    assert first and not second
    assert equal(state, train(OptimWrapper, OPTIMIZERS[0], [1.0])[0][1])


def test_one_bad_batch_of_an_update_leaves_all_of_it_out():
    states = train(
        OptimWrapper,
        OPTIMIZERS[0],
        [1.0, math.nan, 1.0, 1.0],
        accumulative_counts=2,
    )
    assert [s if s is None else bool(s) for s, _ in states] == [None, True, True, False]


def test_no_host_waits_for_the_device():
    """With a fused optimiser, as the configs have."""
    model = nn.Linear(3, 2)
    for kind in (OptimWrapper, BF16OptimWrapper):
        wrapper = wrapper_of(model, kind, OPTIMIZERS[0])
        loss = model(torch.ones(4, 3)).mean()
        with Waits() as waits:
            wrapper.update_params(loss)
        assert waits.found == []


def test_two_processes_leave_out_the_same_step(tmp_path):
    run_two_ranks(skip_worker, str(tmp_path))
    (said, weight), (other, same) = (torch.load(tmp_path / f'said.{r}') for r in (0, 1))
    assert said == other == [(False, False), (True, True), (False, False)]
    assert torch.equal(weight, same) and weight.isfinite().all()


@pytest.mark.parametrize('name', ['OptimWrapper', 'mmengine.OptimWrapper'])
def test_the_tools_give_it_to_all_configs(toy_cfg, name):
    runner = build_runner(toy_cfg(optim_wrapper__type=name))
    built = runner.build_optim_wrapper(runner.optim_wrapper)
    assert type(built) is OPTIM_WRAPPERS.get('OptimWrapper') is OptimWrapper


@pytest.fixture
def run(toy_config, tmp_path, monkeypatch):
    """Trains the toy, whose losses are NaN in given forward passes."""

    def train_it(bad, *settings, resume=False):
        calls, real = [], ToyModel.forward

        def forward(self, x, y, mode='tensor'):
            out = real(self, x, y, mode)
            if mode == 'loss':
                calls.append(1)
                part = out['loss'] * (math.nan if len(calls) in bad else 1)
                return dict(loss_a=part, loss_b=out['loss'].detach() * 0)
            return out

        command = [toy_config, '--work-dir', str(tmp_path)] + ['--resume'] * resume
        command += ['--cfg-options', 'train_cfg.max_iters=6']
        command += ['default_hooks.checkpoint.interval=2', *settings]
        with monkeypatch.context() as patched:
            patched.setattr(ToyModel, 'forward', forward)
            launch.train(command)

    return train_it


def rows(folder):
    text = (folder / 'skipped_steps.jsonl').read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_they_are_counted_and_written_down(run, tmp_path):
    run({2, 5})
    assert [row['iteration'] for row in rows(tmp_path)] == [2, 5]
    losses = rows(tmp_path)[0]['losses']
    assert losses['loss_a'] == losses['loss'] == 'nan' and losses['loss_b'] == 0.0
    saved = torch.load(tmp_path / 'iter_6.pth', weights_only=False)
    assert saved['message_hub']['runtime_info']['skipped_steps'] == 2
    assert all(value.isfinite().all() for value in saved['state_dict'].values())


def test_after_the_bound_the_last_checkpoint_is_good(run, tmp_path):
    settings = 'custom_hooks.0.type=SkippedStepsHook', 'custom_hooks.0.max_skipped=1'
    with pytest.raises(
        TrainingError, match=r'^2 of the last 4 steps had a loss or'
    ) as e:
        run({3, 4, 5}, *settings)
    assert '\n' not in launch.one_line(e.value) and '--resume' in str(e.value)
    assert (tmp_path / 'last_checkpoint').read_text().endswith('iter_2.pth')
    run({}, *settings, resume=True)
    assert (tmp_path / 'iter_6.pth').is_file()


def test_ids_of_clips_and_a_bound_over_the_last_thousand_steps(tmp_path):
    hook, said = SkippedStepsHook(max_skipped=2), []
    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        optim_wrapper=SimpleNamespace(),
        message_hub=SimpleNamespace(runtime_info={}),
        logger=SimpleNamespace(warning=said.append),
    )
    runner.message_hub.update_info = runner.message_hub.runtime_info.__setitem__
    batch = dict(data_samples=[SimpleNamespace(sample_id='clip Ä'), SimpleNamespace()])

    def step(done):
        runner.iter, runner.optim_wrapper.last_skipped = done - 1, torch.tensor(True)
        hook.after_train_iter(runner, 0, batch, dict(loss=torch.tensor(math.inf)))

    for done in (1, 500, 1001, 2001):
        step(done)
    assert rows(tmp_path)[0] == dict(
        iteration=1, ids=['clip Ä', None], losses=dict(loss='inf')
    )
    assert 'iteration 2001 is left out' in said[-1]
    hook.after_train(runner)
    assert said[-1].startswith('4 steps of this run')
    step(2002)
    with pytest.raises(TrainingError, match='3 of the last 1,000 steps'):
        step(2003)
    with pytest.raises(ConfigError, match='max_skipped=-1'):
        SkippedStepsHook(max_skipped=-1)
