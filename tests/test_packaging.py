"""What is built from the repository: the source archive, and the wheel from it."""

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


def package_files():
    """Files of the package, relative to the repository."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / 'coavt_mm').rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


@pytest.fixture(scope='module')
def archive(tmp_path_factory):
    """The source archive, unpacked."""
    root = tmp_path_factory.mktemp('packaging')
    tree = root / 'tree'
    shutil.copytree(
        ROOT / 'coavt_mm',
        tree / 'coavt_mm',
        ignore=shutil.ignore_patterns('__pycache__'),
    )
    for name in (*FILES, 'CHANGELOG.md', 'CITATION.cff'):
        shutil.copy(ROOT / name, tree / name)
    with tarfile.open(build('sdist', tree, root / 'sdist')) as file:
        file.extractall(root / 'unpacked', filter='data')
    (unpacked,) = (root / 'unpacked').iterdir()
    return unpacked


@pytest.fixture(scope='module')
def wheel(archive):
    with zipfile.ZipFile(build('wheel', archive, archive.parent / 'wheel')) as file:
        yield file


def test_the_archive_holds_the_package_and_what_describes_it(archive):
    names = {str(p.relative_to(archive)) for p in archive.rglob('*') if p.is_file()}
    assert package_files() <= names
    assert {*FILES, 'CHANGELOG.md', 'CITATION.cff'} <= names


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
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
