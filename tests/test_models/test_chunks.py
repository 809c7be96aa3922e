"""A batch computed in chunks has the losses and gradients of the whole."""

import math

import pytest
import torch
from tiny_coavt import (
    CASES,
    FUSED,
    HEADS,
    VOCAB,
    described,
    odd_batch,
    of_one_sense,
    samples,
    tiny_cfg,
    tiny_coavt,
)
from waits import Graphs, Rows, Waits

from coavt_mm.errors import ConfigError
from coavt_mm.models import AVTDataPreprocessor, chunks, language
from coavt_mm.models.chunks import in_chunks

STREAMS = dict(AV=1.0, A=0.5, V=2.0)
ALL = dict(
    HEADS,
    matching_head=dict(FUSED['matching_head'], streams=STREAMS),
    lm_head=dict(
        type='LanguageModelingHead', dec_token_id=5, end_token_id=3, streams=STREAMS
    ),
)


def step(model, batch, described=None):
    """Losses and gradients; the same draws every time."""
    torch.manual_seed(1)
    described = samples(len(batch['clip_key'])) if described is None else described
    losses = model(dict(batch), described, mode='loss')
    sum(x for name, x in losses.items() if 'loss' in name).backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {name: x.detach() for name, x in losses.items()}, grads


def assert_equal(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    assert found[1].keys() == expected[1].keys()
    for name, grad in expected[1].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('case', 'size'), [*((case, 2) for case in CASES), ('mixed', 1), ('mixed', 9)]
)
def test_losses_and_gradients_are_those_of_the_whole_batch(case, size):
    nested = dict(type='ContrastiveHead', proj_dims=8, nested_dims=[3])
    plain = dict(ALL, contrastive_head=nested)
    whole = step(tiny_coavt(**plain), odd_batch(case))
    with Waits() as waits, Rows() as rows:
        cached = step(tiny_coavt(**plain, grad_cache=size), odd_batch(case))
    assert waits.found == [] and min(rows.seen) > 0
    assert_equal(cached, whole)


def few_logits(monkeypatch, captions=2):
    """Those of one or two captions at a time."""
    monkeypatch.setattr(language, 'KEPT_LOGITS', captions * VOCAB)


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('grad_cache', [None, 3])
@pytest.mark.parametrize('captions', [1, 2])
def test_losses_are_those_of_all_logits_at_once(
    monkeypatch, case, grad_cache, captions
):
    whole = step(with_dropout(grad_cache=grad_cache), odd_batch(case))
    few_logits(monkeypatch, captions)
    with Waits() as waits:
        found = step(with_dropout(grad_cache=grad_cache), odd_batch(case))
    assert waits.found == []
    assert_equal(found, whole)


def test_logits_of_few_captions_are_kept(monkeypatch):
    def logits():
        kept = kept_tensors(tiny_coavt(**ALL), odd_batch('all'))
        return [
            x.shape for x in kept if x.dim() in (2, 3) and x.shape[-1] in (VOCAB, 32)
        ]

    assert max(math.prod(shape) for shape in logits()) >= 5 * 7 * VOCAB
    few_logits(monkeypatch)
    assert not logits()


@pytest.mark.slow
def test_few_logits_are_one_graph(monkeypatch):
    few_logits(monkeypatch)
    graphs = Graphs()
    model, plain = tiny_coavt(**ALL), tiny_coavt(**ALL)
    model.compile_losses(backend=graphs, fullgraph=True)
    for length in (5, 9, 7, 12):
        batch = odd_batch('mixed')
        batch['input_ids'] = batch['input_ids'].repeat(1, 3)[:, :length]
        batch['attention_mask'] = torch.ones_like(batch['input_ids'])
        assert_equal(step(model, dict(batch)), step(plain, dict(batch)))
    assert 1 <= graphs.number <= 3


@pytest.mark.parametrize('about', [['V'] * 5, ['A', 'V', 'A', 'V', 'A'],
                                   ['V', 'A', 'AV', 'V', 'V', 'V']])  # fmt: skip
@pytest.mark.parametrize('streams', [dict(A=1.0, V=2.0), STREAMS])
def test_clips_that_do_not_count_are_left_out_of_chunks_too(about, streams):
    heads = dict(
        ALL,
        matching_head=dict(type='MatchingHead', streams=streams),
        contrastive_head=dict(type='ContrastiveHead', proj_dims=8, streams=streams),
        lm_head=dict(ALL['lm_head'], streams=streams),
        av_head=None,
        data_preprocessor=AVTDataPreprocessor(),
    )
    batch = of_one_sense(about)
    steps = [
        step(tiny_coavt(**heads, grad_cache=size), batch, described(batch, about))
        for size in (None, 2)
    ]
    assert_equal(*reversed(steps))


