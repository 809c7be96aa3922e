"""A run outlives a metric that isn't there."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS, DefaultScope

from coavt_mm.cli import launch
from coavt_mm.engine import CheckpointHook
from coavt_mm.engine.running import build_runner
from coavt_mm.errors import CheckpointError, ConfigError

FULL = {'retrieval/AV/R@1': 10.0, 'retrieval/A/R@1': 5.0}
PART = {'retrieval/A/R@1': 5.0, 'retrieval/A/R@5': 7.0}


class Hub(dict):
    """mmengine's message hub, as far as the hook knows it."""

    runtime_info = property(lambda self: self)
    update_info, get_info = dict.__setitem__, dict.__getitem__


@pytest.fixture
def validate(tmp_path):
    """Runs the hook over validations: names of checkpoints, warnings."""

    def run(validations, known=(), **options):
        hook, saved, said = CheckpointHook(by_epoch=False, **options), [], []
        runner = SimpleNamespace(
            work_dir=str(tmp_path),
            epoch=0,
            message_hub=Hub(known),
            logger=SimpleNamespace(info=lambda line: None, warning=said.append),
            save_checkpoint=lambda folder, filename, *a, **k: saved.append(filename),
        )
        hook.before_train(runner)
        for runner.iter, metrics in enumerate(validations, start=1):
            hook.after_val_epoch(runner, metrics)
        return saved, said

    return run


@pytest.mark.parametrize(
    ('interval', 'batches', 'said'),
    [(3, 2, True), (2, 4, True), (4, 2, False), (3, 1, False), (-1, 2, False)],
)
@pytest.mark.parametrize('by_epoch', [False, True])
def test_checkpoints_between_two_updates_are_said(
    tmp_path, interval, batches, said, by_epoch
):
    lines = []
    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        message_hub=Hub(),
        optim_wrapper=SimpleNamespace(_accumulative_counts=batches),
        train_dataloader=range(5),
        logger=SimpleNamespace(info=lambda line: None, warning=lines.append),
    )
    CheckpointHook(interval=interval, by_epoch=by_epoch).before_train(runner)
    assert len(lines) == said
    steps = 5 * interval if by_epoch else interval
    assert all(f', {steps}, is no multiple' in line for line in lines)


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
    assert saved == ['best_AV_R1_iter_2.pth', 'best_AV_R1_iter_5.pth']
    assert len(said) == 1


def test_of_several_metrics_the_others_are_kept(validate):
    both = ['retrieval/AV/R@1', 'retrieval/A/R@1']
    saved, said = validate([PART], save_best=both, rule='greater')
    assert saved == ['best_A_R1_iter_1.pth'] and len(said) == 1


@pytest.mark.parametrize(
    ('metric', 'name'),
    [
        ('retrieval/text_to_clip/AV/R@1', 'best_text_to_clip_AV_R1_iter_1.pth'),
        ('caption/beam/CIDEr-D', 'best_beam_CIDEr-D_iter_1.pth'),
        ('acc/top1', 'best_acc_top1_iter_1.pth'),
        ("classification/AV/d'", 'best_AV_d_iter_1.pth'),
    ],
)
def test_names_are_those_of_files(validate, metric, name):
    saved, said = validate([{metric: 1.0}], save_best=metric, rule='greater')
    assert saved == [name] and not said


def test_a_run_of_an_earlier_release_keeps_its_best(validate):
    both = ['retrieval/AV/R@1', 'retrieval/A/R@1']
    known = {'best_score_retrieval/AV/R@1': 10.5, 'best_score_retrieval/A/R@1': 4.0}
    saved, _ = validate([FULL], known=known, save_best=both, rule='greater')
    assert saved == ['best_A_R1_iter_1.pth']


def test_the_first_metric_by_itself(validate):
    saved, said = validate([{'acc': 1.0}, {'other': 2.0}], save_best='auto')
    assert saved == ['best_acc_iter_1.pth'] and "save_best='acc'" in said[0]
    saved, said = validate([PART, PART], save_best='auto')
    assert saved == [] and len(said) == 1 and "Set rule='greater'" in said[0]
    saved, said = validate([PART], save_best='auto', rule='less')
    assert saved == ['best_A_R1_iter_1.pth'] and not said


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


