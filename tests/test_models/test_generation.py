"""Decoding against the slow way: no cache, every prefix scored anew."""

import itertools

import pytest
import torch
from tiny_coavt import DEC, SEP, VOCAB, tiny_batch, tiny_coavt

from coavt_mm.models.generation import generate


@pytest.fixture(scope='module')
def model():
    model = tiny_coavt().eval()
    # wide weights, so that captions depend on the clip and end at times
    for parameter in model.parameters():
        parameter.data *= 3
    return model


def _state(model, batch):
    data = tiny_batch(batch)
    return model.query(model.encode_av(data['spectrogram'], data['frames'][:, 0]))


def _one(state, b):
    pick = [(k[b : b + 1], v[b : b + 1]) for k, v in state.self_kv]
    return state._replace(hidden=state.hidden[b : b + 1], self_kv=pick)


@torch.no_grad()
def _log_probs(model, state, ids):
    """Next-token log-probabilities after [DEC] + ids, without a cache."""
    text = torch.tensor([[DEC, *ids]])
    encoder = model.query_encoder
    hidden, _ = encoder.decode_text(text, torch.ones_like(text), state.self_kv)
    logits = model.lm_head(hidden[:, -1], encoder.word_embeddings.weight)[0]
    if not ids:
        logits[SEP] = float('-inf')  # min_tokens=1
    return logits.log_softmax(-1)


@pytest.mark.parametrize('batch', [1, 5])
def test_greedy(model, batch):
    state = _state(model, batch)
    got = generate(model.query_encoder, model.lm_head, state, max_tokens=6)
    for b in range(batch):
        ids = []
        while len(ids) < 6:
            token = int(_log_probs(model, _one(state, b), ids).argmax())
            if token == SEP:
                break
            ids.append(token)
        assert got[b] == ids


def test_beams_wide_enough_find_the_best_caption(model):
    """With as many beams as prefixes, beam search is exhaustive search."""
    state = _state(model, 2)
    got = generate(
        model.query_encoder, model.lm_head, state, num_beams=VOCAB**2, max_tokens=3
    )
    for b in range(2):
        one, scored = _one(state, b), []
        for length in (1, 2):
            for ids in itertools.product(range(VOCAB), repeat=length):
                if SEP in ids:
                    continue
                total = sum(
                    _log_probs(model, one, list(ids[:t]))[ids[t]].item()
                    for t in range(length)
                )
                total += _log_probs(model, one, list(ids))[SEP].item()
                scored.append((total / length, list(ids)))
        assert got[b] == max(scored)[1]


def test_batched_equals_one_by_one(model):
    state = _state(model, 4)
    options = dict(num_beams=3, max_tokens=7, length_penalty=0.6)
    got = generate(model.query_encoder, model.lm_head, state, **options)
    for b in range(4):
        one = generate(model.query_encoder, model.lm_head, _one(state, b), **options)
        assert got[b] == one[0]


def test_min_tokens_and_limits(model):
    state = _state(model, 3)
    got = generate(
        model.query_encoder, model.lm_head, state, min_tokens=4, max_tokens=5
    )
    assert all(4 <= len(ids) <= 5 and SEP not in ids for ids in got)
    with pytest.raises(ValueError, match='num_beams'):
        generate(model.query_encoder, model.lm_head, state, num_beams=0)
    with pytest.raises(ValueError, match='longer than max_tokens'):
        generate(
            model.query_encoder, model.lm_head, state, min_tokens=30, max_tokens=30
        )
