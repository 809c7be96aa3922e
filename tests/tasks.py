"""What processes of the tests do; imported there, so importable."""

import os
import threading
import time

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


def unpicklable(_):
    return threading.Lock()


def echo(task):
    return task


def wait(path):
    """Say that it is there, and do not end for ten seconds."""
    path.write_text(str(os.getpid()))
    time.sleep(10)


def die_idle(task):
    """Answer, and die before the next task comes."""
    threading.Timer(0.2, os.kill, (os.getpid(), 9)).start()
    return task