def with_dropout(**options):
    model = tiny_coavt(**ALL, **options)
    encoder = dict(mask_ratio=(0.5, 0.5), mask_mode='time')
    for name, value in encoder.items():
        setattr(model.av_encoder, name, value)
    for module in model.modules():
        if hasattr(module, 'drop_path'):
            module.drop_path = 0.3
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
        elif isinstance(getattr(module, 'dropout', None), float):
            module.dropout = 0.3
    return model


@pytest.mark.parametrize('with_cp', [False, True])
def test_dropout_is_replayed(monkeypatch, with_cp):
    """Chunks that are kept, and so computed once, give the same."""
    calls = []

    def run():
        model = with_dropout(grad_cache=2)
        model.av_encoder.with_cp = with_cp
        model.av_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
        return step(model, odd_batch('mixed'))

    cached, twice = run(), len(calls)
    monkeypatch.setattr(chunks, 'checkpoint', lambda f, *x, use_reentrant: f(*x))
    kept = run()
    assert twice == 2 * 3 and len(calls) == twice + 3
    assert_equal(cached, kept)
    other = step(with_dropout(grad_cache=3), odd_batch('mixed'))
    assert not torch.allclose(other[0]['loss_lm_AV'], kept[0]['loss_lm_AV'], rtol=1e-3)


def kept_tensors(model, batch):
    """What a forward pass keeps for the backward one, beside the weights."""
    kept = {}

    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x  # no other can take its place
        return x

    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        model(batch, samples(5), mode='loss')
    return [x for k, x in kept.items() if k not in weights]


def kept_bytes(depth, **options):
    encoder = dict(tiny_cfg()['av_encoder'], depths=(depth, depth, 1))
    model = tiny_coavt(av_encoder=encoder, **options)
    kept = kept_tensors(model, odd_batch('all'))
    return sum(x.untyped_storage().nbytes() for x in kept)


def test_what_is_kept_does_not_grow_with_the_layers():
    assert kept_bytes(4, grad_cache=2) == kept_bytes(1, grad_cache=2)
    assert kept_bytes(4) > kept_bytes(1) > 2 * kept_bytes(1, grad_cache=2)


def test_matching_copies_the_keys_and_values_of_wrong_clips_alone():
    """Not those of three clips for each: right, wrong and right again."""
    clips, tokens, heads, width = 5, 10, 2, 10  # of the joint stream
    model, batch = tiny_coavt(), odd_batch('all')
    layers = sum(x.cross_attn is not None for x in model.query_encoder.layers)

    def copies():
        kept = [x for x in kept_tensors(model, dict(batch)) if x.dim() == 4]
        assert all(len(x) <= clips for x in kept if x.shape[2] == tokens)
        return sum(x.shape == (clips, heads, tokens, width) for x in kept)

    assert copies() == layers * 2 * 2  # keys and values: one of all, one of the wrong
    model.matching_head = None
    assert copies() == layers * 2


def test_a_chunk_is_let_go_before_the_next_is_computed_anew():
    events, ones = [], torch.ones(5, 2)
    weight = torch.ones(2, requires_grad=True)

    def function(x):
        events.append(('computed', len(x)))
        y = (x * weight).exp()
        y.register_hook(lambda grad: events.append(('done', len(grad))))
        return dict(a=y.sum(1), b=[y * 2])

    out = in_chunks(function, 2, ones)
    assert out['a'].shape == (5,) and out['b'][0].shape == (5, 2)
    assert [x for x in events if x[0] == 'computed'] == [
        ('computed', 2), ('computed', 2), ('computed', 1)
    ]  # fmt: skip
    events.clear()
    (out['a'].sum() + out['b'][0].sum()).backward()
    sizes = [size for what, size in events if what == 'computed']
    assert sizes == [1, 2, 2]
    order = [what for what, _ in events]
    assert order == ['done', 'computed'] * 3 or order == ['computed', 'done'] * 3
    torch.testing.assert_close(weight.grad, torch.full((2,), 15 * 2.718281828))


@pytest.mark.slow
def test_chunks_and_dropped_tokens_are_one_graph():
    graphs = Graphs()
    model = tiny_coavt(**ALL, grad_cache=2)
    plain = step(tiny_coavt(**ALL), odd_batch('mixed'))
    model.compile_losses(backend=graphs, fullgraph=True)
    assert_equal(step(model, odd_batch('mixed')), plain)
    assert graphs.number == 1
    dropping = with_dropout()
    dropping.compile_losses(backend=graphs, fullgraph=True)
    for case in ('mixed', 'silent'):
        step(dropping, odd_batch(case))
    assert 2 <= graphs.number <= 3  # whoever takes part


def test_no_chunk_of_none():
    with pytest.raises(ConfigError, match='1 clip or more'):
        tiny_coavt(grad_cache=0)
