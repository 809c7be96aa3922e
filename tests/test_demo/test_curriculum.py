"""Stages set losses and hardness by the samples seen, in any number of processes."""

import json
from types import SimpleNamespace

import pytest
import ranks
import torch
from waits import Waits

from coavt_mm.datasets.curriculum import Curriculum
from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.demo.curriculum import CurriculumHook, HardnessRampHook, SensesFirstHook
from coavt_mm.errors import ConfigError

UNIMODAL = dict(streams=('A', 'V'), weights=dict(matching_head=1.0, lm_head=2.0))


def _head(streams):
    return None if streams is None else SimpleNamespace(streams=streams, hardness=1.0)


def model_of(contrastive, matching=None, lm=None):
    """A model of nothing but the weights of its losses."""
    model = torch.nn.Module()
    model.contrastive_head = _head(contrastive)
    model.matching_head = _head(matching)
    model.lm_head = _head(lm)
    return model


class Run:
    """What hooks see of a runner: batches of two of ten clips."""

    def __init__(self, model, stages=(), hook=None, logged=()):
        self.model, self.iter, self.train_loop = model, 0, None
        self.hooks = []
        sampler = SimpleNamespace(start=0, curriculum=Curriculum(stages))
        self.train_dataloader = SimpleNamespace(
            dataset=range(10),
            batch_sampler=SimpleNamespace(batch_size=2, sampler=sampler),
        )
        self.message_hub = SimpleNamespace(
            log_scalars=dict.fromkeys(logged), runtime_info={}
        )
        self.message_hub.update_info = self.message_hub.runtime_info.__setitem__
        self.lines = []
        self.logger = SimpleNamespace(info=self.lines.append)
        self.hook = hook or CurriculumHook()
        self.hook.before_train(self)

    def weights_at(self, iteration):
        self.iter = iteration
        self.hook.before_train_iter(self, iteration)
        heads = ('contrastive_head', 'matching_head', 'lm_head')
        heads = (getattr(self.model, name) for name in heads)
        return [head and head.streams for head in heads]

    def hardness_at(self, iteration):
        self.weights_at(iteration)
        return self.model.matching_head.hardness

    def finish(self, iteration, **outputs):
        self.weights_at(iteration)
        outputs = {name: torch.tensor(value) for name, value in outputs.items()}
        self.hook.after_train_iter(self, iteration, outputs=outputs)


def test_losses_of_the_stage():
    everything = [dict(AV=1.0, A=2.0, V=3.0), dict(AV=4.0), dict(AV=5.0)]
    stages = [
        dict(epochs=1, streams=('V',), weights=dict(lm_head=0.5)),
        dict(epochs=1, **UNIMODAL),
    ]
    run = Run(model_of(*everything), stages)
    first = [dict(V=3.0), {}, dict(V=0.5)]
    assert run.weights_at(0) == run.weights_at(4) == first
    second = [dict(A=2.0, V=3.0), dict(A=1.0, V=1.0), dict(A=2.0, V=2.0)]
    assert run.weights_at(5) == run.weights_at(9) == second
    assert run.weights_at(10) == everything  # also where a run is resumed
    assert run.weights_at(0) == first
    run.hook.after_train(run)
    assert run.model.lm_head.streams == dict(AV=5.0)


def test_extra_heads_that_read_text_follow_the_stage():
    model = model_of(dict(AV=1.0, A=2.0))
    model.extra_heads = torch.nn.ModuleDict(
        {name: torch.nn.Module() for name in ('own', 'other', 'tokens')}
    )
    for name, head in model.extra_heads.items():
        head.streams, head.takes_queries = dict(AV=3.0), name != 'tokens'
    run = Run(model, [dict(epochs=1, streams=('A',), weights=dict(own=0.5))])
    run.weights_at(0)
    streams = {name: head.streams for name, head in model.extra_heads.items()}
    assert streams == dict(own=dict(A=0.5), other={}, tokens=dict(AV=3.0))
    run.weights_at(5)
    assert all(head.streams == dict(AV=3.0) for head in model.extra_heads.values())


def test_without_a_curriculum_nothing_changes():
    model = model_of(dict(AV=1.0), dict(AV=1.0))
    run = Run(model)
    assert run.weights_at(3) == [dict(AV=1.0), dict(AV=1.0), None]
    run.finish(3, loss=0.0)
    run.hook.after_train(run)
    assert model.matching_head.hardness == 1.0


