"""A process whose launcher is gone ends, whatever it is about."""

import os
import subprocess
import sys
import time

import pytest

from coavt_mm.cli import launchers

CHILD = """
import time
from coavt_mm.cli.launchers import ending_with_launcher, take_over
with ending_with_launcher():
    print('waits', flush=True)
    {then}
    time.sleep(5)
"""
LAUNCHER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
"""


@pytest.mark.parametrize('then', ['pass', 'take_over()'])
def test_a_launcher_that_is_killed_before_training_begins(then):
    environ = dict(os.environ, TORCHELASTIC_RUN_ID='x')
    command = [sys.executable, '-c', LAUNCHER, CHILD.format(then=then)]
    since = time.monotonic()
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    took = time.monotonic() - since  # until the child has closed its stderr
    assert done.returncode == 0
    if then == 'pass':
        assert done.stderr == 'Error: torchrun is gone; go on with --resume\n'
    else:
        assert not done.stderr and took > 5


def test_nothing_is_watched_without_a_launcher(monkeypatch):
    monkeypatch.delenv('TORCHELASTIC_RUN_ID', raising=False)
    monkeypatch.setattr(launchers, 'PARENT', -1)
    with launchers.ending_with_launcher():
        time.sleep(1)
