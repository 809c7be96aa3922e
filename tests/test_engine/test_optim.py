import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from coavt_mm.engine.launch import build_runner
from coavt_mm.engine.optim import BF16OptimWrapper

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
