"""Encoders of others in miniature, one of each kind."""

import pytest
import tiny_peers
import transformers
from api_fixtures import short  # noqa: F401

from coavt_mm.apis import CoAVTInferencer


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    """Kind and its maker's options -> folder; each is made once."""
    root, made = tmp_path_factory.mktemp('peers'), {}

    def get(kind, **options):
        if transformers.__version__ < '5':
            pytest.skip('encoders of others need transformers 5')
        if kind == 'pe_audio_video':
            pytest.importorskip('timm', reason='PE-AV needs timm')
        key = (kind, *options.items())
        if key not in made:
            made[key] = tiny_peers.save(kind, root / str(len(made)), **options)
        return made[key]

    return get


@pytest.fixture(scope='session')
def peer(folder):
    """Kind -> inferencer without bars; each is loaded once."""
    loaded = {}

    def get(kind):
        if kind not in loaded:
            path = str(folder(kind))
            loaded[kind] = CoAVTInferencer(None, path, 'cpu', show_progress=False)
        return loaded[kind]

    return get
