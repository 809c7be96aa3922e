import io
import pickle
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, checkpoint, runner

from coavt_mm import compat
from coavt_mm.apis import CoAVTInferencer
from coavt_mm.engine.running import build_runner
from coavt_mm.errors import CheckpointError, CoAVTError, ConfigError


@pytest.fixture
def loader(monkeypatch):
    """mmengine's loader with ours registered, for one test."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    monkeypatch.setattr(runner, 'save_checkpoint', runner.save_checkpoint)
    compat.register_checkpoint_loader()
    return CheckpointLoader.load_checkpoint


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_reads_what_mmengine_writes(loader, tmp_path):
    history = HistoryBuffer([1.0, 2.5], [1, 1])
    content = {
        'state_dict': {'weight': torch.arange(3.0)},
        'message_hub': {'log_scalars': {'loss': history}},
        'values': [np.float32(0.5), np.int64(3), np.bool_(True)],
        'arrays': [np.eye(2), np.arange(3), np.array(['a', 'bc'])],
        'meta': {'iter': 3, 'cfg': 'text', 'shape': (1, None)},
    }
    runner.save_checkpoint(content, str(tmp_path / 'a.pth'))
    assert content['message_hub']['log_scalars'] == {'loss': history}
    before = set(torch.serialization.get_safe_globals())
    read = loader(str(tmp_path / 'a.pth'), map_location='cpu')
    again = read['message_hub']['log_scalars']['loss']
    assert again.mean() == 1.75 and again.statistics('max') == 2.5
    again.update(7.0)
    assert again.current() == 7.0
    assert read['values'] == content['values']
    for array, original in zip(read['arrays'], content['arrays'], strict=True):
        np.testing.assert_array_equal(array, original)
    assert torch.equal(read['state_dict']['weight'], torch.arange(3.0))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize('core', ['numpy.core', 'numpy._core'])
def test_reads_arrays_of_numpy_1_and_2(tmp_path, core):
    torch.save({'x': np.float64(2.0), 'y': np.ones(2)}, tmp_path / 'a.pth')
    other = {'numpy.core': b'numpy._core', 'numpy._core': b'numpy.core'}[core]
    legacy = tmp_path / 'b.pth'
    torch.save(
        {'x': np.float64(2.0), 'y': np.ones(2)},
        legacy,
        _use_new_zipfile_serialization=False,
    )
    legacy.write_bytes(legacy.read_bytes().replace(other + b'.', core.encode() + b'.'))
    assert core.encode() in legacy.read_bytes()
    read = compat.load_from_local(str(legacy))
    assert read['x'] == 2.0 and read['y'].tolist() == [1.0, 1.0]


EVIL = {
    'a command': (Malicious(__import__('os').system, 'touch EVIL'), 'system'),
    'eval': (Malicious(eval, "open('EVIL', 'w')"), 'eval'),
    'getattr': (Malicious(getattr, np, 'load'), 'getattr'),
    'getattr of the log': (Malicious(getattr, HistoryBuffer, '__init__'), 'getattr'),
    'getattr of a class': (Malicious(getattr, np.ndarray, 'tofile'), 'getattr'),
}


@pytest.mark.parametrize('evil, asked', EVIL.values(), ids=EVIL)
def test_code_is_refused(loader, tmp_path, monkeypatch, evil, asked):
    monkeypatch.chdir(tmp_path)
    torch.save({'state_dict': {}, 'extra': evil}, 'evil.pth', pickle_module=Reduced)
    with pytest.raises(CheckpointError, match=r'evil.pth: refused') as caught:
        loader('evil.pth')
    assert asked in str(caught.value)
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'EVIL').exists()


class Reduced:
    """A pickle module that writes modules as their names, as attackers may."""

    load, loads, Unpickler = pickle.load, pickle.loads, pickle.Unpickler

    class Pickler(pickle._Pickler):
        def save_global(self, obj, name=None):
            return super().save_global(obj, name)

        def save(self, obj, save_persistent_id=True):
            if obj is np:
                self.write(b'cnumpy\nload\n')
                return None
            return super().save(obj, save_persistent_id)

    @staticmethod
    def dump(obj, file, protocol=2):
        Reduced.Pickler(file, protocol).dump(obj)


@pytest.mark.parametrize('keep', [0, 10, 0.5, 0.95])
def test_damaged_file(tmp_path, keep):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'w': torch.rand(100)}}, path)
    data = path.read_bytes()
    path.write_bytes(data[: keep if keep == 0 or keep > 1 else int(keep * len(data))])
    with pytest.raises(CheckpointError, match=r'a.pth: .*download it again'):
        compat.load_from_local(str(path))


@pytest.mark.parametrize('content', [b'hello, this is text', b'\x80\x02', b'\x00' * 99])
def test_other_files(tmp_path, content):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='a.pth: ') as caught:
        compat.load_from_local(str(path))
    assert '\n' not in str(caught.value)


def test_missing_file_and_folder(loader, tmp_path):
    for path in (tmp_path, tmp_path / 'none.pth'):
        with pytest.raises(CheckpointError, match='no such checkpoint'):
            loader(str(path))


def test_download_is_read_safely(loader, tmp_path, monkeypatch):
    """file:// would not reach the loader; the download itself is stood in for."""
    torch.save(Malicious(eval, '1'), tmp_path / 'source.pth')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))

    def download(url, path, progress):
        with open(path, 'wb') as file:
            file.write((tmp_path / 'source.pth').read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    with pytest.raises(CheckpointError, match='refused'):
        loader('https://example.org/files/model.pth?x=1')
    (copy,) = (tmp_path / 'hub' / 'checkpoints').iterdir()
    assert copy.name.endswith('-model.pth')


def test_failed_download(loader, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(CheckpointError, match='download failed'):
        loader('http://127.0.0.1:9/model.pth')


def test_process_group_is_left_alone_where_not_needed():
    cfg = Config(dict(launcher='none'))
    compat.init_cpu_process_group(cfg)
    assert 'model_wrapper_cfg' not in cfg
    assert not torch.distributed.is_initialized()


def test_launcher_that_needs_gpus(monkeypatch):
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cpu')
    with pytest.raises(ConfigError, match='--launcher slurm needs GPUs'):
        compat.init_cpu_process_group(Config(dict(launcher='slurm')))


def test_process_group_on_cpu(monkeypatch):
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cpu')
    # port 0: the store of the only rank takes a free one
    names = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    cfg = Config(dict(launcher='pytorch', find_unused_parameters=True))
    try:
        compat.init_cpu_process_group(cfg)
        assert torch.distributed.get_backend() == 'gloo'
    finally:
        torch.distributed.destroy_process_group()
    assert cfg.model_wrapper_cfg.device_ids is None
    assert cfg.model_wrapper_cfg.find_unused_parameters is True


def test_missing_mmcv_is_one_clear_message(monkeypatch):
    compat.check_mmcv()
    monkeypatch.setattr(compat, 'find_spec', lambda name: None)
    with pytest.raises(CoAVTError, match='pip install "mmcv-lite>=2.1,<2.2"'):
        compat.check_mmcv()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes a package one that is installed, as far as pip can tell."""

    def install(name):
        about = tmp_path / f'{name.replace("-", "_")}-9.0.dist-info'
        about.mkdir()
        (about / 'METADATA').write_text(f'Name: {name}\nVersion: 9.0\n')
        monkeypatch.syspath_prepend(tmp_path)

    return install


@pytest.mark.parametrize('package', ['mmengine', 'mmpretrain', 'mmcv'])
def test_a_fork_beside_the_original_is_one_line(package, install, tmp_path):
    compat.check_openmmlab()
    fork = f'onedl-{package}'
    install(package if compat.version_of(fork) else fork)
    own = [name for name in (package, f'{package}-lite') if compat.version_of(name)]
    for door in (
        lambda: build_runner(Config(dict(work_dir=str(tmp_path / 'work')))),
        lambda: CoAVTInferencer(None, 'x.pth'),
    ):
        with pytest.raises(CoAVTError) as caught:
            door()
        assert f'{own[0]} and onedl-{package} are installed' in str(caught.value)
        assert '\n' not in str(caught.value)


def test_the_fork_never_falls_back_to_running_code(loader, tmp_path, monkeypatch):
    """The function of onedl-mmengine that its other loaders call."""

    def fall_back(file, map_location=None, weights_only=None):
        return torch.load(file, map_location=map_location, weights_only=False)

    monkeypatch.setattr(checkpoint, '_safe_torch_load', fall_back, raising=False)
    monkeypatch.chdir(tmp_path)
    torch.save({'state_dict': {}, 'x': Malicious(eval, "open('EVIL', 'w')")}, 'a.pth')
    torch.save({'w': torch.ones(2)}, 'good.pth')
    compat.register_checkpoint_loader()
    for file in ('a.pth', io.BytesIO((tmp_path / 'a.pth').read_bytes())):
        for asked in (None, False):
            with pytest.raises(pickle.UnpicklingError):
                checkpoint._safe_torch_load(file, weights_only=asked)
    with pytest.raises(CheckpointError, match='refused'):
        loader('a.pth')
    assert not (tmp_path / 'EVIL').exists()
    assert checkpoint._safe_torch_load('good.pth')['w'].sum() == 2


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_plain_import_touches_nothing():
    code = (
        'import sys, coavt_mm, coavt_mm.compat\n'
        'print([m for m in ("transformers", "mmaction", "mmpretrain", "mmcv", '
        '"mmengine.runner") if m in sys.modules])'
    )
    assert run_python(code).strip() == '[]'


@pytest.mark.slow
def test_models_of_mmaction2_and_mmpretrain_import():
    """`custom_imports=['coavt_mm']` is all that a config of theirs has."""
    code = (
        'import sys, coavt_mm\n'
        'from coavt_mm import compat, imports\n'
        'imports.watch_imports()\n'
        'watch = [f for f in sys.meta_path if isinstance(f, imports._Watch)]\n'
        'assert len(watch) == 1\n'
        'import mmaction.models, mmpretrain.models\n'
        'assert not set(watch) & set(sys.meta_path)\n'
        'from mmengine.runner import CheckpointLoader\n'
        'print(CheckpointLoader._schemes[""] is compat.load_from_local)\n'
        'from coavt_mm.errors import CoAVTError\n'
        'try:\n    mmaction.models.DRN()\nexcept CoAVTError as error:\n'
        '    print(error)\n'
    )
    ours, missing = run_python(code).splitlines()[-2:]
    assert ours == 'True'
    assert 'not part of the installed mmaction2 wheel' in missing


def test_mmaction2_is_imported_beside_the_mmcv_of_the_fork(install):
    install('onedl-mmcv')
    spec = compat.mmaction_beside_the_fork()
    module = ModuleType('mmaction')
    spec.loader.exec_module(module)  # would assert
    assert vars(module)['__version__'] == compat.version_of('mmaction2')


def test_mmaction2_checks_its_mmcv_without_the_fork():
    if compat.version_of('onedl-mmcv') is None:
        assert compat.mmaction_beside_the_fork() is None
