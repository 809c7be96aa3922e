"""Some of the mutated files; `tests/soak/mutated_inputs.py` takes thousands."""

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent / 'soak' / 'mutated_inputs.py'


@pytest.mark.slow
def test_named_errors_only(tmp_path):
    run = subprocess.run(
        [sys.executable, SOAK, '--count', '45', '--limit', '300', '--workers', '1'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    assert run.stdout.endswith(', 0 findings\n') and 'media: 5 files' in run.stdout
