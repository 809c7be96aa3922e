import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from torch import nn

from coavt_mm.engine.optim import (
    BF16OptimWrapper,
    EpochCosineLR,
    ScalarDecayConstructor,
    merge_stored_groups,
)
from coavt_mm.engine.running import build_runner
from coavt_mm.errors import ConfigError
from coavt_mm.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs/coavt'

DEVICES = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]


def wrapper_of(model, **kwargs):
    return BF16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), 1), **kwargs)


@pytest.mark.parametrize('device', DEVICES)
def test_autocasts_where_the_model_lies(device):
    model = nn.Linear(3, 2).to(device)
    wrapper = wrapper_of(model)
    with wrapper.optim_context(model):
        out = model(torch.ones(1, 3, device=device))
    assert out.dtype is torch.bfloat16
    assert model(torch.ones(1, 3, device=device)).dtype is torch.float32
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype is torch.float32


def test_accumulates_and_clips():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    wrapper = wrapper_of(model, accumulative_counts=2, clip_grad=dict(max_norm=0.25))
    wrapper.initialize_count_status(model, 0, 4)
    weights = []
    for _ in range(4):
        with wrapper.optim_context(model):
            loss = 8 * model(torch.ones(1, 1)).sum()
        wrapper.update_params(loss)
        weights.append(model.weight.item())
    assert weights == pytest.approx([0, -0.25, -0.25, -0.5], abs=1e-5)


def test_state_is_interchangeable_with_full_precision():
    model = nn.Linear(2, 2)
    state = wrapper_of(model).state_dict()
    plain = OptimWrapper(torch.optim.SGD(model.parameters(), 0.5))
    plain.load_state_dict(state)
    assert plain.get_lr()['lr'] == [1]
    assert state.keys() == plain.state_dict().keys()


def test_trains_by_config(toy_cfg):
    runner = build_runner(toy_cfg(optim_wrapper__type='BF16OptimWrapper'))
    runner.train()
    assert torch.bfloat16 in runner.model.seen_dtypes


def decay_of(name, extra=None):
    """A config's model on the meta device: name -> (parameter, weight decay)."""
    cfg = Config.fromfile(CONFIGS / name)
    with torch.device('meta'), DefaultScope.overwrite_default_scope('coavt_mm'):
        model = MODELS.build(cfg.model)
        if extra is not None:
            model.extra = extra
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    rates = {group['lr'] for group in groups}  # 0 of a temperature that stays
    assert len(groups) == 1 + len(rates)  # each stepped through as one
    decays = {p: group['weight_decay'] for group in groups for p in group['params']}
    return {name: (p, decays[p]) for name, p in model.named_parameters()}, cfg


@pytest.mark.parametrize(
    'name', ['pretrain_vggsound.py', 'pretrain_demo.py', 'caption_audiocaps.py']
)
def test_what_is_decayed_is_what_lavis_decays(name):
    """LAVIS: no decay for fewer than two dimensions and for biases. Ours beside that:
    none for queries and modality vectors."""
    found, cfg = decay_of(name)
    own = {'query_encoder.query_tokens', 'av_encoder.audio_embed.modality',
           'av_encoder.visual_embed.modality'}  # fmt: skip
    assert own <= found.keys()
    for parameter, (value, decay) in found.items():
        none = value.ndim < 2 or 'bias' in parameter or parameter in own
        assert decay == (0 if none else cfg.optim_wrapper.optimizer.weight_decay)


def test_a_scalar_of_any_part_is_not_decayed():
    extra = nn.Module()
    extra.scale = nn.Parameter(torch.ones(()))
    found, _ = decay_of('pretrain_demo.py', extra)
    assert found['extra.scale'][1] == found['contrastive_head.temperature'][1] == 0


def test_a_custom_key_decides_about_scalars():
    model = nn.Module()
    model.one, model.other = (nn.Parameter(torch.ones(())) for _ in range(2))
    cfg = dict(
        constructor='coavt_mm.ScalarDecayConstructor',
        optimizer=dict(type='SGD', lr=1.0, weight_decay=0.5),
        paramwise_cfg=dict(
            flat_decay_mult=0.1,
            custom_keys=dict(one=dict(decay_mult=2.0), other=dict(lr_mult=3.0)),
        ),
    )
    one, other = build_optim_wrapper(model, cfg).optimizer.param_groups
    assert one['weight_decay'] == 1.0
    assert other['weight_decay'] == 0.05 and other['lr'] == 3.0


