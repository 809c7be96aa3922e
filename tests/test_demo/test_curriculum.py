from types import SimpleNamespace

import pytest
import torch

from coavt_mm.demo.curriculum import HardnessRampHook, SensesFirstHook
from coavt_mm.errors import ConfigError


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
