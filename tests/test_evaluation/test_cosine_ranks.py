import gc
import weakref

import pytest
import torch
from retrieval_parts import gather_stream, make_samples
from torch.nn.functional import normalize

from coavt_mm.analysis.retrieval_speed import synthetic
from coavt_mm.evaluation import cosine_ranks as module
from coavt_mm.evaluation.cosine_ranks import choose_axes, cosine_ranks, find_bars
from coavt_mm.evaluation.features import StreamFeatures
from coavt_mm.evaluation.ranking import count_ranks


def obvious_ranks(features):
    """From the whole table in double precision."""
    texts = features.queries[features.index].double()
    clips = torch.stack(features.gallery).double()
    scores = torch.einsum('ce,gfqe->cgfq', texts, clips).amax(-1).mean(-1)
    right = features.right(slice(None), slice(0, len(clips)))
    ranks = []
    for axis in (1, 0):
        own = scores.masked_fill(~right, -torch.inf).amax(axis, keepdim=True)
        ranks.append(1 + ((scores >= own - 1e-6) & ~right).sum(axis))
    return ranks


def draw(kind, clips=60, captions=3, shape=(1, 8, 32), seed=0):
    """Features of a model that has learnt something, or not.

    Args:
        kind: 'random', 'clustered' (few axes, queries alike), 'duplicates' (of clips
            and captions), 'whole numbers' (exact ties), 'one' (all are equal).
        clips: How many.
        captions: Of each.
        shape: F, Q, E.
        seed: Of the numbers.
    """
    g = torch.Generator().manual_seed(seed)
    frames, queries, width = shape
    target = torch.arange(clips).repeat_interleave(captions)
    if kind == 'whole numbers':
        gallery = torch.randint(-1, 2, (clips, *shape), generator=g).float()
        texts = torch.randint(-1, 2, (len(target), width), generator=g).float()
    elif kind == 'random':
        gallery = normalize(torch.randn(clips, *shape, generator=g), dim=-1)
        texts = normalize(torch.randn(len(target), width, generator=g), dim=-1)
    else:
        few = torch.randn(4, width, generator=g)
        places = torch.randn(clips, 4, generator=g)
        if kind == 'duplicates':
            places = places[torch.arange(clips) // 5]
        if kind == 'one':
            places[:] = 1
        noise = 0.0 if kind in ('duplicates', 'one') else 0.01
        each = places[:, None, None] + 0.3 * torch.randn(
            frames, queries, 4, generator=g
        )
        drawn = torch.randn(clips, *shape, generator=g)
        gallery = normalize(each @ few + noise * drawn, dim=-1)
        drawn = torch.randn(len(target), width, generator=g)
        texts = normalize(places[target] @ few + noise * drawn, dim=-1)
    order = torch.randperm(len(target), generator=g)
    return StreamFeatures(
        gallery=list(gallery),
        queries=texts,
        index=order,
        target=target[order],
        rows=list(range(clips)),
        columns=[0] * len(target),
    )


KINDS = ('random', 'clustered', 'duplicates', 'whole numbers', 'one')
SHAPES = ((1, 8, 32), (2, 3, 17), (1, 1, 1), (10, 2, 64))


@pytest.fixture(params=['every pair', 'bound', 'bound, small blocks'])
def way(request, monkeypatch):
    if request.param != 'every pair':
        monkeypatch.setattr(module, 'WORTH_BOUNDING', 0)
        # the bound counts however little it saves
        monkeypatch.setattr(module, 'SINGLE_PAIR', 1e-9)
    if 'small' in request.param:
        monkeypatch.setattr(module, 'CAPTIONS', 7)
        monkeypatch.setattr(module, 'PAIRS', 6)
        monkeypatch.setattr(module, 'WAITING', 2)
        monkeypatch.setattr(module, 'CLIPS', 3)
        monkeypatch.setattr(module, 'FEW_CLIPS', 3)
        monkeypatch.setattr(module, 'ROWS', 50)


def assert_equal_to_the_obvious(features):
    for found, wanted in zip(
        cosine_ranks(features), obvious_ranks(features), strict=True
    ):
        assert torch.equal(found, wanted)


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('kind', KINDS)
def test_ranks_are_those_of_the_whole_table(kind, shape):
    assert_equal_to_the_obvious(draw(kind, shape=shape, clips=41))


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize(
    ('clips', 'captions'), [(1, 1), (1, 5), (2, 1), (37, 1), (16, 11)]
)
def test_few_and_odd_numbers(clips, captions):
    assert_equal_to_the_obvious(draw('clustered', clips, captions))


def test_the_pairs_that_are_tried_foretell_those_that_are_left(monkeypatch):
    # axes of no more clips than are tried would fit just these, and too few be chosen
    monkeypatch.setattr(module, 'WORTH_BOUNDING', 0)
    scored = []
    count_some = module.Block._count_some

    def counted(self, clips, captions):
        scored.append(len(clips))
        count_some(self, clips, captions)

    monkeypatch.setattr(module.Block, '_count_some', counted)
    monkeypatch.setattr(module.Block, '_count_all', lambda *_: pytest.fail('all'))
    features = synthetic('flat', 1000, 4000, 8, 256)
    cosine_ranks(features)
    assert sum(scored) < 0.03 * 1000 * 4000


@pytest.mark.usefixtures('way')
def test_clips_without_a_stream_or_captions():
    samples = make_samples([2, 1, 0, 3, 1, 5], lacking={0: 'A', 3: ''}, shape=(1, 4, 9))
    for stream in ('AV', 'A', 'V'):
        features = gather_stream(samples, stream)
        (forward, backward), wanted = cosine_ranks(features), obvious_ranks(features)
        answered = features.answered
        assert torch.equal(forward, wanted[0])
        assert torch.equal(backward[answered], wanted[1][answered])


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('kind', ['random', 'duplicates'])
def test_a_text_that_several_clips_carry(kind):
    features = draw(kind)
    features.texts = torch.arange(len(features.target)) % 7
    assert_equal_to_the_obvious(features)


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('bad', [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_counts_against(bad):
    good = draw('clustered')
    spoiled = draw('clustered')
    spoiled.gallery[3] = torch.full_like(spoiled.gallery[3], bad)
    forward, backward = cosine_ranks(spoiled)
    own = spoiled.target == 3
    assert (forward[own] == len(spoiled.gallery)).all()
    assert backward[3] == 1 + (~own).sum()
    wanted = cosine_ranks(good)[0]
    if bad != bad:  # a wrong answer that is NaN is never below
        wanted = torch.where(forward == wanted, wanted, wanted + 1)
    assert (forward[~own] >= wanted[~own]).all()


def test_near_ties_are_decided_in_double_precision():
    """Scores that are off from the tolerance by less than float32 can tell."""
    steps = torch.linspace(-3e-7, 3e-7, 60)
    clips = torch.zeros(61, 1, 1, 256)
    clips[0, ..., 0] = 0.5
    clips[1:, 0, 0, 0] = 0.5 - 1e-6 + steps
    features = StreamFeatures(
        gallery=list(clips),
        queries=normalize(torch.eye(256)[:1] + 0.1, dim=1),
        index=torch.zeros(61, dtype=torch.int64),
        target=torch.arange(61),
        rows=list(range(61)),
        columns=[0] * 61,
    )
    assert_equal_to_the_obvious(features)


def test_the_bound_is_taken_where_it_saves_work(monkeypatch):
    monkeypatch.setattr(module, 'WORTH_BOUNDING', 0)
    wanted = {'clustered': True, 'duplicates': True, 'random': False, 'one': False}
    for kind, bounded in wanted.items():
        features = draw(kind, clips=300)
        axes = choose_axes(features, find_bars(features))
        assert (axes is not None) == bounded, kind


@pytest.mark.usefixtures('way')
def test_a_block_is_let_go_before_the_next(monkeypatch):
    blocks, most = weakref.WeakSet(), []
    made = module.Block.__post_init__

    def counted(self):
        most.append(len(blocks))
        blocks.add(self)
        made(self)

    monkeypatch.setattr(module.Block, '__post_init__', counted)
    monkeypatch.setattr(module.Block, '__hash__', object.__hash__)
    monkeypatch.setattr(module, 'CLIPS', 3)
    gc.disable()  # memory would grow until it runs
    try:
        cosine_ranks(draw('clustered'))
    finally:
        gc.enable()
    assert len(most) > 3 and max(most) <= 1


def test_few_pairs_are_scored_in_full(monkeypatch):
    monkeypatch.setattr(module, 'WORTH_BOUNDING', 0)
    features = draw('clustered', clips=300)
    scored, plain = [], module.similarity

    def counted(texts, clips):
        if clips.shape[-1] == 32:
            scored.append(len(texts) * clips[..., 0, 0, 0].numel())
        return plain(texts, clips)

    monkeypatch.setattr(module, 'similarity', counted)
    cosine_ranks(features)
    assert sum(scored) < 0.2 * 300 * 900


def test_retrieval_counts_cosines_this_way():
    features = draw('clustered')
    for found, wanted in zip(
        count_ranks(features), cosine_ranks(features), strict=True
    ):
        assert torch.equal(found, wanted)
