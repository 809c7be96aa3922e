"""What processes of the tests do; imported there, so importable."""

import os

HELD = None  # a lock of the process that a test runs in


def work(task):
    """Double a number; one below 0 is the signal that kills the process."""
    if task < 0:
        os.kill(os.getpid(), -task)
    if task == 100:
        raise ValueError('hundred')
    return 2 * task


def touch(path):
    path.touch()


def is_held(_):
    return HELD is not None
