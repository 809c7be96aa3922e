import math

import pytest
import torch
import torch.nn.functional as F
from tiny_coavt import CASES, FUSED, VOCAB, odd_batch, samples, tiny_coavt

from coavt_mm.errors import ConfigError
from coavt_mm.models import (
    AVContrastiveHead,
    ContrastiveHead,
    LanguageModelingHead,
    MatchingHead,
)
from coavt_mm.models.heads import contrastive_loss, pool_tokens
from coavt_mm.models.language import in_eights
from coavt_mm.models.layers import draw_negatives
from coavt_mm.models.losses import Similarity


@pytest.mark.parametrize('offset', [1.5, -2, math.nan])
def test_an_offset_is_a_cosine(offset):
    with pytest.raises(ConfigError, match=f'similarity_offset={offset} is no cosine'):
        MatchingHead(8, similarity_offset=offset)


def _contrastive(batch=5, **options):
    torch.manual_seed(0)
    head = ContrastiveHead(embed_dims=6, text_dims=4, proj_dims=3, **options)
    feats = head.project_queries(torch.randn(batch, 2, 6))
    text = head.project_text(torch.randn(batch, 7, 4))
    return head, feats, text, head.similarity(feats, text, feats, text)


@pytest.mark.parametrize('batch', [1, 5])
@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_contrastive_loss_is_smoothed_cross_entropy(batch, smoothing):
    head, feats, text, similarity = _contrastive(batch, label_smoothing=smoothing)
    every = torch.ones(batch, dtype=torch.bool)
    loss = head.loss(similarity, torch.eye(batch, dtype=torch.bool), every, every)
    scores = torch.stack([(feats @ t).amax(1) for t in text], 1) / 0.07  # (clip, text)
    labels = torch.arange(batch)
    expected = (
        F.cross_entropy(scores, labels, label_smoothing=smoothing)
        + F.cross_entropy(scores.t(), labels, label_smoothing=smoothing)
    ) / 2
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize('nested', [(1,), (2, 5), (7,)])
@pytest.mark.parametrize('case', CASES)
def test_prefixes_of_the_features_are_trained_like_the_whole(case, nested):
    """The loss is the mean of those of heads with fewer dimensions."""

    def losses(batch, **options):
        head = dict(type='ContrastiveHead', proj_dims=7, **options)
        model = tiny_coavt(contrastive_head=head, matching_head=None)
        return model, model(batch, samples(len(batch['clip_key'])), mode='loss')

    whole, alone = losses(odd_batch(case))
    expected = [alone]
    for dims in nested:
        few = tiny_coavt(
            contrastive_head=dict(type='ContrastiveHead', proj_dims=dims),
            matching_head=None,
        )
        state = whole.state_dict()
        for name in ('query_proj', 'text_proj'):
            for part in ('weight', 'bias'):
                key = f'contrastive_head.{name}.{part}'
                state[key] = state[key][:dims]
        few.load_state_dict(state)
        batch = odd_batch(case)
        expected.append(few(batch, samples(len(batch['clip_key'])), mode='loss'))
    _, found = losses(odd_batch(case), nested_dims=nested)
    assert found.keys() == alone.keys()
    for name in found:
        mean = torch.stack([x[name] for x in expected]).mean()
        torch.testing.assert_close(found[name], mean, rtol=1e-5, atol=1e-6)


def test_features_of_fewer_dimensions_outside_training():
    head, cut = (
        ContrastiveHead(6, 4, 5, nested_dims=[2], test_dims=dims) for dims in (None, 2)
    )
    cut.load_state_dict(head.state_dict())
    hidden, text = torch.randn(3, 2, 6), torch.randn(3, 7, 4)
    assert torch.equal(cut.project_queries(hidden), head.project_queries(hidden))
    pairs = [
        (head.project_queries(hidden), cut.eval().project_queries(hidden)),
        (head.project_text(text), cut.project_text(text)),
    ]
    for whole, few in pairs:
        assert few.shape[-1] == cut.width == 2 and head.width == 5
        torch.testing.assert_close(few, F.normalize(whole[..., :2], dim=-1))


@pytest.mark.parametrize('bad', [dict(nested_dims=[0]), dict(nested_dims=[300]),
                                 dict(test_dims=257), dict(test_dims=0)])  # fmt: skip
