"""What a checkpoint decides though the config says otherwise is said."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import ConstantLR, CosineAnnealingLR, OptimWrapper

from coavt_mm.engine.kept_settings import say_kept, settings_of, states_of


def runner(end=4, lr=0.1, weight_decay=0.5, by_name=False):
    said = []
    groups = [
        dict(params=[torch.zeros(2, requires_grad=True)], weight_decay=w)
        for w in (0.0, weight_decay)
    ]
    wrapper = OptimWrapper(torch.optim.AdamW(groups, lr=lr))
    plans = [
        ConstantLR(wrapper, factor=0.5, begin=0, end=1, by_epoch=False),
        CosineAnnealingLR(wrapper, T_max=end, begin=1, end=end, by_epoch=False),
    ]
    logger = SimpleNamespace(warning=said.append)
    return SimpleNamespace(
        optim_wrapper=wrapper,
        param_schedulers=dict(main=plans) if by_name else plans,
        logger=logger,
        said=said,
    )


def trained(steps=3, **options):
    """States of a run that has come so far."""
    run = runner(**options)
    plans = run.param_schedulers
    for _ in range(steps):
        run.optim_wrapper.step()
        for plan in plans['main'] if isinstance(plans, dict) else plans:
            plan.step()
    return states_of(run)


def said(run, states):
    say_kept(run, settings_of(*states_of(run)), settings_of(*states))
    return run.said


@pytest.mark.parametrize('by_name', [False, True])
def test_a_run_that_goes_on_as_it_was_says_nothing(by_name):
    assert said(runner(by_name=by_name), trained(by_name=by_name)) == []


def test_a_longer_run_is_told_that_its_rate_stays():
    (line,) = said(runner(end=6), trained())
    assert 'param_scheduler.1.end is 4 (config: 6)' in line
    assert 'param_scheduler.1.T_max is 4 (config: 6)' in line
    assert 'a rate stays as it is' in line and 'load_from=CHECKPOINT' in line


def test_another_rate_and_decay_are_not_taken():
    (line,) = said(
        runner(lr=0.3, weight_decay=0.7, by_name=True), trained(by_name=True)
    )
    assert 'param_scheduler.main.0.base_values is 0.1 (config: 0.3)' in line
    assert 'optimizer.weight_decay is 0.0/0.5 (config: 0.0/0.7)' in line
    assert 'stays as it is' not in line and '\n' not in line
