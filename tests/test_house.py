"""The rules of the house that a program can check."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / 'coavt_mm').rglob('*.py'))
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 400, 40


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_fit(path):
    text = path.read_text(encoding='utf-8')
    assert len(text.splitlines()) <= LINES_OF_A_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert _lines(node) <= LINES_OF_A_FUNCTION, node.name


def _lines(function) -> int:
    """From ``def`` to the end, without the docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        doc = function.body[0]
        lines -= doc.end_lineno - doc.lineno + 1
    return lines


@pytest.mark.parametrize(
    ('module', 'line'),
    [
        (None, None),
        ('evaluation/ranking.py', 'from coavt_mm.demo.grammar import FACTORS'),
        ('models/layers.py', 'from coavt_mm.datasets import captions'),
        ('datasets/media.py', 'def f():\n    import coavt_mm.preparation.layouts'),
        (
            'visualization/plots.py',
            'from coavt_mm.datasets import decoding',
        ),
        ('engine/hooks.py', 'import coavt_mm.cli.launch'),
        ('apis/inputs.py', 'from coavt_mm import analysis'),
    ],
)
def test_forbidden_imports_are_found(tmp_path, module, line):
    shutil.copytree(ROOT / 'coavt_mm', tmp_path / 'coavt_mm')
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    if module:
        with open(tmp_path / 'coavt_mm' / module, 'a', encoding='utf-8') as file:
            file.write(f'\n{line}\n')
    command = 'from importlinter.cli import lint_imports_command as c; c()'
    run = subprocess.run(
        [sys.executable, '-c', command, '--no-cache'],
        cwd=tmp_path,
        env={'PYTHONPATH': str(tmp_path), 'PATH': '', 'PYTHONUTF8': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (run.returncode == 0) is (module is None), run.stdout + run.stderr
