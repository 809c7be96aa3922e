"""Decoding against the slow way: no cache, every prefix scored anew, one clip."""

import functools
import itertools

import pytest
import torch
from tiny_coavt import DEC, SEP, VOCAB, tiny_batch, tiny_coavt
from transformers import (
    GenerationConfig,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput

from coavt_mm.errors import ConfigError
from coavt_mm.models.generation import Decoding, check_decoding, generate


@pytest.fixture(scope='module')
def model():
    model = tiny_coavt().eval()
    # wide weights and a likely end, so that captions differ between clips and end
    for parameter in (*model.query_encoder.parameters(), model.lm_head.dense.weight):
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.lm_head.bias.data[SEP] += 2.2
    return model


def _state(model, batch):
    data = tiny_batch(batch)
    return model.query(model.encode_av(data['spectrogram'], data['frames'][:, 0]))


def _one(state, b):
    pick = [(k[b : b + 1], v[b : b + 1]) for k, v in state.self_kv]
    return state._replace(hidden=state.hidden[b : b + 1], self_kv=pick)


def _write(model, state, **options):
    return generate(model.query_encoder, model.lm_head, state, **options)


@torch.no_grad()
def _logits(model, state, ids):
    """Of the token after [DEC] + ids, without a cache."""
    text = torch.tensor([[DEC, *ids]])
    encoder = model.query_encoder
    hidden, _ = encoder.decode_text(text, torch.ones_like(text), state.self_kv)
    return model.lm_head(hidden[:, -1], encoder.word_embeddings.weight)[0]


def _penalised(scores, ids, penalty):
    for token in {DEC, *ids}:
        scores[token] *= penalty if scores[token] < 0 else 1 / penalty
    return scores


def _scores(model, state, ids, penalty=1.0, min_new_tokens=1):
    """What beams are ranked by: log-probabilities, penalised."""
    scores = _penalised(_logits(model, state, ids).log_softmax(-1), ids, penalty)
    if len(ids) < min_new_tokens:
        scores[SEP] = float('-inf')
    return scores


@pytest.mark.parametrize('options', [dict(), dict(num_beams=3)])
def test_the_captions_here_differ_and_end(model, options):
    got = _write(model, _state(model, 6), max_new_tokens=12, **options)
    assert len({tuple(ids) for ids in got}) > 3
    assert len({len(ids) for ids in got}) > 1


@pytest.mark.parametrize('batch', [1, 5])
@pytest.mark.parametrize('penalty', [1.0, 1.7])
def test_greedy(model, batch, penalty):
    state = _state(model, batch)
    got = _write(model, state, max_new_tokens=6, repetition_penalty=penalty)
    for b in range(batch):
        ids = []
        while len(ids) < 6:
            logits = _penalised(_logits(model, _one(state, b), ids), ids, penalty)
            if not ids:
                logits[SEP] = float('-inf')  # min_new_tokens=1
            token = int(logits.argmax())
            if token == SEP:
                break
            ids.append(token)
        assert got[b] == ids


@pytest.mark.slow
def test_beams_wide_enough_find_the_best_caption(model):
    """With as many beams as prefixes, beam search is exhaustive search."""
    state = _state(model, 2)
    got = _write(model, state, num_beams=VOCAB**2, max_new_tokens=3)
    for b in range(2):
        one, scored = _one(state, b), []
        after = functools.cache(lambda *ids, one=one: _scores(model, one, ids).tolist())
        for length in (1, 2):
            for ids in itertools.product(range(VOCAB), repeat=length):
                if SEP not in ids:
                    text = (*ids, SEP)
                    total = sum(after(*text[:t])[text[t]] for t in range(length + 1))
                    scored.append((total / len(text), list(ids)))
        assert got[b] == max(scored)[1]


def _slow_beams(model, state, beams, max_new_tokens, length_penalty, **scoring):
    """Lists of (score, ids): sort all continuations, keep the best."""
    running, finished = [(0.0, [])], []
    for length in range(1, max_new_tokens + 1):
        grown = [
            (score + more, [*ids, token])
            for score, ids in running
            for token, more in enumerate(_scores(model, state, ids, **scoring).tolist())
        ]
        grown.sort(reverse=True)
        for score, ids in grown[:beams]:
            if score > float('-inf') and (ids[-1] == SEP or length == max_new_tokens):
                finished.append((score / length**length_penalty, ids))
        finished = sorted(finished, reverse=True)[:beams]
        running = [g for g in grown if g[1][-1] != SEP][:beams]
        best = running[0][0] / length**length_penalty
        if len(finished) == beams and finished[-1][0] >= best:
            break
    ids = finished[0][1]
    return ids[:-1] if ids[-1] == SEP else ids


@pytest.mark.parametrize('length_penalty', [-1.0, 0.0, 1.0, 2.5])
@pytest.mark.parametrize('penalty', [1.0, 1.7])
def test_beams(model, length_penalty, penalty):
    state = _state(model, 4)
    scoring = dict(min_new_tokens=2)
    got = _write(
        model,
        state,
        num_beams=3,
        max_new_tokens=7,
        length_penalty=length_penalty,
        repetition_penalty=penalty,
        **scoring,
    )
    for b in range(4):
        one = _one(state, b)
        slow = _slow_beams(model, one, 3, 7, length_penalty, penalty=penalty, **scoring)
        assert got[b] == slow


def test_a_long_caption_wins_by_the_length_penalty(model):
    """Of the same finished beams, a higher exponent never prefers a shorter one."""
    state = _state(model, 6)
    lengths = [
        [
            len(ids)
            for ids in _write(
                model, state, num_beams=4, max_new_tokens=12, length_penalty=penalty
            )
        ]
        for penalty in (0.0, 3.0)
    ]
    assert sum(lengths[0]) < sum(lengths[1])


def test_a_high_repetition_penalty_forbids_repeating(model):
    state = _state(model, 6)
    plain = _write(model, state, min_new_tokens=8, max_new_tokens=8)
    assert any(len(set(ids)) < len(ids) for ids in plain)  # else nothing is shown
    for options in (dict(), dict(num_beams=2)):
        got = _write(
            model,
            state,
            min_new_tokens=8,
            max_new_tokens=8,
            repetition_penalty=1e6,
            **options,
        )
        assert all(len(set(ids)) == len(ids) for ids in got)


@pytest.mark.parametrize(
    'options',
    [
        dict(num_beams=3, max_new_tokens=7, length_penalty=0.6),
        dict(max_new_tokens=7, repetition_penalty=1.3),
        dict(max_new_tokens=7, top_p=0.9, temperature=1.5, seed=4),
    ],
)
def test_batched_equals_one_by_one(model, options):
    state = _state(model, 4)
    keys = [7, 2**62, 0, 5]
    got = _write(model, state, clip_keys=keys, **options)
    for b in range(4):
        one = _write(model, _one(state, b), clip_keys=keys[b : b + 1], **options)
        assert got[b] == one[0]


def test_seed_and_key_decide_the_draws(model):
    state = _state(model, 4)
    options = dict(top_p=1.0, temperature=3.0, max_new_tokens=8)
    first = _write(model, state, **options)
    assert first == _write(model, state, **options, seed=0, clip_keys=range(4))
    assert first != _write(model, state, **options, seed=1)
    assert first != _write(model, state, **options, clip_keys=range(4, 8))


def _nucleus(logits, top_p, temperature):
    """Sorted by hand: the fewest tokens whose probabilities reach top_p."""
    probs = (logits / temperature).softmax(-1)
    kept, total = torch.zeros_like(probs), 0.0
    for token in probs.argsort(descending=True).tolist():
        if total >= top_p:
            break
        kept[token], total = probs[token], total + probs[token].item()
    return kept / kept.sum()


def test_first_tokens_are_drawn_from_the_nucleus(model):
    """4,000 draws for one clip have the nucleus' frequencies, nothing outside."""
    state, draws = _one(_state(model, 1), 0), 4000
    many = state._replace(
        hidden=state.hidden.expand(draws, -1, -1),
        self_kv=[
            tuple(x.expand(draws, -1, -1, -1) for x in kv) for kv in state.self_kv
        ],
    )
    got = _write(
        model, many, top_p=0.8, temperature=4.0, max_new_tokens=1, min_new_tokens=0
    )
    counts = torch.zeros(VOCAB)
    for ids in got:
        counts[ids[0] if ids else SEP] += 1
    logits = _logits(model, state, [])
    expected = _nucleus(logits, 0.8, 4.0)
    assert 1 < (expected > 0).sum() < VOCAB
    assert (counts[expected == 0] == 0).all()
    torch.testing.assert_close(counts / draws, expected, atol=0.03, rtol=0)


def test_a_nucleus_of_one_token_is_greedy(model):
    state = _state(model, 4)
    options = dict(max_new_tokens=12)
    assert _write(model, state, top_p=1e-9, **options) == _write(
        model, state, **options
    )


def test_min_new_tokens_and_limits(model):
    state = _state(model, 3)
    got = _write(model, state, min_new_tokens=4, max_new_tokens=5)
    assert all(4 <= len(ids) <= 5 and SEP not in ids for ids in got)
    with pytest.raises(ConfigError, match='longer than max_tokens'):
        _write(model, state, min_new_tokens=30, max_new_tokens=30)


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(num_beams=0), 'num_beams is 0'),
        (dict(max_new_tokens=0), 'max_new_tokens is 0'),
        (dict(min_new_tokens=31), 'min_new_tokens is 31'),
        (dict(repetition_penalty=0.0), 'repetition_penalty is 0.0'),
        (dict(top_p=0.9, temperature=0.0), 'temperature is 0.0'),
        (dict(top_p=1.1), 'top_p is 1.1'),
        (dict(top_p=0.0), 'top_p is 0.0'),
        (dict(top_p=0.9, num_beams=2), 'num_beams must be 1'),
        (dict(temperature=0.7), 'need top_p'),
        (dict(seed=1), 'need top_p'),
    ],
)
def test_senseless_options_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        Decoding(**options)
    with pytest.raises(ConfigError, match=f"decoding 'mine': .*{match}"):
        check_decoding('mine', options)