@pytest.mark.parametrize(
    'weights, first',
    [
        (
            (dict(AV=1.0, V=1.0), dict(AV=1.0), dict(AV=1.0)),
            [dict(V=1.0), dict(V=1.0), dict(V=2.0)],
        ),
        ((dict(A=1.0), {}, {}), [dict(A=1.0), {}, {}]),
        ((dict(AV=1.0, A=1.0), None, dict(AV=1.0)), [dict(A=1.0), None, dict(A=2.0)]),
    ],
)
def test_what_is_off_stays_off(weights, first):
    assert Run(model_of(*weights), [dict(epochs=1, **UNIMODAL)]).weights_at(0) == first


def test_hardness_follows_the_samples():
    stages = [dict(epochs=1, hardness=0.1), dict(hardness=[(1, 0.5), (2, 1.5)])]
    run = Run(model_of(dict(AV=1.0), dict(AV=1.0)), stages)
    found = [run.hardness_at(i) for i in (0, 4, 5, 10, 12, 15, 99)]
    assert found == pytest.approx([0.1, 0.1, 0.5, 0.5, 0.9, 1.5, 1.5])
    run.hook.after_train(run)
    assert run.model.matching_head.hardness == 1.0
    off = Run(model_of(dict(AV=1.0), None), stages)  # the loss is switched off
    off.weights_at(0)
    assert off.model.matching_head is None


def test_a_stage_ends_the_log_of_its_losses():
    logged = ('train/loss_lm_A', 'train/loss', 'train/lr', 'val/loss_lm_A')
    stages = [dict(epochs=1, **UNIMODAL)]
    run = Run(model_of(dict(AV=1.0, A=1.0)), stages, logged=logged)
    run.finish(3, loss=1.0, loss_lm_A=1.0)
    run.finish(4, loss=1.0)  # a batch without such a caption
    scalars = run.message_hub.log_scalars
    assert [*scalars] == [*logged]
    kept = json.loads(json.dumps(run.message_hub.runtime_info))  # as in a checkpoint
    run.message_hub.runtime_info.update(kept)
    run.finish(5, loss=1.0, loss_lm_AV=1.0)
    assert [*scalars] == ['train/loss', 'train/lr', 'val/loss_lm_A']
    assert run.lines == [
        'iteration 3: sound and picture begin (stage 1 of 1): losses of A, V '
        '(off: AV); weights matching_head 1, lm_head 2',
        'iteration 5: the stages end; from now on all is as the config says',
    ]


def test_what_no_caption_is_about_is_not_logged():
    both = dict(audio_captions=0.6, visual_captions=0.4)
    stages = [
        dict(epochs=1, captions=dict(visual_captions=1.0), hardness=0.1, **UNIMODAL),
        dict(epochs=1, captions=both, hardness=[(0.5, 0.1), (1, 2)], **UNIMODAL),
        dict(group_size=8),
    ]
    logged = ('train/loss_lm_A', 'train/matching_acc_A', 'train/loss_lm_V')
    run = Run(model_of(dict(AV=1.0, A=1.0, V=1.0), dict(AV=1.0)), stages)
    scalars = run.message_hub.log_scalars
    for iteration, left in ((0, logged[2:]), (4, logged[2:]), (5, logged), (9, logged)):
        run.weights_at(iteration)
        scalars.update(dict.fromkeys(logged))
        run.finish(
            iteration, loss=1.0, loss_lm_A=0.0, matching_acc_A=0.0, loss_lm_V=1.0
        )
        assert {*scalars} == {*left}
    run.finish(10, loss=1.0, loss_lm_AV=1.0)
    assert not scalars
    assert [line.partition(': losses')[0] for line in run.lines] == [
        'iteration 0: picture begins (stage 1 of 3)',
        'iteration 5: sound joins (stage 2 of 3)',
        'iteration 10: sound with picture joins (stage 3 of 3)',
    ]
    assert 'captions audio_captions 0.6, visual_captions 0.4' in run.lines[1]
    assert 'hardness 0.1 to 2' in run.lines[1] and 'group_size 8' in run.lines[2]


