"""A model in parts on two processes: DDP's numbers, and checkpoints for any run."""

from types import SimpleNamespace

import pytest
import ranks
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from coavt_mm.checkpoint_files import has_checksum, load_from_local
from coavt_mm.checksums import checksum
from coavt_mm.demo import Settings, make_sounding_shapes
from coavt_mm.engine import sharding
from coavt_mm.engine.choosing import last_checkpoint
from coavt_mm.errors import CheckpointError, ConfigError

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
    found = load_from_local(str(folder / f'iter_{step}.pth'))
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


def test_a_torch_that_cannot_is_named(monkeypatch):
    monkeypatch.setattr(sharding, 'SHARDS_ON_CPU', False)
    monkeypatch.setattr(sharding, 'get_device', lambda: 'cpu')
    runner = SimpleNamespace(distributed=True)
    with pytest.raises(ConfigError, match='shards on GPUs only'):
        sharding.sharded_model(runner, {}, torch.nn.Linear(1, 1))


@pytest.mark.slow
@pytest.mark.skipif(not sharding.SHARDS_ON_CPU, reason='this torch shards on GPUs only')
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


IN_PARTS = FSDP | {'default_hooks.checkpoint.sharded': True}


def assert_names_are_data(path):
    """Parts of a stranger, with names and a folder that are none of ours."""
    path.with_name(f'{path.name}.sha256').unlink()
    (part, *others) = sorted(path.with_name(f'{path.name}.parts').iterdir())
    for other in others:
        other.unlink()
    weights = torch.load(path, weights_only=False)
    for names in (['elsewhere/x'], ['optimizer/one/x'], ['optimizer/999999/x']):
        save_file(dict.fromkeys(names, torch.zeros(3)), part)
        weights['parts'] = {part.name: checksum(str(part))}
        torch.save(weights, path)
        with pytest.raises(CheckpointError, match='parts'):
            load_from_local(str(path))
    for named in ({'../x.safetensors': ''}, [part.name], {3: 4}):
        torch.save(weights | dict(parts=named), path)
        with pytest.raises(CheckpointError, match='do not all lie here'):
            load_from_local(str(path))


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(dcp, 'HuggingFaceStorageWriter'), reason='needs torch 2.9'
)
def test_each_process_writes_what_it_holds(shapes, tmp_path):
    """Equal to a whole checkpoint, read by anybody; what is damaged is told."""
    runs = [
        ('ddp', DDP | EMA, None),
        ('parts_fsdp', IN_PARTS | EMA, None),
        ('on_fsdp', IN_PARTS | EMA, 'parts_fsdp/iter_2.pth'),
        ('on_ddp', DDP | EMA, 'parts_fsdp/iter_2.pth'),
    ]
    ranks.run_two_ranks(ranks.wrapped_worker, str(shapes), str(tmp_path), runs)
    for name in ('parts_fsdp', 'on_fsdp', 'on_ddp'):
        assert_equal(saved(tmp_path / 'ddp'), saved(tmp_path / name))
    path = tmp_path / 'parts_fsdp/iter_2.pth'
    folder = tmp_path / 'parts_fsdp/iter_2.pth.parts'
    files = sorted(folder.iterdir())
    sizes = [file.stat().st_size for file in files]
    assert len(files) == 2 and max(sizes) < 1.2 * min(sizes)
    assert has_checksum(str(path))
    content = files[1].read_bytes()
    files[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match='its checksum differs'):
        load_from_local(str(path))
    (tmp_path / 'parts_fsdp/iter_2.pth.sha256').unlink()
    assert_names_are_data(tmp_path / 'on_fsdp/iter_4.pth')
    with pytest.raises(CheckpointError, match='this is not what was saved'):
        load_from_local(str(path))
    files[1].unlink()
    with pytest.raises(CheckpointError, match='do not all lie here'):
        load_from_local(str(path))
    (tmp_path / 'parts_fsdp/iter_4.pth').unlink()
    with pytest.raises(CheckpointError, match='do not all lie here'):
        last_checkpoint(tmp_path / 'parts_fsdp')
