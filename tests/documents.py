"""Code blocks of the documentation, and the commands that bash makes of them."""

import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
PAGES = sorted(
    [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('projects/*/README.md')]
)
FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
INLINE = re.compile(r'`((?:python tools/|coavt )[^`]+ [^`]+)`')

# Stands on PATH for the programs that blocks call: writes down how it was called. What
# `python -c` prints may be part of the next command, so that is run; `make` runs, with
# this as its python.
STUB = r"""#!/bin/sh
name=${{0##*/}}
[ "$name $1" = 'python -c' ] && exec {python} "$@"
[ "$name" = make ] && exec {make} PYTHON=python "$@"
printf '%s\0' $# "$name" "${{PYTHONPATH-}}" "$@" >> "$RECORD"
"""
PROGRAMS = ('coavt', 'python', 'torchrun', 'pip', 'make', 'srun', 'tar', 'lint-imports',
            'pre-commit', 'git')  # fmt: skip


@dataclass
class Block:
    """A piece of code on a page.

    Attributes:
        page (Path): The page.
        line (int): Its line there.
        language (str): What the fence says; 'shell' for a command within a line.
        text (str): The code.
    """

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f'{self.page.relative_to(ROOT)}:{self.line}'


def blocks_of(page: Path) -> list[Block]:
    """Blocks of a page, and the commands within its lines, in order."""
    text = page.read_text(encoding='utf-8')
    found = [(m.start(), m[1], m[2]) for m in FENCE.finditer(text)]
    spans = [m.span() for m in FENCE.finditer(text)]
    for match in INLINE.finditer(text):
        if not any(begin <= match.start() < end for begin, end in spans):
            found.append((match.start(), 'shell', match[1]))
    return [
        Block(page, text[:start].count('\n') + 1, language, code)
        for start, language, code in sorted(found)
    ]


def write_stubs(folder: Path) -> None:
    """Write the programs that only write down how they were called."""
    folder.mkdir()
    code = STUB.format(python=sys.executable, make=shutil.which('make'))
    for name in PROGRAMS:
        path = folder / name
        path.write_text(code)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def commands_of(block: Block, folder: Path) -> list[tuple[list[str], str]]:
    """Let bash run a block in a folder with stubs in `bin`.

    Returns:
        list: For each call of a program its words, and PYTHONPATH.
    """
    record = folder / 'record'
    record.write_text('')
    stubs = f'{folder / "bin"}{os.pathsep}/usr/bin{os.pathsep}/bin'
    # without what a `make` that runs the tests hands on
    drop = ('PYTHON', 'MAKE', 'MFLAGS', 'ARGS')
    env = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
    done = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', block.text],
        cwd=folder,
        env={**env, 'PATH': stubs, 'RECORD': str(record)},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, f'{block}: bash says {done.stderr}'
    written = iter(record.read_text().split('\0')[:-1])
    calls = []
    for count in written:  # of arguments
        name, path = next(written), next(written)
        calls.append(([name, *islice(written, int(count))], path))
    assert calls, f'{block}: nothing was called'
    return calls
