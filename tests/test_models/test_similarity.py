"""Similarity, batches of texts, the order of near-ties."""

import numpy as np
import pytest
import torch
from tiny_coavt import tiny_coavt
from torch.nn.functional import normalize
from torch.testing import assert_close

from coavt_mm.errors import ConfigError
from coavt_mm.models import similarity as module
from coavt_mm.models.similarity import (
    embed_rows,
    padded,
    pair_similarity,
    similarity,
)


def slow(text, clip):
    """The best query's cosine, averaged over frames; one text, one clip (F, Q, E)."""
    best = [max(float(query @ text) for query in frame) for frame in clip]
    return sum(best) / len(best)


@pytest.mark.parametrize('shape', [(1, 1, 1, 4), (3, 2, 5, 8), (2, 4, 1, 3)])
def test_it_is_the_obvious_one(shape):
    clips = normalize(torch.randn(shape), dim=-1)
    texts = normalize(torch.randn(6, shape[-1]), dim=-1)
    wanted = torch.tensor([[slow(t, c) for c in clips] for t in texts])
    assert_close(similarity(texts, clips), wanted)
    for clip, column in zip(clips, wanted.T, strict=True):
        assert_close(similarity(texts, clip), column)
        assert_close(similarity(texts.numpy(), clip.numpy()), column)


def tiles(monkeypatch, products, texts=2, many=3):
    monkeypatch.setattr(module, 'TILE_PRODUCTS', products)
    monkeypatch.setattr(module, 'TILE_TEXTS', texts)
    monkeypatch.setattr(module, 'MANY_CLIPS', many)
    monkeypatch.setattr(module, 'MANY_TEXTS', 2)


@pytest.mark.parametrize('products', [1, 7, 50])
@pytest.mark.parametrize('shape', [(2, 2, 3, 5), (3, 1, 4, 5), (9, 1, 1, 5),
                                   (7, 3, 2, 5), (10, 1, 6, 5)])  # fmt: skip
@pytest.mark.parametrize('texts', [1, 3, 8])
def test_tiles_do_not_show(monkeypatch, products, shape, texts):
    clips = torch.randn(shape, dtype=torch.float64)
    asked = torch.randn(texts, 5, dtype=torch.float64)
    clips[-1, -1, -1, 0] = clips[1, 0, 0, 2] = torch.nan
    wanted = torch.stack([
        (asked @ clip.flatten(0, 1).T).unflatten(1, clip.shape[:2]).amax(-1).mean(-1)
        for clip in clips
    ], 1)  # fmt: skip
    tiles(monkeypatch, products)
    found = similarity(asked, clips)
    assert_close(found, wanted, equal_nan=True)
    assert found.isnan().any() and not found.isnan().all()


def test_tiles_have_gradients(monkeypatch):
    texts, clips = torch.randn(5, 4), torch.randn(6, 2, 3, 4, requires_grad=True)
    whole = similarity(texts, clips).square().sum()
    tiles(monkeypatch, 1)
    some = similarity(texts, clips).square().sum()
    assert_close(*(torch.autograd.grad(x, clips)[0] for x in (some, whole)))


def test_padding_is_at_the_end_and_masked():
    ids, mask = padded([torch.tensor([5, 6, 7]), torch.tensor([8])], 9, 'cpu')
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_batches_of_texts_do_not_show():
    model = tiny_coavt().eval()
    rng = np.random.default_rng(0)
    rows = [torch.from_numpy(rng.integers(1, 20, n)) for n in (3, 7, 1, 5, 4)]
    wanted = torch.cat([embed_rows(model, [row], 0) for row in rows])
    for size in (1, 2, 5, 64):
        found = embed_rows(model, rows, 0, size)
        assert_close(found, wanted, atol=1e-6, rtol=0)
        assert not found.requires_grad
    states = model.encode_text(*padded(rows, 0, 'cpu'))
    assert_close(found, model.contrastive_head.project_text(states))
    model.contrastive_head = None
    with pytest.raises(ConfigError, match='no contrastive_head'):
        embed_rows(model, rows, 0)


@pytest.mark.parametrize('shape', [(1, 1, 1, 4), (5, 3, 2, 7)])
def test_pairs_are_the_diagonal(shape):
    texts = normalize(torch.randn(shape[0], shape[-1]), dim=-1)
    clips = normalize(torch.randn(shape), dim=-1)
    assert_close(pair_similarity(texts, clips), similarity(texts, clips).diag())
