"""Tiny models for the inferencer, from checkpoints that carry their config."""

import pytest
import tiny_apis

from coavt_mm.apis import CoAVTInferencer


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory, vocabulary):
    path = tmp_path_factory.mktemp('apis') / 'coavt.pth'
    return tiny_apis.save(tiny_apis.coavt_cfg(vocabulary), path)


@pytest.fixture(scope='session')
def coavt(checkpoint):
    """An inferencer without bars."""
    return CoAVTInferencer(weights=checkpoint, device='cpu', show_progress=False)


@pytest.fixture(scope='session')
def classifier(tmp_path_factory, vocabulary):
    path = tmp_path_factory.mktemp('apis') / 'classifier.pth'
    tiny_apis.save(tiny_apis.classifier_cfg(vocabulary), path)
    return CoAVTInferencer(weights=path, device='cpu', show_progress=False)


@pytest.fixture(scope='session')
def short(make_clip):
    """A clip of one window: 0.5 s."""
    return make_clip(seconds=0.5)
