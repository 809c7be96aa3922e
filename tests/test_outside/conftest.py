"""The tiny models; nothing is asked of the hub."""

import pytest
from api_fixtures import checkpoint, classifier, coavt, short  # noqa: F401


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')


@pytest.fixture(scope='session')
def silent(make_clip):
    """A picture without sound."""
    return make_clip(seconds=0.5, sound=False)


@pytest.fixture(scope='session')
def long(make_clip):
    """A clip of three windows."""
    return make_clip(seconds=1.5)
