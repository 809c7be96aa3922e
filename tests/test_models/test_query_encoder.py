"""The query encoder equals transformers' Q-Former, and hides what it must hide."""

import pytest
import torch
import transformers
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from coavt_mm.checkpoints.blip2 import layer_rules, mlp_rules
from coavt_mm.checkpoints.conversion import Report, Rule, rename
from coavt_mm.errors import ConfigError
from coavt_mm.models import QueryEncoder

QUERIES, WIDTH, CONTEXT, VOCAB = 3, 20, 14, 23
OLD, NEW = r'encoder\.layer\.(\d+)', r'layers.\1'
TABLE = [
    *layer_rules(OLD, NEW),
    *mlp_rules(OLD, NEW, '', ['text_mlp']),
    *mlp_rules(OLD, NEW, '_query', ['query_mlp']),
    Rule(r'layernorm\.(\w+)', [r'norm.\1']),
]


def theirs(depth=5, every=2):
    torch.manual_seed(0)
    config = Blip2QFormerConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_hidden_layers=depth,
        num_attention_heads=5,
        intermediate_size=26,
        encoder_hidden_size=CONTEXT,
        cross_attention_frequency=every,
        use_qformer_text_input=True,
    )
    model = Blip2QFormerModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def ours_of(model, depth=5, every=2):
    ours = QueryEncoder(
        QUERIES, WIDTH, 5, depth, 26, CONTEXT, every, VOCAB, max_tokens=11
    ).eval()
    state = {
        name.replace('attention.attention.', 'attention.self.'): tensor
        for name, tensor in model.state_dict().items()
    }
    report = Report('Q-Former')
    missing = ours.load_state_dict(rename(state, TABLE, report), strict=False)
    assert not report.unexpected
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) == {
        'query_tokens',
        'word_embeddings.weight',
        'position_embeddings.weight',
    }
    return ours


def run(model, ours, tokens, ids=None, allowed=None, queries=True):
    """Their last states; `allowed` (B, N, N) bool, True where attention may go."""
    parts = []
    if queries:
        parts.append(ours.query_tokens.expand(len(tokens), -1, -1))
    if ids is not None:
        positions = ours.position_embeddings.weight[: ids.shape[1]]
        parts.append(ours.word_embeddings(ids) + positions)
    # releases up to 4 take (B, N, N) numbers, later ones only a bool of four axes
    mask = None
    if allowed is not None:
        major = int(transformers.__version__.split('.')[0])
        mask = allowed.float() if major < 5 else allowed[:, None]
    return model(
        query_embeds=torch.cat(parts, 1),
        query_length=QUERIES if queries else 0,
        attention_mask=mask,
        encoder_hidden_states=tokens,
    ).last_hidden_state


def batch(size=3, length=7):
    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, length + 1, (size, 1), generator=g)
    mask = torch.arange(length) < lengths
    ids = torch.randint(1, VOCAB, (size, length), generator=g)
    return torch.randn(size, 9, CONTEXT, generator=g), ids * mask, mask


def close(got, expected):
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ('size', 'depth', 'every'), [(3, 5, 2), (1, 2, 1), (2, 4, 3), (1, 1, 2)]
)
def test_all_three_objectives_equal_transformers(size, depth, every):
    model = theirs(depth, every)
    ours = ours_of(model, depth, every)
    tokens, ids, mask = batch(size)
    state = ours.encode_queries(tokens)
    close(state.hidden, run(model, ours, tokens))
    # text alone, in both directions
    both = mask[:, None].expand(-1, ids.shape[1], -1)
    close(
        ours.encode_text(ids, mask.long())[mask],
        run(model, ours, tokens, ids, both, queries=False)[mask],
    )
    # matching: everybody sees everybody
    seen = torch.cat([torch.ones(size, QUERIES).bool(), mask], 1)
    everybody = seen[:, None].expand(-1, seen.shape[1], -1)
    got = ours.encode_pair(ours.project_context(tokens), ids, mask.long())
    close(got, run(model, ours, tokens, ids, everybody)[:, :QUERIES])
    # language modelling: queries see queries, text sees queries and earlier text
    causal = everybody.tril()
    causal[:, :QUERIES, :QUERIES] = True
    causal[:, :QUERIES, QUERIES:] = False
    got, _ = ours.decode_text(ids, mask.long(), state.self_kv)
    expected = run(model, ours, tokens, ids, causal)
    close(got[mask], expected[:, QUERIES:][mask])
    close(state.hidden, expected[:, :QUERIES])


