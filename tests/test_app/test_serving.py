"""``coavt app`` from its start to its end."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest


@pytest.mark.slow
def test_it_serves_until_it_is_ended_and_leaves_nothing(
    collection, checkpoint, tmp_path
):
    words = ['-m', 'coavt_mm', 'app', str(collection.folder), '--port', '0']
    env = {**os.environ, 'TMPDIR': str(tmp_path), 'HOME': str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, *words, '--checkpoint', str(checkpoint), '--device', 'cpu'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        line = process.stdout.readline()
        address = re.match(r'http://127\.0\.0\.1:[0-9]+', line)
        assert address, process.stderr.read()
        with urllib.request.urlopen(address[0]) as answer:
            assert b'Search your clips' in answer.read()
        assert [p for p in tmp_path.iterdir() if p.name.startswith('coavt_app_')]
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)
    assert process.returncode == 0 and 'Traceback' not in told[1]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith('coavt_')]
