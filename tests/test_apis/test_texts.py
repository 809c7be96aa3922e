"""Texts of several models at once: the same answers as one after the other."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny_apis

from coavt_mm.apis import CoAVTInferencer, embed

LONG = 'the dog barks a b c d e f g h'  # 13 tokens with [CLS] and [SEP]


@pytest.fixture(scope='module')
def two(tmp_path_factory, vocabulary):
    """Models with one vocabulary that cut texts at 12 and at 6 tokens."""
    models = []
    for length in (12, 6):
        cfg = tiny_apis.coavt_cfg(vocabulary)
        cfg.model.text_encoder.init = 'wide'  # else all texts are nearly the same
        cfg.test_dataloader.dataset.pipeline[4].max_tokens = length
        path = tmp_path_factory.mktemp('texts') / f'{length}.pth'
        tiny_apis.save(cfg, path)
        models.append(CoAVTInferencer(weights=path, device='cpu', show_progress=False))
    return models


def test_two_lengths_of_one_vocabulary_in_threads(two):
    texts = [LONG, 'the dog', f'{LONG} barks']

    def feats(model):
        found = embed(text=texts, model=model)['texts']
        return np.stack([text['embedding'] for text in found])

    alone = [feats(model) for model in two]
    assert np.abs(alone[0][0] - alone[1][0]).max() > 1e-2  # cut at another place
    assert np.array_equal(alone[1][0], alone[1][2])
    with ThreadPoolExecutor(4) as pool:
        for k, found in enumerate(pool.map(feats, two * 20)):
            np.testing.assert_allclose(found, alone[k % 2], atol=1e-6)