@torch.no_grad()
def test_a_later_token_never_changes_an_earlier_state():
    ours = ours_of(theirs())
    tokens, ids, _ = batch()
    past = ours.encode_queries(tokens).self_kv
    every = torch.ones_like(ids)
    before, _ = ours.decode_text(ids, every, past)
    for place in range(1, ids.shape[1]):
        changed = ids.clone()
        changed[:, place] = (changed[:, place] + 1) % VOCAB
        after, _ = ours.decode_text(changed, every, past)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.allclose(after[:, place:], before[:, place:])


@torch.no_grad()
def test_text_changes_queries_in_matching_but_not_in_the_language_pass():
    ours = ours_of(theirs())
    tokens, ids, mask = batch()
    state = ours.encode_queries(tokens)
    kept = [tuple(t.clone() for t in kv) for kv in state.self_kv]
    _, present = ours.decode_text(ids, mask.long(), state.self_kv)
    for (key, value), (old_key, old_value) in zip(present, kept, strict=True):
        assert torch.equal(key[:, :, :QUERIES], old_key)
        assert torch.equal(value[:, :, :QUERIES], old_value)
    context = ours.project_context(tokens)
    pairs = [ours.encode_pair(context, text, mask.long()) for text in (ids, ids % 7)]
    assert not torch.allclose(*pairs)


@torch.no_grad()
def test_reading_piece_by_piece_equals_reading_at_once():
    ours = ours_of(theirs())
    tokens, ids, _ = batch()
    every, past = torch.ones_like(ids), ours.encode_queries(tokens).self_kv
    whole, _ = ours.decode_text(ids, every, past)
    for place in range(ids.shape[1]):
        piece = slice(place, place + 1)
        got, past = ours.decode_text(ids[:, piece], every[:, piece], past)
        close(got, whole[:, piece])


@torch.no_grad()
def test_padding_changes_nothing():
    ours = ours_of(theirs())
    tokens, ids, _ = batch(1)
    every, context = torch.ones_like(ids), ours.project_context(tokens)
    longer = [torch.nn.functional.pad(x, (0, 3)) for x in (ids, every)]
    close(ours.encode_pair(context, *longer), ours.encode_pair(context, ids, every))
    close(ours.encode_text(*longer)[:, :7], ours.encode_text(ids, every))


def test_query_feed_forward_starts_as_a_copy_and_the_context_is_one_pass_per_clip():
    ours = QueryEncoder(QUERIES, WIDTH, 5, 4, 26, CONTEXT, 2, VOCAB, 11)
    for layer in ours.layers:
        for mine, text in zip(
            layer.query_mlp.parameters(), layer.text_mlp.parameters(), strict=True
        ):
            assert torch.equal(mine, text) and mine is not text
    crossing = [
        kv is not None for kv in ours.project_context(torch.randn(1, 2, CONTEXT))
    ]
    assert crossing == [True, False, True, False]


def test_a_text_beyond_max_tokens_is_an_error():
    ours = QueryEncoder(QUERIES, WIDTH, 5, 1, 26, CONTEXT, 2, VOCAB, max_tokens=6)
    ids = torch.ones(1, 7, dtype=torch.long)
    with pytest.raises(ConfigError, match='max_tokens=6'):
        ours.encode_text(ids, ids)


@torch.no_grad()
def test_attention_maps_are_the_weights_that_the_pass_uses():
    ours = ours_of(theirs())
    tokens, _, _ = batch()
    before = ours.encode_queries(tokens).hidden
    maps = ours.attention_maps(tokens)
    assert maps.shape == (3, 3, QUERIES, 9)  # layers 0, 2 and 4 cross-attend
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 3, QUERIES))
    layer, x = ours.layers[0], ours.norm(ours.query_tokens).expand(3, -1, -1)
    x = layer.self_attn(x, layer.self_attn.keys_values(x))
    cross = layer.cross_attn
    kv = cross.keys_values(tokens)
    weights = cross.weights(x, kv)
    close(maps[:, 0], weights.mean(1))
    update = cross.out((weights @ kv[1]).transpose(1, 2).flatten(2))
    close(cross(x, kv), cross.norm(x + update))
    assert torch.equal(ours.encode_queries(tokens).hidden, before)
    assert not any(c._forward_pre_hooks for c in ours.modules())  # nothing is left


@pytest.mark.parametrize(
    'setting',
    [dict(num_heads=0), dict(num_heads=-1), dict(num_heads=5), dict(dropout=1)],
)
def test_heads_and_dropout_that_make_no_sense(setting):
    options = {**dict(embed_dims=12, num_heads=2, depth=1, vocab_size=9), **setting}
    with pytest.raises(ConfigError, match='embed_dims 12 is not a multiple'):
        QueryEncoder(**options)
