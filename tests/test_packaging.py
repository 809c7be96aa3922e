"""What is built from the repository: the source archive, the wheel from it, and what an
installed wheel does in an empty folder."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from documents import ROOT

import coavt_mm

FILES = ('pyproject.toml', 'setup.py', 'MANIFEST.in', 'README.md', 'LICENSE')
SHIPPED = ('configs', 'tools', 'model-index.yml')  # as `coavt_mm/.mim`, by links
BUILD = 'from setuptools import build_meta; build_meta.build_{}({!r})'


def build(kind, tree, out):
    """Let setuptools build in `tree`, as pip does."""
    out.mkdir()
    done = subprocess.run(
        [sys.executable, '-c', BUILD.format(kind, str(out))],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built


def files_below(folder):
    return {
        str(path.relative_to(folder))
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def package_files():
    """Files of the package, relative to the repository; links count as files."""
    shipped = {f'configs/{name}' for name in files_below(ROOT / 'configs')}
    shipped |= {f'tools/{name}' for name in files_below(ROOT / 'tools')}
    shipped.add('model-index.yml')
    own = {f'coavt_mm/{name}' for name in files_below(ROOT / 'coavt_mm')}
    return own | {f'coavt_mm/.mim/{name}' for name in shipped}


@pytest.fixture(scope='module')
def archive(tmp_path_factory):
    """The source archive, unpacked."""
    root = tmp_path_factory.mktemp('packaging')
    tree = root / 'tree'
    ignore = shutil.ignore_patterns('__pycache__')
    for name in ('coavt_mm', 'configs', 'tools'):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignore)
    for name in (*FILES, 'model-index.yml', 'CHANGELOG.md', 'CITATION.cff'):
        shutil.copy(ROOT / name, tree / name)
    with tarfile.open(build('sdist', tree, root / 'sdist')) as file:
        file.extractall(root / 'unpacked', filter='data')
    (unpacked,) = (root / 'unpacked').iterdir()
    return unpacked


@pytest.fixture(scope='module')
def built(archive):
    """The wheel's file."""
    return build('wheel', archive, archive.parent / 'wheel')


@pytest.fixture
def wheel(built):
    with zipfile.ZipFile(built) as file:
        yield file


@pytest.fixture(scope='module')
def installed(built, tmp_path_factory):
    """Where pip has installed the wheel, without what it needs."""
    target = tmp_path_factory.mktemp('site')
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-index', '-q']
        + ['--no-compile', '--target', str(target), str(built)],
        check=True,
        timeout=300,
    )
    return target


def run_installed(installed, folder, *command):
    """Runs a command in a folder, with the installed wheel; returns what it printed."""
    env = {**os.environ, 'PYTHONPATH': str(installed), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**env, 'PYTHONDONTWRITEBYTECODE': '1'},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_archive_holds_the_package_and_what_describes_it(archive):
    names = {str(p.relative_to(archive)) for p in archive.rglob('*') if p.is_file()}
    assert package_files() <= names
    assert {*FILES, 'CHANGELOG.md', 'CITATION.cff'} <= names
    assert not any(path.is_symlink() for path in archive.rglob('*'))


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    assert {p.name for p in (ROOT / 'coavt_mm/.mim').iterdir()} == {*SHIPPED}
    names = {name for name in wheel.namelist() if '.dist-info/' not in name}
    assert names == package_files()
    assert 'coavt_mm/py.typed' in names


def test_metadata(wheel):
    (name,) = [n for n in wheel.namelist() if n.endswith('.dist-info/METADATA')]
    metadata = HeaderParser().parsestr(wheel.read(name).decode())
    assert metadata['Name'] == 'coavt-mm'
    assert metadata['Version'] == coavt_mm.__version__
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert metadata['License-File'] == 'LICENSE'
    assert metadata['Description-Content-Type'] == 'text/markdown'
    assert metadata.get_payload() == (ROOT / 'README.md').read_text()
    assert str(Path(name).parent / 'licenses/LICENSE') in wheel.namelist()


NAMES = """
import os, coavt_mm
from mmengine.config import Config
from mmengine.hub import get_config
from coavt_mm.apis import CoAVTInferencer
from coavt_mm.config import load_config
from coavt_mm.demo.run import TEST_CONFIG

name = 'coavt_mm::coavt/pretrain_demo.py'
with open('mine.py', 'w') as file:
    file.write(f'_base_ = {name!r}')
assert os.listdir() == ['mine.py']
iterations = [read(x).train_cfg.max_iters for read, x in (
    (load_config, name), (get_config, name), (Config.fromfile, 'mine.py'))]
assert len(set(iterations)) == 1, iterations
assert load_config(TEST_CONFIG).test_evaluator
assert load_config('coavt_mm::_base_/default_runtime.py').default_scope == 'coavt_mm'
print(coavt_mm.__file__, *CoAVTInferencer.list_models())
"""


@pytest.mark.slow
def test_names_of_configs_and_models_in_an_installed_wheel(installed, tmp_path):
    before = files_below(installed)
    printed = run_installed(installed, tmp_path, '-W', 'ignore', '-c', NAMES)
    where, *models = printed.splitlines()[-1].split()
    assert Path(where).parent == installed / 'coavt_mm'
    configs = {path.stem for path in (ROOT / 'configs/coavt').glob('*.py')}
    assert {*models} == configs - {'ablations'}
    assert files_below(installed) == before  # it may be read-only


@pytest.mark.slow
def test_the_command_in_an_installed_wheel(installed, tmp_path):
    coavt = installed / 'bin/coavt'
    assert 'COMMAND' in run_installed(installed, tmp_path, coavt, '--help')
    out, few = tmp_path / 'shapes', [f'--{x}-clips=1' for x in ('train', 'test', 'val')]
    command = (coavt, 'prepare', 'sounding-shapes', out, *few, '--workers', 1)
    run_installed(installed, tmp_path, *command)
    assert (out / 'train.jsonl').is_file()
    tool = installed / 'coavt_mm/.mim/tools/train.py'
    assert 'Train the model' in run_installed(installed, tmp_path, tool, '--help')