def test_an_unknown_option_is_refused_when_the_model_is_built():
    with pytest.raises(ConfigError, match=r"'beam': unknown \['beams'\].*num_beams"):
        tiny_coavt(test_cfg=dict(caption=dict(beam=dict(beams=3))))


class _Plain(PreTrainedModel, GenerationMixin):
    """The language model of one clip, as transformers' generate() drives it."""

    config_class = PretrainedConfig
    main_input_name = 'input_ids'

    def __init__(self, model, state):
        super().__init__(PretrainedConfig(vocab_size=VOCAB, is_encoder_decoder=False))
        self.generation_config = GenerationConfig()
        self.parts = [model, state]  # a list: no sub-modules, nothing to initialise
        self.scale = torch.nn.Parameter(torch.ones(1))

    def prepare_inputs_for_generation(self, input_ids, **kwargs):
        return dict(input_ids=input_ids)

    def forward(self, input_ids, **kwargs):
        model, state = self.parts
        logits = [_logits(model, state, row[1:]) for row in input_ids.tolist()]
        return CausalLMOutput(logits=torch.stack(logits)[:, None])


@pytest.mark.parametrize('options', [{}, *(
    dict(num_beams=4, length_penalty=penalty) for penalty in (0.0, 1.0)
)])  # fmt: skip
@pytest.mark.parametrize('penalty', [1.0, 1.7])
def test_equals_generate_of_transformers(model, options, penalty):
    state = _state(model, 6)
    options = dict(options, repetition_penalty=penalty)
    got = _write(model, state, max_new_tokens=12, min_new_tokens=3, **options)
    for b in range(6):
        ids = _Plain(model, _one(state, b)).generate(
            torch.tensor([[DEC]]),
            do_sample=False,
            max_new_tokens=12,
            min_new_tokens=3,
            eos_token_id=SEP,
            pad_token_id=0,
            use_cache=False,
            **options,
        )
        there = [*ids[0, 1:].tolist(), SEP]
        assert got[b] == there[: there.index(SEP)]
