import subprocess
import sys

import pytest
import torch
from retrieval_parts import gather_stream, make_samples, slow_table

from coavt_mm.evaluation import ranking
from coavt_mm.evaluation.ranking import (
    StreamFeatures,
    chunk_sizes,
    count_ranks,
    dual_softmax_bias,
    log_sums,
    query_softmax,
    recall_curve,
    recall_summary,
    similarity,
    top_captions,
    top_clips,
)


def slow_ranks(features, forward, backward):
    """Ranks by loops from two tables [caption][clip]."""
    owner = features.target.tolist()
    clips, captions = range(len(features.gallery)), range(len(owner))
    text_to_clip = [
        1 + sum(forward[n][g] >= forward[n][owner[n]] - 1e-6 for g in clips if g != o)
        for n, o in enumerate(owner)
    ]
    clip_to_text = []
    for g in clips:
        own = [backward[n][g] for n in captions if owner[n] == g]
        if own:
            others = [backward[n][g] for n in captions if owner[n] != g]
            clip_to_text.append(1 + sum(s >= max(own) - 1e-6 for s in others))
    return text_to_clip, clip_to_text


def ranks_of(features, *bias):
    forward, backward = count_ranks(features, *bias)
    return forward.tolist(), backward[features.answered].tolist()


CASES = {
    'odd': dict(counts=[2, 1, 0, 3, 1, 1, 2, 5, 0]),
    'ties': dict(counts=[2, 1, 0, 3, 1, 1, 2, 5, 0], integers=True),
    'missing': dict(counts=[1, 4, 2, 3], lacking={0: 'A', 2: 'V', 3: ''}),
    'one frame and query': dict(counts=[3, 3, 3], shape=(1, 1, 2), integers=True),
    'one clip': dict(counts=[3]),
    'one pair': dict(counts=[1], shape=(1, 1, 1)),
    'many captions': dict(counts=[17, 0, 23], integers=True),
}


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('budget', [1, 700, 2**20])
def test_counting_equals_the_slow_version(case, budget, monkeypatch):
    monkeypatch.setattr(
        ranking, 'chunk_sizes', lambda *shape: chunk_sizes(*shape, budget=budget)
    )
    samples = make_samples(**CASES[case])
    for stream in ('AV', 'A', 'V'):
        features = gather_stream(samples, stream)
        if features is None:
            continue
        table = slow_table(features)
        assert ranks_of(features) == slow_ranks(features, table, table)


@pytest.mark.parametrize('case', ['odd', 'ties', 'one pair'])
def test_dual_softmax_equals_the_product_of_two_softmaxes(case):
    features = gather_stream(make_samples(**CASES[case]), 'AV')
    logits = torch.tensor(slow_table(features), dtype=torch.float64) / 0.1
    product = (logits.softmax(0) * logits.softmax(1)).log()
    # in logs the query's own softmax is a constant that moves no rank
    forward = (logits + logits.log_softmax(0)) * 0.05
    backward = (logits + logits.log_softmax(1)) * 0.05
    moved = (product * 0.05 - forward).std(1, correction=0)
    torch.testing.assert_close(moved, torch.zeros_like(moved))
    expected = slow_ranks(features, forward.tolist(), backward.tolist())
    assert ranks_of(features, *dual_softmax_bias(features, 0.1)) == expected


@pytest.mark.parametrize(
    ('case', 'temperature'),
    [('odd', 0.1), ('odd', 0.01), ('ties', 0.3), ('one pair', 0.1)],
)
def test_query_softmax_equals_similarity_times_softmax_over_queries(case, temperature):
    features = gather_stream(make_samples(**CASES[case]), 'AV')
    table = torch.tensor(slow_table(features), dtype=torch.float64)
    is_own = features.target[:, None] == torch.arange(len(features.gallery))

    def slow(queries):  # the dimension that the softmax goes over
        logits = table / temperature
        scores = logits * logits.softmax(queries)
        sums = logits.logsumexp(queries, keepdim=True)
        near = [(table + d) / temperature for d in (-1e-6, 1e-6)]
        low = torch.minimum(*(x * (x - sums).exp() for x in near))
        bar = low.masked_fill(~is_own, -torch.inf).amax(1 - queries, keepdim=True)
        return 1 + ((scores >= bar) & ~is_own).sum(1 - queries)

    terms = log_sums(features, temperature)
    forward, backward = count_ranks(features, *terms, query_softmax(temperature))
    assert torch.equal(forward, slow(0))
    answered = features.answered
    assert torch.equal(backward[answered], slow(1)[answered])