def test_dimensions_that_are_not_there(bad):
    with pytest.raises(ConfigError, match='between 1 and proj_dims=256'):
        ContrastiveHead(**bad)


def test_samples_that_are_out_change_nothing():
    head, feats, text, similarity = _contrastive(5)
    valid = torch.tensor([True, False, True, True, False])
    loss = head.loss(similarity, torch.eye(5, dtype=torch.bool), valid, valid)
    few = head.similarity(feats[valid], text[valid], feats[valid], text[valid])
    every = torch.ones(3, dtype=torch.bool)
    expected = head.loss(few, torch.eye(3, dtype=torch.bool), every, every)
    torch.testing.assert_close(loss, expected)


def test_no_sample_takes_part():
    head, _, _, similarity = _contrastive(3)
    nobody = torch.zeros(3, dtype=torch.bool)
    loss = head.loss(similarity, torch.eye(3, dtype=torch.bool), nobody, nobody)
    loss.backward()
    assert loss == 0
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_duplicates_share_the_target():
    """Two clips with one caption: the loss is least when both get half the mass."""
    head = ContrastiveHead(label_smoothing=0.0)
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    every = torch.ones(3, dtype=torch.bool)

    def loss(logits):
        logits = torch.tensor(logits)
        return head.loss((logits, logits.t()), same, every, every).item()

    even = [[9.0, 9.0, 0.0], [9.0, 9.0, 0.0], [0.0, 0.0, 9.0]]
    own = [[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]]
    assert loss(even) < loss(own)
    # rows 1 and 2: ln 2 each; row 3: nothing
    assert loss(even) == pytest.approx(2 / 3 * torch.tensor(2.0).log().item(), abs=1e-3)


def test_negatives_are_hard_and_never_the_same():
    torch.manual_seed(0)
    similarity = torch.tensor([[9.0, 5.0, 0.0, 7.0]]).repeat(400, 1)
    allowed = torch.tensor([[False, True, True, True]]).repeat(400, 1)
    index, found = draw_negatives(similarity, allowed)
    counts = torch.bincount(index, minlength=4).float() / 400
    assert found.all()
    assert counts[0] == 0
    expected = torch.tensor([5.0, 0.0, 7.0]).softmax(0)
    torch.testing.assert_close(counts[1:], expected, atol=0.06, rtol=0)


def test_negatives_without_similarity_are_drawn_evenly():
    torch.manual_seed(0)
    allowed = torch.tensor([[False, True, True]]).repeat(400, 1)
    index, _ = draw_negatives(None, allowed)
    assert 150 < (index == 1).sum() < 250


@pytest.mark.parametrize('fault', [float('nan'), float('inf'), float('-inf')])
def test_what_is_not_finite_draws_some_column(fault):
    """The step is left out afterwards; a draw must not end a process, or a GPU."""
    similarity = torch.full((3, 4), fault)
    similarity[1] = torch.tensor([0.0, fault, 0.0, 0.0])
    index, found = draw_negatives(similarity, torch.ones(3, 4).bool())
    assert found.all() and ((index >= 0) & (index < 4)).all()


def test_no_candidate():
    allowed = torch.tensor([[False, False], [True, False]])
    index, found = draw_negatives(torch.zeros(2, 2), allowed)
    assert index.tolist() == [0, 0]
    assert found.tolist() == [False, True]


def test_negatives_are_mined_from_the_streams_named():
    torch.manual_seed(0)
    similarity = {
        s: Similarity(torch.full((200, 3), k), torch.full((200, 3), -k))
        for s, k in dict(AV=1.0, A=2.0, V=3.0).items()
    }
    own = MatchingHead(embed_dims=4, hardness=0.5).negative_logits('AV', similarity)
    assert torch.equal(own.a_to_b, torch.full((200, 3), 0.5))
    assert torch.equal(own.b_to_a, torch.full((200, 3), -0.5))
    mined = MatchingHead(embed_dims=4, negative_streams=('AV', 'V')).negative_logits(
        'AV', similarity
    )
    for got, sign in zip(mined, (1, -1), strict=True):
        assert set(got.unique().tolist()) == {sign * 1.0, sign * 3.0}
        assert (got == got[:, :1]).all()  # one stream a row
        assert 60 < (got[:, 0] == sign).sum() < 140
    assert (mined.a_to_b != -mined.b_to_a).any()  # drawn apart