def test_batches_without_a_loss_stop_the_run():
    run = Run(model_of(dict(A=1.0)), [dict(epochs=8, **UNIMODAL)])
    with Waits() as waits:
        for iteration in range(19):  # one batch with a caption in between
            run.finish(iteration, loss=float(iteration == 9))
    assert waits.found == ['_local_scalar_dense']  # read once in ten steps
    with pytest.raises(ConfigError, match='last 10 batches is about A, so'):
        run.finish(19, loss=0.0)
    for iteration in range(40, 60):
        run.finish(iteration, loss=0.0)  # not its business any more


@pytest.mark.parametrize(
    'stage, message',
    [
        (UNIMODAL, 'stage 0 trains A and V alone, all switched off'),
        (dict(streams=('AV',), weights=dict(head=1.0)), 'the model has no head, of'),
    ],
)
def test_stages_that_cannot_be_carried_out_are_refused(stage, message):
    with pytest.raises(ConfigError, match=message):
        Run(model_of(dict(AV=1.0)), [stage])


def test_hardness_without_the_head_is_refused():
    model = model_of(dict(AV=1.0))
    del model.matching_head
    with pytest.raises(ConfigError, match='no matching_head'):
        Run(model, [dict(hardness=1.0)])


# --------------------------------------------------------------------------------------
# Old forms
# --------------------------------------------------------------------------------------
def test_old_hooks_count_iterations_and_go_together():
    everything = [dict(AV=1.0, A=2.0, V=3.0), dict(AV=4.0), dict(AV=5.0)]
    model = model_of(*everything)
    with pytest.warns(FutureWarning, match='give CurriculumHook and.*streams='):
        senses = Run(model, hook=SensesFirstHook(until=3, lm_weight=0.5))
    with pytest.warns(FutureWarning, match='give CurriculumHook and.*hardness='):
        hook = HardnessRampHook(start=0.1, stop=0.5, begin=2, end=4)
    ramp = Run(model, hook=hook)
    first = [dict(A=2.0, V=3.0), {}, dict(A=0.5, V=0.5)]
    for iteration, hardness in enumerate((0.1, 0.1, 0.1, 0.3, 0.5, 0.5)):
        weights = senses.weights_at(iteration)
        assert ramp.hardness_at(iteration) == pytest.approx(hardness)
        assert weights == senses.weights_at(iteration)
        assert weights == (first if iteration < 3 else everything)


@pytest.mark.filterwarnings('ignore:.*old form')
def test_what_the_old_hooks_refuse():
    with pytest.raises(ConfigError, match='begin=5, end=5 make no ramp'):
        HardnessRampHook(start=0.1, begin=5, end=5)
    with pytest.raises(ConfigError, match='must be at least 1'):
        SensesFirstHook(until=0)
    with pytest.raises(ConfigError, match='SensesFirstHook: stage 0 trains A and V'):
        Run(model_of(dict(AV=1.0)), hook=SensesFirstHook(until=1))


# --------------------------------------------------------------------------------------
# The demo
# --------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    make_sounding_shapes(root, Settings(train_clips=10, test_clips=2, val_clips=2), 1)
    return root


@pytest.mark.slow
def test_batch_size_and_processes_do_not_move_the_stages(shapes, tmp_path):
    """Ten clips an epoch and stage; the same sample, text, losses and hardness."""
    seen = {}
    for name, batch in (('one', 4), ('double', 8)):
        ranks.curriculum_worker(0, str(shapes), batch, str(tmp_path / name))
        seen[name] = torch.load(tmp_path / f'{name}.0')
    out = str(tmp_path / 'two')
    ranks.run_two_ranks(ranks.curriculum_worker, str(shapes), 2, out)
    pairs = zip(torch.load(f'{out}.0'), torch.load(f'{out}.1'), strict=True)
    seen['two'] = [sample for pair in pairs for sample in pair]
    one = [sample[0] for sample in seen['one']]
    assert len(one) == 40
    for run in seen.values():
        assert [sample[0] for sample in run] == one  # ids, texts, what they are about
    assert {stream for (_, _, stream) in one[:30]} == {'A', 'V'}
    assert {stream for (_, _, stream) in one[30:]} & {'AV'}
    # one process or two: losses and hardness too; in the double batch they change with
    # the first batch that begins in the stage
    assert seen['two'] == seen['one']
    for run, batch in ((seen['one'], 4), (seen['double'], 8)):
        for position, (_, streams, _) in enumerate(run):
            begin = position // batch * batch
            assert ('AV' not in streams) == (begin < 30)
    assert seen['one'][-1][2] > seen['one'][0][2]
