"""A launcher that is gone: nobody starts its processes again, and others may begin."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: The process that started this one, asked before anything heavy is imported.
PARENT = os.getppid()
_TAKEN_OVER = threading.Event()


@contextmanager
def ending_with_launcher() -> Iterator[None]:
    """End this process with torchrun, until training itself looks after that.

    While a process imports, builds or waits for others, nobody else would.
    """
    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        yield
        return
    _TAKEN_OVER.clear()
    threading.Thread(target=_watch, daemon=True).start()
    try:
        yield
    finally:
        take_over()


def take_over() -> None:
    """Let whoever calls look after the launcher from now on."""
    _TAKEN_OVER.set()


def _watch() -> None:
    while not _TAKEN_OVER.wait(0.5):
        if os.getppid() != PARENT:
            print('Error: torchrun is gone; go on with --resume', file=sys.stderr)
            os._exit(1)