def test_streams_without_similarity_are_not_mined():
    similarity = {'A': Similarity(torch.ones(1, 1), torch.ones(1, 1))}
    head = MatchingHead(embed_dims=4, negative_streams=('AV', 'A'))
    assert torch.equal(head.negative_logits('AV', similarity).a_to_b, torch.ones(1, 1))
    assert head.negative_logits('AV', {}) is None
    assert MatchingHead(embed_dims=4).negative_logits('AV', similarity) is None
    with pytest.raises(ConfigError, match='negative_streams names X'):
        MatchingHead(negative_streams=('AV', 'X'))


def test_mine_is_called_negative_streams():
    with pytest.warns(FutureWarning, match='mine is called negative_streams now'):
        head = MatchingHead(embed_dims=4, mine=('AV', 'V'))
    assert head.negative_streams == ('AV', 'V')
    assert MatchingHead(embed_dims=4, mine=None).negative_streams is None
    with pytest.raises(ConfigError, match='give negative_streams alone'):
        MatchingHead(embed_dims=4, mine=('AV',), negative_streams=('AV', 'V'))


def test_matching_is_cross_entropy_over_the_pairs():
    head = MatchingHead(embed_dims=4)
    logits = torch.tensor([[0.0, 2.0], [0.0, 2.0], [3.0, 0.0]])
    labels = torch.tensor([1, 0, 0])
    loss, accuracy = head.loss(logits, labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))
    assert accuracy.item() == pytest.approx(2 / 3)
    loss, accuracy = head.loss(logits[:0], labels[:0])
    assert loss == accuracy == 0


@pytest.mark.parametrize('case', CASES)
def test_the_similarity_has_its_say_in_the_loss(case, monkeypatch):
    """Pairs by hand, one draw for the loss with the similarity and the one without."""
    drawn = []

    def draw(logits, allowed):
        drawn.append(draw_negatives(logits, allowed))
        return drawn[-1]

    monkeypatch.setattr('coavt_mm.models.matching.draw_negatives', draw)
    model, batch = tiny_coavt(**FUSED), odd_batch(case)
    clips = samples(len(batch['clip_key']))
    head, seen = model.matching_head, []
    monkeypatch.setattr(
        head, 'with_similarity', lambda *args: seen.append(args) or args[0]
    )
    model(batch, clips, mode='loss')
    ((logits, found),) = seen
    features = model.watched.clips['AV'], model.watched.texts
    pairs = [(i, i) for i in range(len(clips))]
    pairs += [(int(c), i) for i, c in enumerate(drawn[0][0])]
    pairs += [(i, int(t)) for i, t in enumerate(drawn[1][0])]
    slow = [max(float(q @ features[1][t]) for q in features[0][c]) for c, t in pairs]
    torch.testing.assert_close(found, torch.tensor(slow), rtol=1e-5, atol=1e-6)
    assert not found.requires_grad and logits.requires_grad
    monkeypatch.undo()
    both = head.with_similarity(logits, found)
    torch.testing.assert_close(both[:, 0], logits[:, 0])
    torch.testing.assert_close(both[:, 1], logits[:, 1] + 5 * (found - 0.2))
    with pytest.raises(ConfigError, match='tokens alone were given'):
        head.with_similarity(logits, None)


def test_language_loss_ignores_padding():
    head = LanguageModelingHead(embed_dims=4, vocab_size=9, dec_token_id=8)
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 9)
    ids = torch.tensor([[2, 4, 5, 3, 0], [2, 6, 3, 0, 0]])
    mask = (ids > 0).long()
    loss = head.loss(logits, ids, mask)
    tokens = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    expected = torch.stack(
        [
            F.cross_entropy(logits[b, t], ids[b, t + 1], label_smoothing=0.1)
            for b, t in tokens
        ]
    ).mean()
    torch.testing.assert_close(loss, expected)
    assert head.start(ids)[:, 0].tolist() == [8, 8]
    assert ids[0, 0] == 2  # the caller's ids stay


