"""Jobs that consist of several commands: each runs as a user would type it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coavt_mm.errors import CoAVTError


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Say that a stage begins, and keep how long it took.

    Args:
        seconds: Stage -> time in s; extended.
        stage: Its name.
    """
    print(f'\n=== {stage} ===', flush=True)
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 1)


def run_command(*words: str) -> None:
    """Run a command of ``coavt``; its messages go to the terminal.

    Args:
        words: What stands behind ``coavt``.

    Raises:
        CoAVTError: It ended with an error.
    """
    code = subprocess.run([sys.executable, '-m', 'coavt_mm', *words]).returncode
    if code:
        raise CoAVTError(f'`coavt {" ".join(words)}` ended with status {code}')


def find_checkpoint(train_dir: Path) -> Path:
    """The best checkpoint by validation, where the run chose one, else the last.

    Args:
        train_dir: Work dir of the run.

    Raises:
        CoAVTError: If training left none.
    """
    found = sorted(train_dir.glob('best_*.pth'), key=os.path.getmtime)
    last = (*train_dir.glob('iter_*.pth'), *train_dir.glob('epoch_*.pth'))
    found = found or sorted(last, key=os.path.getmtime)
    if not found:
        raise CoAVTError(f'{train_dir}: training left no checkpoint; see its log')
    return found[-1]
