"""The line on a run's health: the same in all processes, cheap, and told once."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ranks import health_worker, run_two_ranks
from tiny_coavt import samples, tiny_batch, tiny_coavt
from waits import Waits

from coavt_mm.engine import HealthHook
from coavt_mm.engine.health import CollapseWatch, judged, told
from coavt_mm.engine.optim import OptimWrapper
from coavt_mm.engine.running import build_runner
from coavt_mm.errors import ConfigError


class Lines(list):
    """A logger."""

    info = warning = list.append


def runner_of(model, interval=1):
    """As much of a runner as the hook asks for."""
    clips = SimpleNamespace(_bad=SimpleNamespace(counts=torch.tensor([[0, 0], [8, 2]])))
    curves = []
    return SimpleNamespace(
        model=model,
        hooks=[],
        iter=0,
        max_iters=10,
        logger=Lines(),
        train_dataloader=SimpleNamespace(dataset=SimpleNamespace(datasets=[clips])),
        clips=clips,
        message_hub=SimpleNamespace(log_scalars={}),
        optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)),
        curves=curves,
        visualizer=SimpleNamespace(add_scalars=lambda row, step: curves.append(row)),
    )


def test_what_a_line_has():
    model = tiny_coavt()
    runner, hook = runner_of(model), HealthHook()
    hook.before_train(runner)
    losses = model(tiny_batch(4), samples(4), mode='loss')
    total = sum(x for n, x in losses.items() if 'loss' in n)
    runner.optim_wrapper.backward(total)
    norms = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            part = name.partition('.')[0]
            norms[part] = norms.get(part, 0) + float(parameter.grad.square().sum())
    runner.optim_wrapper.step()
    runner.clips._bad.counts += torch.tensor([[10, 1], [0, 0]])
    hook.after_train_iter(runner, 0)
    (row,) = runner.curves
    assert row['health/temperature'] == pytest.approx(float(losses['temperature']))
    assert row['health/skipped_clips'] == pytest.approx(0.1)
    assert {n: row[f'health/grad_norm/{n}'] ** 2 for n in norms} == pytest.approx(norms)
    for stream in ('AV', 'A', 'V'):
        assert 1 <= row[f'health/rank/{stream}'] <= 3
        assert -1 <= row[f'health/similarity/{stream}/negative'] <= 1
    assert 'health/matching/AV/negative_text' in row
    assert 'health/data_wait' not in row  # there is no timer
    (line,) = runner.logger
    assert line.startswith('health: temperature 0.07') and line.count('\n') == 0
    assert 'matching AV positive ' in line and 'grad norm ' in line


def test_between_two_lines_nobody_waits_and_answers_are_of_all_steps():
    model = tiny_coavt()
    runner, hook = runner_of(model), HealthHook()
    hook.before_train(runner)
    hook._interval = 3
    right = torch.zeros(2, 12, dtype=torch.bool)
    for step in range(3):
        model(tiny_batch(4), samples(4), mode='loss')
        right |= torch.ones(2, 12, dtype=torch.bool)
        model.watched.answers['AV'] = right.clone()
        model.watched.answers['AV'][0, : 2 * step] = False
        with Waits() as waits:
            if step < 2:
                hook.after_train_iter(runner, step)
        assert waits.found == []
    hook.after_train_iter(runner, 2)
    row = runner.curves[0]
    # of 4 positive pairs 0, 2 and 4 are told wrongly
    assert row['health/matching/AV/positive'] == pytest.approx(6 / 12)
    assert row['health/matching/AV/negative_clip'] == 1


def test_two_processes_say_the_same_which_is_what_one_says_of_all_clips(tmp_path):
    run_two_ranks(health_worker, str(tmp_path))
    one, other = (json.loads((tmp_path / f'{r}.json').read_text()) for r in (0, 1))
    assert one == other and 'rank/AV' in one and 'matching/AV/positive' in one
    health_worker(0, str(tmp_path), processes=1)
    whole = json.loads((tmp_path / '0.json').read_text())
    for name in one:
        # negatives are drawn otherwise, from as many clips
        if not name.startswith('matching'):
            assert one[name] == pytest.approx(whole[name], rel=1e-4), name


def test_it_is_off_by_option_and_does_for_any_model(toy_cfg):
    for given in (None, dict(type='HealthHook', warm_up=0.5)):
        cfg = toy_cfg()
        cfg.default_hooks.health = given
        runner = build_runner(cfg)
        runner.train()
        assert any(isinstance(h, HealthHook) for h in runner.hooks) == bool(given)
    curves = Path(runner.visualizer.get_backend('LocalVisBackend')._scalar_save_file)
    rows = [json.loads(row) for row in curves.read_text().splitlines()]
    rows = [row for row in rows if 'health/data_wait' in row]
    assert len(rows) == 7 and rows[0]['health/grad_norm/layers'] > 0


@pytest.mark.parametrize(
    'wrong', [dict(warm_up=-0.1), dict(warm_up=2), dict(patience=0)]
)
def test_arguments_that_make_no_sense(wrong):
    with pytest.raises(ConfigError, match='HealthHook: warm_up is a share'):
        HealthHook(**wrong)


# --------------------------------------------------------------------------------------
# Collapses
# --------------------------------------------------------------------------------------
WELL = {
    'temperature': 0.07,
    'variance/AV': 0.5,
    'rank/AV': 9.0,
    'similarity/AV/positive': 0.6,
    'similarity/AV/negative': 0.1,
    'matching/AV/positive': 0.8,
    'matching/AV/negative_clip': 0.7,
    'matching/AV/negative_text': 0.9,
}
COLLAPSED = {
    'temperature is 0.001, below 0.00101.': {'temperature': 0.001},
    'temperature is 0.7, over 0.5.': {'temperature': 0.7},
    'variance of AV is 1e-05, below 0.001.': {'variance/AV': 1e-5},
    'effective rank of AV is 1.01, below 1.2.': {'rank/AV': 1.01},
    'positive less negative similarity of AV is 0.01, below 0.02.': {
        'similarity/AV/negative': 0.59
    },
    'balanced matching accuracy of AV is 0.5': {
        'matching/AV/positive': 0.0,
        'matching/AV/negative_clip': 1.0,
        'matching/AV/negative_text': 1.0,
    },
}


def lines(watch, values, count, begin=0):
    said = [watch.look(values, begin + 50 * i) for i in range(count)]
    return [line for line in said if line]


@pytest.mark.parametrize(('said', 'values'), COLLAPSED.items(), ids=COLLAPSED)
def test_a_collapse_is_told_once_with_what_to_look_at(said, values):
    watch = CollapseWatch(200, 3)
    assert lines(watch, WELL, 20, 50) == []
    (line,) = lines(watch, {**WELL, **values}, 20, 1050)
    assert f'this looks like a collapse: {said}' in line and 'look at' in line
    assert '\n' not in line
    assert (
        lines(watch, WELL, 5, 2050) == lines(watch, {**WELL, **values}, 9, 3000) == []
    )


def test_what_collapses_together_is_one_warning():
    watch = CollapseWatch(200, 3)
    lines(watch, WELL, 20, 50)
    gone = {k: v for values in COLLAPSED.values() for k, v in values.items()}
    said = lines(watch, {**WELL, **gone}, 3, 1050)
    assert len(said) == 1 and said[0].count(' is ') == 4  # answers are smoothed


def test_a_beginning_is_no_collapse_and_what_never_gets_well_is_one():
    young = {**WELL, 'rank/AV': 1.05}
    watch = CollapseWatch(400, 3)
    assert lines(watch, young, 8, 50) == []  # to step 400, 350 after the first
    assert lines(watch, WELL, 20, 450) == []
    watch = CollapseWatch(400, 3)
    (line,) = lines(watch, young, 20, 50)
    assert line.startswith('iteration 450: ')


def test_a_stream_that_begins_late_has_a_beginning_of_its_own():
    watch = CollapseWatch(300, 2)
    assert lines(watch, WELL, 40, 50) == []
    late = {**WELL, 'rank/A': 1.0}
    assert lines(watch, late, 6, 2050) == []
    assert len(lines(watch, late, 6, 2350)) == 1


def test_chance_on_few_clips_is_no_collapse():
    """Accuracy 0.7 on 4 pairs of each kind a line, whose noise goes below 0.55."""
    generator, watch = torch.Generator().manual_seed(0), CollapseWatch(100, 3)
    for step in range(1, 2000):
        shares = (torch.rand(3, 4, generator=generator) < 0.7).float().mean(1).tolist()
        names = [n for n in WELL if n.startswith('matching')]
        assert not watch.look(dict(zip(names, shares, strict=True)), step)


def test_what_is_judged():
    assert judged(WELL) == pytest.approx(
        {'temperature': 0.07, 'variance/AV': 0.5, 'rank/AV': 9.0,
         'similarity/AV': 0.5, 'matching/AV': 0.8}
    )  # fmt: skip
    assert judged({'matching/AV/negative_clip': 1.0, 'grad_norm/x': 3.0}) == {}
    assert told({}) == '' and told({'skipped_clips': 0.125}) == 'skipped clips 12.5 %'
