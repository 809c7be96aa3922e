"""Similarity, batches of texts, the order of near-ties."""

import numpy as np
import pytest
import torch
from tiny_coavt import tiny_coavt
from torch.nn.functional import normalize
from torch.testing import assert_close

from coavt_mm.errors import ConfigError
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
