"""The measure of a start opens a manifest twice, in processes of its own."""

import pytest

from coavt_mm.analysis.start_cost import measure_start
from coavt_mm.datasets import manifest_index


@pytest.mark.slow
def test_rows_and_memory_are_told(monkeypatch):
    monkeypatch.setattr(manifest_index, 'LEAST', 1)
    said = []
    first = measure_start(300, 1, said.append)
    assert said[0].startswith('300 rows, 0 MB, 1 processes') and len(said) == 5
    assert first['rows'] == 300 and first['seconds'] > 0