def rates(schedulers, steps):
    """The rate of each of the first steps, 1e-4 before the schedule."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], 1e-4)
    with DefaultScope.overwrite_default_scope('coavt_mm'):
        schedulers = [
            PARAM_SCHEDULERS.build(
                dict(scheduler, by_epoch=False), default_args=dict(optimizer=optimizer)
            )
            for scheduler in schedulers
        ]
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return found


def test_the_rates_of_pre_training():
    """docs/fidelity.md has them beside those of LAVIS."""
    cfg = Config.fromfile(CONFIGS / 'pretrain_vggsound.py')
    found = rates(cfg.param_scheduler, cfg.train_cfg.max_iters)
    known = {0: 1e-6, 1: 1.02e-6, 713: 1.512e-5, 714: 1.514e-5, 5000: 1e-4,
             8935: 8.08e-5, 17870: 1e-5}  # fmt: skip
    assert {step: found[step] for step in known} == pytest.approx(known, rel=1e-3)


def test_epoch_cosine_is_the_course_of_lavis():
    found = rates(
        [dict(type='coavt_mm.EpochCosineLR', iters_per_epoch=714, epochs=25,
             warmup_iters=5000, start_factor=1e-6 / 1e-4, eta_min=1e-5)], 17871
    )  # fmt: skip
    # LinearWarmupCosineLRScheduler.step(step // 714, step)
    for step, rate in enumerate(found):
        epoch = min(step // 714, 24)
        cosine = 0.5 * (1 + math.cos(math.pi * epoch / 25))
        expected = 9e-5 * cosine + 1e-5 if epoch else 1e-6 + 9.9e-5 * step / 5000
        assert rate == pytest.approx(expected, rel=1e-9)
    known = {0: 1e-6, 1: 1.02e-6, 713: 1.512e-5, 714: 9.97e-5, 4999: 8.37e-5,
             5000: 8.37e-5, 8935: 5.78e-5, 17870: 1.035e-5}  # fmt: skip
    assert {step: found[step] for step in known} == pytest.approx(known, rel=1e-3)


def test_epoch_cosine_in_an_epoch_as_long_as_the_warm_up():
    found = rates(
        [dict(type='coavt_mm.EpochCosineLR', iters_per_epoch=4, epochs=2,
             warmup_iters=2, start_factor=0.5)], 10
    )  # fmt: skip
    assert found == pytest.approx([5e-5, 7.5e-5, 1e-4, 1e-4, *[5e-5] * 6])


@pytest.mark.parametrize(
    'options', [dict(by_epoch=True), dict(epochs=0), dict(iters_per_epoch=0)]
)
def test_epoch_cosine_refuses_what_makes_no_sense(options):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], 1e-4)
    options = {**dict(by_epoch=False, iters_per_epoch=4, epochs=2), **options}
    with pytest.raises(ConfigError, match='counts iterations'):
        EpochCosineLR(optimizer, **options)


def test_epoch_cosine_in_a_run(toy_cfg):
    scheduler = dict(type='EpochCosineLR', by_epoch=False, iters_per_epoch=2, epochs=2)
    runner = build_runner(toy_cfg(param_scheduler=[scheduler]))
    runner.train()  # 7 iterations of lr 0.1
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(0.05)]


class Odd(nn.Module):
    """A scalar, vectors, a matrix, a part that is frozen and one with its own rate."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.5))
        self.first, self.norm = nn.Linear(3, 4), nn.LayerNorm(4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.frozen(self.norm(self.first(x)))) / self.temperature


def build(model, constructor, **options):
    paramwise = dict(
        norm_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys=dict(head=dict(lr_mult=10.0)),
    )
    optimizer = dict(type='AdamW', lr=0.01, weight_decay=0.3, **options)
    wrapper = dict(optimizer=optimizer)
    return constructor(wrapper, paramwise)(model).optimizer


def train(model, optimizer, steps, factor=1.0):
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for step in range(steps):
        torch.manual_seed(step)
        (factor * model(torch.randn(5, 3)).square().mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def test_few_groups_train_as_one_for_each_parameter():
    models = Odd(), Odd()
    models[1].load_state_dict(models[0].state_dict())
    merged = build(models[0], ScalarDecayConstructor, fused=True)
    assert len(merged.param_groups) <= 4
    assert sum(len(group['params']) for group in merged.param_groups) == 7
    twin = dict(zip(models[0].parameters(), models[1].parameters(), strict=True))
    apart = torch.optim.AdamW([
        dict(params=[twin[p]], lr=group['lr'], weight_decay=group['weight_decay'])
        for group in merged.param_groups
        for p in group['params']
    ])  # fmt: skip
    for model, optimizer in zip(models, (merged, apart), strict=True):
        train(model, optimizer, 5)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_checkpoint_with_a_group_for_each_parameter_resumes():
    model = Odd()
    merged = build(model, ScalarDecayConstructor)
    train(model, merged, 3)
    now = merged.state_dict()
    trained = [p for p in model.parameters() if p.requires_grad]
    place = {id(p): i for i, p in enumerate(trained)}
    order = [place[id(p)] for g in merged.param_groups for p in g['params']]
    groups = [
        {**g, 'params': [place[id(p)]]}
        for g, kept in zip(now['param_groups'], merged.param_groups, strict=True)
        for p in kept['params']
    ]
    groups.sort(key=lambda group: group['params'])
    rates = [group['lr'] for group in groups]
    checkpoint = dict(
        optimizer=dict(
            state={order[i]: state for i, state in now['state'].items()},
            param_groups=groups,
        ),
        param_schedulers=[dict(base_values=rates, last_step=3)],
    )
    merge_stored_groups(checkpoint, merged, model)
    torch.testing.assert_close(checkpoint['optimizer'], now, rtol=0, atol=0)
    assert checkpoint['param_schedulers'][0] == dict(
        base_values=[group['lr'] for group in now['param_groups']], last_step=3
    )
    kept = checkpoint['optimizer']
    merge_stored_groups(checkpoint, merged, model)  # one of today's stays as it is
    assert checkpoint['optimizer'] is kept
