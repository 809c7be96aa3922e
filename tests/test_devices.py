import sys

import pytest

from coavt_mm import devices


@pytest.fixture
def cuda(monkeypatch):
    """Torch is built for CUDA, and nothing else is there."""
    monkeypatch.setattr(sys, 'platform', 'linux')
    monkeypatch.setattr(devices, 'OTHERS', ())
    monkeypatch.setattr(devices, '_backends', lambda: ['cuda'])
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)


@pytest.mark.parametrize('node', ['nvidia0', 'dxg', 'kfd', 'nvmap', 'dri/renderD128'])
def test_a_device_node_leaves_it_to_torch(cuda, tmp_path, node):
    assert 'no device' in devices.why_no_gpu(tmp_path)
    (tmp_path / node).parent.mkdir(exist_ok=True)
    (tmp_path / node).touch()
    assert devices.why_no_gpu(tmp_path) is None


def test_gpus_that_are_hidden(cuda, tmp_path, monkeypatch):
    (tmp_path / 'nvidia0').touch()
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')
    assert devices.why_no_gpu(tmp_path) is None
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert 'CUDA_VISIBLE_DEVICES' in devices.why_no_gpu(tmp_path)


def test_a_torch_without(cuda, tmp_path, monkeypatch):
    (tmp_path / 'nvidia0').touch()
    monkeypatch.setattr(devices, '_backends', list)
    assert devices.why_no_gpu(tmp_path) == 'torch is built without'
    monkeypatch.setattr(devices, '_backends', lambda: None)  # it does not say
    assert devices.why_no_gpu(tmp_path) is None


@pytest.mark.parametrize('system', ['darwin', 'win32'])
def test_other_systems_are_left_to_torch(cuda, tmp_path, monkeypatch, system):
    monkeypatch.setattr(sys, 'platform', system)
    assert devices.why_no_gpu(tmp_path) is None


def test_what_torch_says_is_never_contradicted():
    import torch

    if torch.cuda.is_available():
        assert devices.why_no_gpu() is None
    built = devices._backends()
    assert built is None or ('cuda' in built) == (torch.version.cuda is not None)
