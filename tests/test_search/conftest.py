"""The tiny models, and folders of small clips."""

import shutil

import pytest
from api_fixtures import checkpoint, classifier, coavt, short  # noqa: F401

SIZES = ((64, 48), (48, 64), (96, 64), (64, 96))


@pytest.fixture(autouse=True)
def needs_faiss():
    """The extra `search`, which the extra `test` has, too."""
    reason = 'the extra search (faiss-cpu) is not installed'
    pytest.importorskip('faiss', reason=reason)


@pytest.fixture(autouse=True)
def own_notes(tmp_path, monkeypatch):
    """Stores that tests name are not noted as those of the person who runs them."""
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'config'))


@pytest.fixture
def folder(tmp_path, make_clip):
    """Four clips of one window, one of three windows, in two folders."""
    root = tmp_path / 'clips'
    (root / 'inner').mkdir(parents=True)
    for number, size in enumerate(SIZES):
        place = root / ('inner' if number > 1 else '')
        clip = make_clip(seconds=0.5, size=size)
        shutil.copy(clip, place / f'{number}.mp4')
    shutil.copy(make_clip(seconds=1.5), root / 'long.mp4')
    return root


@pytest.fixture
def index(tmp_path, folder, coavt):  # noqa: F811
    from coavt_mm.search import Index

    with Index.create(tmp_path / 'index', coavt) as made:
        made.add(coavt, [folder])
        yield made
