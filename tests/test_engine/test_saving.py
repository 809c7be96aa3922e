"""A run outlives a metric that isn't there."""

from types import SimpleNamespace

import pytest
from mmengine.registry import HOOKS, DefaultScope

from coavt_mm.engine import CheckpointHook
from coavt_mm.engine.running import build_runner
from coavt_mm.errors import ConfigError

FULL = {'retrieval/AV/R@1': 10.0, 'retrieval/A/R@1': 5.0}
PART = {'retrieval/A/R@1': 5.0, 'retrieval/A/R@5': 7.0}


class Hub(dict):
    """mmengine's message hub, as far as the hook knows it."""

    runtime_info = property(lambda self: self)
    update_info, get_info = dict.__setitem__, dict.__getitem__


@pytest.fixture
def validate(tmp_path):
    """Runs the hook over validations: names of checkpoints, warnings."""

    def run(validations, **options):
        hook, saved, said = CheckpointHook(by_epoch=False, **options), [], []
        runner = SimpleNamespace(
            work_dir=str(tmp_path),
            epoch=0,
            message_hub=Hub(),
            logger=SimpleNamespace(info=lambda line: None, warning=said.append),
            save_checkpoint=lambda folder, filename, *a, **k: saved.append(filename),
        )
        hook.before_train(runner)
        for runner.iter, metrics in enumerate(validations, start=1):
            hook.after_val_epoch(runner, metrics)
        return saved, said

    return run


def test_a_metric_that_is_missing_is_said_once(validate):
    saved, said = validate(
        [PART, PART, PART], save_best='retrieval/AV/R@1', rule='greater'
    )
    assert saved == [] and len(said) == 1
    assert "save_best='retrieval/AV/R@1' is no metric of this validation" in said[0]
    assert 'There are: retrieval/A/R@1, retrieval/A/R@5' in said[0]


def test_a_typo_is_told_the_nearest(validate):
    _, (line,) = validate([FULL], save_best='retreival/AV/R@1', rule='greater')
    assert 'the nearest is retrieval/AV/R@1' in line


def test_a_metric_that_appears_later_counts_from_then_on(validate):
    better = {**FULL, 'retrieval/AV/R@1': 11.0}
    saved, said = validate(
        [PART, FULL, PART, FULL, better], save_best='retrieval/AV/R@1', rule='greater'
    )
    assert saved == [
        'best_retrieval_AV_R@1_iter_2.pth',
        'best_retrieval_AV_R@1_iter_5.pth',
    ]
    assert len(said) == 1


def test_of_several_metrics_the_others_are_kept(validate):
    both = ['retrieval/AV/R@1', 'retrieval/A/R@1']
    saved, said = validate([PART], save_best=both, rule='greater')
    assert saved == ['best_retrieval_A_R@1_iter_1.pth'] and len(said) == 1


def test_the_first_metric_by_itself(validate):
    saved, said = validate([{'acc': 1.0}, {'other': 2.0}], save_best='auto')
    assert saved == ['best_acc_iter_1.pth'] and "save_best='acc'" in said[0]
    saved, said = validate([PART, PART], save_best='auto')
    assert saved == [] and len(said) == 1 and "Set rule='greater'" in said[0]
    saved, said = validate([PART], save_best='auto', rule='less')
    assert saved == ['best_retrieval_A_R@1_iter_1.pth'] and not said


@pytest.mark.parametrize('metrics', [{}, PART])
def test_nothing_is_missed_where_nothing_is_asked(validate, metrics):
    saved, said = validate([metrics])
    assert saved == [] and all('empty dict' in line for line in said)


@pytest.mark.parametrize('options', [{}, dict(rule='highest')])
def test_no_rule_is_an_error_at_the_start(options):
    with pytest.raises(ConfigError, match="save_best=.*Set rule='greater' or 'less'"):
        CheckpointHook(save_best='retrieval/AV/R@1', **options)


@pytest.mark.parametrize('name', ['CheckpointHook', 'mmengine.CheckpointHook'])
def test_the_tools_give_it_to_configs_of_other_packages(toy_cfg, name):
    cfg = toy_cfg(default_hooks__checkpoint__type=name)
    hooks = build_runner(cfg).hooks
    assert cfg.default_hooks.checkpoint.type == 'coavt_mm.CheckpointHook'
    assert any(type(hook) is CheckpointHook for hook in hooks)


def test_configs_of_this_package_get_it():
    with DefaultScope.overwrite_default_scope('coavt_mm'):
        assert type(HOOKS.build(dict(type='CheckpointHook'))) is CheckpointHook
