"""A process beside that decodes, with decoders that fail as the file's name says."""

import pytest

# stands in for `serve`: names of files say what becomes of the process that reads them
FAULTY = """
import os, sys, time
from coavt_mm.datasets import isolation, sources
def faulty(read):
    def wrapper(self, *args):
        name = os.path.basename(str(self.file))
        if name.startswith('crash'):
            os.kill(os.getpid(), 11)
        if name.startswith('abort'):
            os.abort()
        if name.startswith('hang'):
            open(str(self.file) + '.read', 'w').close()
            time.sleep(60)
        if name.startswith('large'):
            bytearray(64 << 30)
        return read(self, *args)
    return wrapper
for method in ('frames', 'audio'):
    setattr(sources.FileSource, method, faulty(getattr(sources.FileSource, method)))
isolation.serve({number})
"""


@pytest.fixture
def faulty(monkeypatch):
    """From now on a process beside fails over crash*, abort*, hang* and large*."""
    from coavt_mm.datasets import isolation

    monkeypatch.setattr(isolation, '_START', FAULTY)
    monkeypatch.setattr(isolation, '_readers', isolation._Readers())
    yield
    isolation._readers.end()
