"""A model in parts on two processes: DDP's numbers, and checkpoints for any run."""

import pytest
import ranks
import torch

from coavt_mm.demo import Settings, make_sounding_shapes

DDP = dict(find_unused_parameters=True)
FSDP = dict(model_wrapper_cfg=dict(type='FSDP2'))
KEPT = dict(model_wrapper_cfg=dict(type='FSDP2', reshard_after_forward=False))
SGD = dict(optim_wrapper=dict(
    type='BF16OptimWrapper', optimizer=dict(type='SGD', lr=0.1)
))  # fmt: skip
EMA = dict(custom_hooks=[dict(type='EMAHook', momentum=0.1)])


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    make_sounding_shapes(root, Settings(train_clips=10, test_clips=2, val_clips=2), 1)
    return root


def saved(folder, step=4):
    found = torch.load(folder / f'iter_{step}.pth', weights_only=False)
    moments = {
        f'{index}.{name}': value
        for index, state in found['optimizer']['state'].items()
        for name, value in state.items()
    }
    return found['state_dict'] | moments | found.get('ema_state_dict', {})


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert type(other[name]) is type(value), name
        assert torch.allclose(other[name], value, rtol=1e-5, atol=1e-5), name


@pytest.mark.slow
def test_equal_to_ddp_and_interchangeable(shapes, tmp_path):
    """Four steps of the demo with either, and each going on from the other."""
    runs = [
        ('ddp', DDP, None),
        ('fsdp', FSDP, None),
        ('to_fsdp', FSDP, 'ddp/iter_2.pth'),
        ('to_ddp', DDP, 'fsdp/iter_2.pth'),
        ('sgd_ddp', DDP | SGD, None),
        ('sgd_fsdp', KEPT | SGD, None),
        ('ema_ddp', DDP | EMA, None),
        ('ema_fsdp', FSDP | EMA, 'ema_ddp/iter_2.pth'),
    ]
    ranks.run_two_ranks(ranks.wrapped_worker, str(shapes), str(tmp_path), runs)
    assert_equal(saved(tmp_path / 'ddp', 2), saved(tmp_path / 'fsdp', 2))
    pairs = [('ddp', n) for n in ('fsdp', 'to_fsdp', 'to_ddp')]
    for one, other in [*pairs, ('sgd_ddp', 'sgd_fsdp'), ('ema_ddp', 'ema_fsdp')]:
        assert_equal(saved(tmp_path / one), saved(tmp_path / other))
    best = [p.name for p in (tmp_path / 'fsdp').glob('best*')]
    assert best == [p.name for p in (tmp_path / 'ddp').glob('best*')] != []
