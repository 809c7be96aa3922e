"""What lies around the package: its metadata, pinned versions, forms and workflows."""

import ast
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from documents import PROJECT, ROOT
from packaging.requirements import Requirement
from packaging.version import Version

import coavt_mm

YAML = sorted(
    [ROOT / 'CITATION.cff', ROOT / '.pre-commit-config.yaml', ROOT / 'model-index.yml']
    + [*ROOT.glob('.github/**/*.yml')]
)


def pins(name):
    """Package -> version of a file of constraints."""
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    read = [Requirement(line.split('#')[0]) for line in lines if line.split('#')[0]]
    return {r.name: str(r.specifier).removeprefix('==') for r in read}


def requirements():
    """Requirements of the package and its extras on the Python of the pinned set."""
    extras = PROJECT['optional-dependencies']
    texts = PROJECT['dependencies'] + [x for e in extras.values() for x in e]
    found = [Requirement(text) for text in texts]
    pinned = {'python_version': '3.11'}
    return [r for r in found if r.marker is None or r.marker.evaluate(pinned)]


@pytest.mark.parametrize('path', YAML, ids=lambda path: path.name)
def test_yaml_can_be_read(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_setup_py_leaves_all_to_pyproject():
    statements = ast.parse((ROOT / 'setup.py').read_text()).body
    assert [type(s) for s in statements] == [ast.ImportFrom, ast.Expr]
    assert PROJECT['dynamic'] == ['version']


@pytest.mark.parametrize('name', ['constraints.txt', 'oldest.txt'])
def test_pinned_versions_are_allowed(name):
    pinned = pins(name)
    for requirement in requirements():
        version = pinned.get(requirement.name, '')
        if version and version[0].isdigit():
            assert requirement.specifier.contains(version), f'{requirement}: {version}'


def test_oldest_versions_are_the_lower_bounds():
    pinned = pins('oldest.txt')
    lower = {}
    for text in PROJECT['dependencies'] + PROJECT['optional-dependencies']['lite']:
        requirement = Requirement(text)
        for part in requirement.specifier:
            if part.operator == '>=':
                lower[requirement.name] = Version(part.version)
    assert {n: Version(pinned[n]) for n in lower} == lower


@pytest.mark.parametrize(
    ('package', 'hook'), [('ruff', 'ruff-pre-commit'), ('codespell', 'codespell')]
)
def test_pre_commit_runs_the_pinned_versions(package, hook):
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
    (rev,) = [repo['rev'] for repo in hooks if repo['repo'].endswith('/' + hook)]
    assert rev == 'v' + pins('constraints.txt')[package]


def test_every_tool_of_make_lint_and_test_is_pinned_and_in_the_extra():
    extra = {Requirement(x).name for x in PROJECT['optional-dependencies']['test']}
    tools = {'codespell', 'import-linter', 'mypy', 'pytest', 'pytest-cov', 'ruff'}
    tools |= {'pytest-timeout', 'pytest-xdist'}
    assert tools <= extra and tools <= set(pins('constraints.txt'))


@pytest.mark.skipif(shutil.which('make') is None, reason='needs make')
def test_make_installs_again_when_other_versions_are_asked_for(tmp_path):
    """Whatever the times of the files say."""
    for name in ('Makefile', 'pyproject.toml', 'requirements/constraints.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / '.venv/bin/python'
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >> called\n')
    python.chmod(0o755)

    def installs(target='demo'):
        (tmp_path / 'called').unlink(missing_ok=True)
        env = {k: v for k, v in os.environ.items() if k not in ('PYTHON', 'MAKEFLAGS')}
        subprocess.run(['make', '-s', target], cwd=tmp_path, env=env, check=True)
        return (tmp_path / 'called').read_text().count('pip install')

    pins = tmp_path / 'requirements/constraints.txt'
    first = pins.read_text()
    assert [installs(), installs(), installs('quick'), installs()] == [1, 0, 1, 0]
    for text in (first.replace('torch==', 'torch==9'), first):
        pins.write_text(text)
        os.utime(pins, (0, 0))
        assert [installs('quick'), installs(), installs('quick')] == [1, 0, 0]


def test_the_workflow_tests_every_python_that_is_promised():
    workflow = yaml.safe_load((ROOT / '.github/workflows/tests.yml').read_text())
    named = re.findall(r':: (3\.\d+)', '\n'.join(PROJECT['classifiers']))
    assert workflow['jobs']['tests']['strategy']['matrix']['python'] == named
    for python in named:
        assert Requirement(f'x{PROJECT["requires-python"]}').specifier.contains(python)
    for job in workflow['jobs'].values():
        for step in job['steps']:
            assert ('uses' in step) != ('run' in step)
            for target in re.findall(r'make ([a-z-]+)', step.get('run', '')):
                assert f'\n{target}: ' in (ROOT / 'Makefile').read_text()


@pytest.mark.parametrize('name', ['bug_report', 'feature_request'])
def test_issue_forms_have_what_github_asks_for(name):
    form = yaml.safe_load((ROOT / f'.github/ISSUE_TEMPLATE/{name}.yml').read_text())
    assert form['name'] and form['description']
    ids = [field['id'] for field in form['body']]
    assert len(set(ids)) == len(ids)
    for field in form['body']:
        assert field['type'] in ('textarea', 'input', 'dropdown', 'checkboxes')
        assert field['attributes']['label']
    if name == 'bug_report':
        assert {'command', 'config', 'versions'} <= set(ids)


def test_citation():
    cited = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    for key in ('cff-version', 'message', 'title', 'authors'):
        assert cited[key]
    assert cited['version'] == coavt_mm.__version__
    assert cited['license'] == PROJECT['license']
    (paper,) = cited['references']
    assert paper['url'] == PROJECT['urls']['Paper']
    assert all(a['family-names'] and a['given-names'] for a in paper['authors'])


@pytest.mark.parametrize(
    ('file', 'line', 'chain'),
    [
        ('models/layers.py', 'import coavt_mm.demo.grammar', 'coavt_mm.demo'),
        ('datasets/manifest.py', 'from coavt_mm import models', 'coavt_mm.models'),
    ],
)
def test_a_forbidden_import_breaks_the_contract(tmp_path, file, line, chain):
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    shutil.copytree(ROOT / 'coavt_mm', tmp_path / 'coavt_mm')
    path = tmp_path / 'coavt_mm' / file
    path.write_text(path.read_text() + f'\n{line}\n')
    code = 'from importlinter.cli import lint_imports_command as run; run()'
    done = subprocess.run(
        [sys.executable, '-c', code, '--no-cache'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    module = f'coavt_mm/{file}'[:-3].replace('/', '.')
    assert f'{module} -> {chain}' in done.stdout