@pytest.mark.parametrize('vocab', [1, 7, 8, 9, 30523])
def test_a_vocabulary_in_eights_has_the_same_logits_and_gradients(vocab):
    torch.manual_seed(0)
    hidden = torch.randn(3, 5)
    results = []
    for pad in (in_eights, lambda *both: both):
        torch.manual_seed(1)
        both = [torch.randn(vocab, 5), torch.randn(vocab)]
        padded = pad(*(x.requires_grad_() for x in both))
        logits = F.linear(hidden, *padded)
        if pad is in_eights:
            assert logits.shape[1] % 8 == 0 and logits.shape[1] < vocab + 8
        loss = logits[:, :vocab].logsumexp(1).sum()
        results.append([loss, *torch.autograd.grad(loss, both)])
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


def test_the_loss_multiplies_with_a_vocabulary_in_eights(monkeypatch):
    sizes, linear = [], F.linear

    def watched(x, weight, bias=None):
        sizes.append(len(weight))
        return linear(x, weight, bias)

    monkeypatch.setattr(F, 'linear', watched)
    tiny_coavt()(odd_batch('all'), samples(5), mode='loss')
    assert VOCAB == 30 and 32 in sizes and 30 not in sizes


@pytest.mark.parametrize('head', [ContrastiveHead, MatchingHead, LanguageModelingHead])
def test_streams_are_checked(head):
    with pytest.raises(ConfigError, match="unknown stream 'VA'"):
        head(streams=dict(VA=1.0))
    with pytest.raises(ConfigError, match='negative'):
        head(streams=dict(AV=-1.0))
    assert head(streams=dict(AV=2, A=0)).streams == dict(AV=2.0)


def test_sound_against_picture_by_hand():
    """Unit vectors: cosines 1, 0.6 / 0, 0.8 of sounds 0, 1 with pictures 0, 1."""
    head = AVContrastiveHead(weight=1.0, temperature=0.5)
    audio = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    visual = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    similarity = head.similarity(audio, visual, audio, visual)
    assert similarity.a_to_b.tolist() == [
        [2, pytest.approx(1.2)],
        [0, pytest.approx(1.6)],
    ]
    yes = torch.ones(2, dtype=torch.bool)
    found = contrastive_loss(similarity, torch.eye(2, dtype=torch.bool), yes, yes)
    log = math.log
    to_visual = log(1 + math.exp(1.2 - 2.0)) + log(1 + math.exp(0.0 - 1.6))
    to_audio = log(1 + math.exp(0.0 - 2.0)) + log(1 + math.exp(1.2 - 1.6))
    assert found.item() == pytest.approx((to_visual + to_audio) / 4)


@pytest.mark.parametrize('bad', [dict(weight=-1.0), dict(temperature=0.0)])
def test_sound_against_picture_refuses(bad):
    with pytest.raises(ConfigError, match='AVContrastiveHead'):
        AVContrastiveHead(**bad)


@pytest.mark.parametrize('temperature', [0.07, 1.0, 1e-9])
def test_a_head_says_how_probable_texts_are(temperature):
    head = ContrastiveHead(embed_dims=4, proj_dims=2, temperature=temperature)
    cosines = torch.tensor([[0.5, 0.1, -0.2], [0.0, 0.0, 0.3]])
    scale = max(temperature, 1e-3)  # a run-away temperature gives no inf
    torch.testing.assert_close(
        head.probabilities(cosines), (cosines / scale).softmax(-1)
    )


def test_pooled_tokens_are_unit_means():
    tokens = torch.tensor([[[3.0, 0.0], [3.0, 8.0]]])
    torch.testing.assert_close(pool_tokens(tokens), torch.tensor([[0.6, 0.8]]))


@pytest.mark.parametrize(
    ('head', 'shapes'),
    [
        (lambda: ContrastiveHead(16, proj_dims=8), [(3, 2, 8), (3, 8)] * 2),
        (lambda: AVContrastiveHead(0.5), [(3, 8)] * 4),
    ],
)
def test_similarities_are_float32_under_autocast(head, shapes):
    """bfloat16 would make ties of hard negatives."""
    similarity, feats = head().similarity, [torch.randn(shape) for shape in shapes]
    exact = similarity(*feats)
    with torch.autocast('cpu', torch.bfloat16):
        found = similarity(*feats)
    for one, other in zip(exact, found, strict=True):
        assert other.dtype == torch.float32 and torch.equal(one, other)