@pytest.fixture(scope='module')
def stopped(toy_config, tmp_path_factory):
    """A run that stopped after a step: its checkpoint, and how to resume one."""
    folder = tmp_path_factory.mktemp('stopped')
    command = [toy_config, '--work-dir', str(folder), '--cfg-options']
    launch.train([*command, 'train_cfg.max_iters=1'])
    path = folder / 'changed.pth'

    def resume(content):
        torch.save(content, path)
        launch.train([*command, 'train_cfg.max_iters=3', '--resume', str(path)])

    return torch.load(folder / 'iter_1.pth', weights_only=False), resume


def hub(**about):
    return dict(log_scalars={}, runtime_info=about, resumed_keys={})


@pytest.mark.parametrize('part, value', [
    ('message_hub', {}), ('message_hub', 5), ('message_hub', []), ('message_hub', None),
    ('message_hub', {**hub(), 'log_scalars': 5}),
    ('message_hub', {**hub(), 'runtime_info': []}),
    ('message_hub', hub(samples_seen='x')), ('message_hub', hub(samples_seen=-1)),
    ('message_hub', hub(train_batches=[1])),
    ('message_hub', hub(train_batches=dict(batch=2))),
    ('message_hub', hub(train_batches=dict(batch=2, processes=1.5))),
    ('ema_state_dict', []), ('ema_state_dict', 5), ('ema_state_dict', {}),
    ('ema_state_dict', {'steps': 'x'}), ('ema_state_dict', {'steps': torch.zeros(())}),
    ('ema_state_dict', {'module.no_such': torch.zeros(2)}),
    ('ema_state_dict', {'module.weight': 5}),
    ('optimizer', 7), ('optimizer', {}), ('optimizer', []), ('optimizer', None),
    ('optimizer', dict(state={}, param_groups=[])),
    ('optimizer', dict(state={}, param_groups=[dict(params=[0] * 99)])),
    ('param_schedulers', 5), ('param_schedulers', None), ('param_schedulers', {}),
    ('param_schedulers', [5]), ('param_schedulers', [{}]), ('param_schedulers', 'ab'),
    ('param_schedulers', [dict(last_step='x', base_values=[1])]),
    ('param_schedulers', [dict(last_step=1, base_values=[])]),
    ('state_dict', 5), ('state_dict', []), ('state_dict', {'a': 5}),
], ids=str)  # fmt: skip
def test_a_malformed_state_is_one_line(stopped, part, value):
    content, resume = stopped
    with pytest.raises(CheckpointError, match='the checkpoint is damaged') as caught:
        resume({**content, part: value})
    line = launch.one_line(caught.value)
    assert f'its {part} can not be resumed: ' in line or 'is no name' in line
    assert '\n' not in line and len(line) < 300


@pytest.mark.parametrize('iteration', [4, 10**12, 10**30])
def test_a_checkpoint_behind_the_end_is_refused(stopped, iteration):
    """Going on there would drop so many batches, one by one."""
    content, resume = stopped
    meta = dict(content['meta'], iter=iteration)
    with pytest.raises(CheckpointError, match=rf'iter {iteration}, .*max_iters=3'):
        resume(dict(content, meta=meta))


def test_a_checkpoint_behind_the_last_epoch_is_refused(toy_config, stopped, tmp_path):
    content, _ = stopped
    loop = "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)"
    config, path = tmp_path / 'epochs.py', tmp_path / 'epoch_3.pth'
    config.write_text(re.sub('train_cfg = .*', loop, Path(toy_config).read_text()))
    torch.save(dict(content, meta=dict(content['meta'], epoch=3)), path)
    command = [str(config), '--work-dir', str(tmp_path), '--resume', str(path)]
    with pytest.raises(CheckpointError, match=r'epoch 3, .*max_epochs=2'):
        launch.train(command)


def test_a_checkpoint_at_the_end_has_nothing_left_to_do(stopped):
    content, resume = stopped
    resume(dict(content, meta=dict(content['meta'], iter=3)))


def test_fewer_schedules_than_in_the_config_are_said(stopped, monkeypatch):
    content, resume = stopped
    lines = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, line: lines.append(line))
    resume(dict(content, param_schedulers=[]))
    assert any('has 0 param_schedulers and the config 1' in line for line in lines)