def test_query_softmax_by_hand():
    """The first caption asks: PE-AV's and VALOR's score puts clip 0 first, the product
    of two softmaxes clip 2."""
    table = torch.tensor([[0.4, 0.2, 0.8], [0.1, 0.3, 0.0], [0.2, 0.9, 0.9]])
    for own, by_query, by_product in ((0, 1, 2), (2, 2, 1)):
        features = StreamFeatures(
            gallery=list(torch.eye(3)[:, None, None]),
            queries=table,
            index=torch.arange(3),
            target=torch.tensor([own, 1, 1]),
            rows=[0, 1, 2],
            columns=[0, 0, 1],
        )
        ranks, _ = count_ranks(features, *log_sums(features, 0.1), query_softmax(0.1))
        assert ranks[0] == by_query
        ranks, _ = count_ranks(features, *dual_softmax_bias(features, 0.1))
        assert ranks[0] == by_product


@pytest.mark.parametrize('bad', [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize('where', ['captions', 'clips', 'both'])
def test_what_is_not_finite_is_never_good(where, bad):
    features = gather_stream(make_samples([1, 2, 1, 3], integers=True), 'AV')
    if where != 'clips':
        features.queries[:] = bad
    if where != 'captions':
        features.gallery[:] = [torch.full_like(clip, bad) for clip in features.gallery]
    for terms in ((), log_sums(features, 0.1) + (query_softmax(0.1),)):
        forward, backward = count_ranks(features, *terms)
        assert forward.eq(len(features.gallery)).all()
        own = torch.bincount(features.target, minlength=len(features.gallery))
        assert torch.equal(backward, 1 + len(features.target) - own)


def test_one_bad_caption_or_clip_spoils_its_own_ranks_alone():
    features = gather_stream(make_samples([1] * 8), 'AV')
    good = count_ranks(features)
    features.queries[features.index[1]] = torch.nan
    forward, backward = count_ranks(features)
    clip = features.target[1]
    assert forward[1] == len(features.gallery) and backward[clip] == len(
        features.target
    )
    others = torch.arange(len(forward)) != 1
    assert torch.equal(forward[others], good[0][others])
    # a wrong answer that is NaN counts as better than the right one
    rest = features.target[others]
    assert (backward[rest] >= good[1][rest]).all() and (backward[rest] >= 2).all()


def test_all_equal_is_the_worst_rank():
    samples = make_samples([2, 1, 3])
    for sample in samples:
        sample['clip_feats'] = {'AV': torch.ones(1, 2, 4) / 2}
        sample['caption_feats'] = torch.ones(len(sample['texts']), 4) / 2
        sample['text_streams'] = ['AV'] * len(sample['texts'])
    forward, backward = count_ranks(gather_stream(samples, 'AV'))
    assert forward.tolist() == [3] * 6
    assert backward.tolist() == [5, 6, 4]  # own captions do not compete


def test_equal_features_tie_whatever_chunk_they_fall_in():
    g = torch.Generator().manual_seed(1)
    clip = torch.nn.functional.normalize(torch.randn(1, 32, 256, generator=g), dim=-1)
    caption = clip[0, 3] + 0.01
    features = StreamFeatures(
        gallery=[clip.clone() for _ in range(601)],
        queries=caption.expand(601, 256).contiguous(),
        index=torch.arange(601),
        target=torch.arange(601),
        rows=list(range(601)),
        columns=[0] * 601,
    )
    forward, backward = count_ranks(features)
    assert forward.unique().tolist() == [601]
    assert backward.unique().tolist() == [601]


def test_similarity_is_mean_over_frames_of_max_over_queries():
    clips = torch.tensor([[[[1.0, 0], [0, 1]], [[0.5, 0], [0, 0]]]])  # (1, 2, 2, 2)
    captions = torch.tensor([[1.0, 0], [0, 1]])
    assert similarity(captions, clips).tolist() == [[0.75], [0.5]]


def test_half_precision_autocast_and_tf32_do_not_reach_the_scores():
    features = gather_stream(make_samples([2, 1, 3, 1], shape=(1, 4, 64)), 'AV')
    table = features.queries, torch.stack(features.gallery)
    plain = similarity(*table)
    with torch.autocast('cpu', torch.bfloat16):
        same = similarity(*table)
    assert torch.equal(plain, same)


@pytest.mark.parametrize('k', [1, 3, 5])
def test_top_lists_put_the_own_item_last_among_ties(k, monkeypatch):
    monkeypatch.setattr(ranking, 'CHUNK_BYTES', 300)
    features = gather_stream(make_samples([1, 3, 0, 2, 4], integers=True), 'AV')
    table = torch.tensor(slow_table(features))
    for found, rows, own in (
        (top_clips(features, k), table, features.target[:, None] == torch.arange(5)),
        (
            top_captions(features, k),
            table.T,
            torch.arange(5)[:, None] == features.target,
        ),
    ):
        for query, (scores, index) in enumerate(zip(*found, strict=True)):
            order = sorted(
                range(rows.shape[1]),
                key=lambda i, q=query: (-rows[q, i].item(), own[q, i].item(), i),
            )[:k]
            assert index.tolist() == order
            assert scores.tolist() == [rows[query, i].item() for i in order]


def test_few_captions_are_asked_before_the_table_is_walked(monkeypatch):
    n, pairs = 300, []

    def counted(captions, clips):
        pairs.append(len(captions) * len(clips))
        return similarity(captions, clips)

    monkeypatch.setattr(ranking, 'similarity', counted)
    rng = torch.Generator().manual_seed(0)
    clips = torch.randn(n, 1, 2, 4, generator=rng)
    every = torch.arange(n)
    features = StreamFeatures(
        list(clips), clips[:, 0, 0], every, every, every.tolist(), [0] * n
    )
    count_ranks(features, torch.zeros(n))
    assert n * n <= sum(pairs) <= 1.25 * n * n


def test_summary_and_curve():
    ranks = torch.tensor([1, 2, 6, 11])
    summary = recall_summary(ranks)
    assert summary == {'R@1': 25, 'R@5': 50, 'R@10': 75, 'MedR': 4, 'MeanR': 5}
    assert recall_curve(ranks, 6) == [25, 50, 50, 50, 50, 75]


@pytest.mark.parametrize('frames', [1, 10])
def test_full_size_fits_in_two_gigabytes(frames):
    clips, captions, queries, width = 20_000, 100_000, 32, 256
    c, g = chunk_sizes(frames, queries, width)
    stacked = g * frames * queries * width * 4
    products = c * g * frames * queries * 4
    block = products + 4 * c * g * 4  # products, then (c, g) scores and masks
    half_then_float = stacked * 1.5
    per_item = (captions + clips) * 8 * 8  # ranks, bars, owners, biases
    features = (clips * queries * width + captions * width) * 4  # float32, F = 1
    if frames == 1:
        assert features + half_then_float + block + per_item < 1.1 * 2**30
    assert half_then_float + block < 128 * 2**20


PEAK = """
import resource, torch
from coavt_mm.evaluation.ranking import StreamFeatures, count_ranks, dual_softmax_bias
torch.set_num_threads(1)
n, g, q, e = 5000, 1000, 32, 64
clips = [torch.randn(1, q, e).half() for _ in range(g)]
features = StreamFeatures(clips, torch.randn(n, e).half(), torch.arange(n),
                          torch.arange(n) % g,
                          list(range(g)), [0] * n)
torch.randn(256, 256) @ torch.randn(256, 256)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count_ranks(features, *dual_softmax_bias(features, 0.1))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_table():
    # a 20th of the captions and clips; all products at once would take 640 MB
    done = subprocess.run(
        [sys.executable, '-c', PEAK], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 160 * 1024  # KiB
