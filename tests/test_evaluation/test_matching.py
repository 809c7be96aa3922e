import pytest
import torch
from retrieval_parts import TableModel, gather_stream, make_samples
from tiny_coavt import tiny_coavt

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation import pairs as judging
from coavt_mm.evaluation.matching import (
    PairScorer,
    hardest_negatives,
    matching_accuracy,
    matching_ranks,
    rerank,
)
from coavt_mm.evaluation.ranking import count_ranks, similarity
from coavt_mm.evaluation.retrieval import stream_texts
from coavt_mm.models import MatchingHead


def case(counts, batch_size=3, seed=0, lacking=None, table=None):
    """Records, joint stream, scorer, similarities (N, G) and logits (N, G)."""
    records = make_samples(counts, seed=seed, lacking=lacking)
    for record in records:
        record['text_streams'] = ['AV'] * len(record['texts'])
    features = gather_stream(records, 'AV')
    if table is None:
        g = torch.Generator().manual_seed(seed + 1)
        table = torch.randn(len(counts), sum(counts), generator=g)
    scorer = PairScorer(TableModel(table), records, features, batch_size)
    scores = similarity(features.queries[features.index], torch.stack(features.gallery))
    names = [int(text.split()[1]) for text in stream_texts(records, features)]
    logits = table[features.rows][:, names].T
    return records, features, scorer, scores, logits


@pytest.mark.parametrize('batch_size', [1, 3, 1000])
def test_logits_are_those_of_the_pairs_asked(batch_size):
    _, features, scorer, _, logits = case([2, 0, 3, 1], batch_size, lacking={0: 'A'})
    clips, captions = torch.tensor([0, 2, 1, 1]), torch.tensor([3, 0, 1, 2])
    found = scorer(clips, captions)
    assert torch.equal(found[:, 1], logits[captions, clips])
    assert scorer(clips[:0], captions[:0]).shape == (0, 2)


def slow_rerank(scores, logits, own, k, add):
    """One query after another by sorting; random scores, so no ties."""
    ranks = []
    for row, logit, mine in zip(scores, logits, own, strict=True):
        order = row.argsort(descending=True).tolist()
        new = logit + add * row
        order = sorted(order[:k], key=lambda i: -new[i].item()) + order[k:]
        order = [i for i in order if mine[i]][:1] + order  # the best right one
        best = order[0]
        ranks.append(1 + sum(not mine[i] for i in order[1 : 1 + order[1:].index(best)]))
    return ranks


@pytest.mark.parametrize('k', [1, 2, 4, 100])
@pytest.mark.parametrize('counts', [[2, 1, 0, 3, 1, 2], [1] * 7, [5], [1]])
def test_rerank_equals_the_slow_version(counts, k):
    _, features, scorer, scores, logits = case(counts)
    own = features.target[:, None] == torch.arange(len(features.gallery))
    cosine = count_ranks(features)
    found = matching_ranks(features, scorer, cosine, k, (1.0, 0.0, 12.5))
    answered = features.answered
    for (forward, backward), add in zip(found, (1.0, 0.0, 12.5), strict=True):
        assert forward.tolist() == slow_rerank(scores, logits, own, k, add)
        expected = slow_rerank(
            scores.T[answered], logits.T[answered], own.T[answered], k, add
        )
        assert backward[answered].tolist() == expected


@pytest.mark.parametrize('batch_size', [1, 2, 64])
def test_each_pair_is_asked_once_and_each_clip_projected_once(batch_size):
    _, features, scorer, _, _ = case([5, 5, 5], batch_size)
    matching_ranks(features, scorer, count_ranks(features), 3, (1.0, 0.0, 12.5))
    # 15 captions with all 3 clips hold the pairs of the other direction; two frames
    assert scorer.model.pairs == 15 * 3 * 2
    assert scorer.model.projected == 3 * 2


@pytest.mark.parametrize('batch_size', [1, 4, 5, 100])
def test_reused_keys_and_values_give_the_same_logits(batch_size):
    model = tiny_coavt().eval()
    records = make_samples([5, 5, 0, 3], lacking={0: 'A'})
    g = torch.Generator().manual_seed(3)
    for record in records:
        record['text_streams'] = ['AV'] * len(record['texts'])
        record['tokens'] = torch.randn(2, 10, 16, generator=g)
        record['caption_ids'] = [
            torch.randint(6, 30, (3 + n % 4,), generator=g)
            for n in range(len(record['texts']))
        ]
    features = gather_stream(records, 'AV')
    clips, captions = torch.meshgrid(torch.arange(3), torch.arange(8), indexing='ij')
    order = torch.randperm(24, generator=g)
    clips, captions = clips.flatten()[order], captions.flatten()[order]
    scorer = PairScorer(model, records, features, batch_size)
    found = scorer(clips, captions)
    with torch.no_grad():
        for row, clip, caption in zip(found, clips, captions, strict=True):
            ids = scorer.ids[caption][None]
            frames = [
                model.match(frame[None], ids, torch.ones_like(ids))[0]
                for frame in scorer.tokens[clip]
            ]
            expected = torch.stack(frames).mean(0)
            torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)


def test_a_model_that_is_spread_over_processes_is_not_asked(monkeypatch):
    monkeypatch.setattr(judging, 'DTensor', torch.nn.Parameter)
    with pytest.raises(ConfigError, match='under FSDP2 is not asked: validate with'):
        case([2, 1])


def test_rerank_by_hand():
    logits = torch.tensor([[0.0, 2, 1], [5, 5, 5], [1, 2, 3]])
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.1, 0.1, 0.1], [0.3, 0.2, 0.1]])
    own = torch.tensor([[False, False, True], [False, True, False], [False] * 3])
    cosine = torch.tensor([3, 3, 9])
    # logits + scores of query 0: 0.9, 2.5, 1.1; query 1 ties thrice; 2 is outside
    assert rerank(logits, scores, own, cosine, 1.0).tolist() == [2, 3, 9]
    logits[0, 0] = 1.1
    assert rerank(logits, scores, own, cosine, 1.0).tolist() == [3, 3, 9]
    assert rerank(logits, scores, own, cosine, 0.0).tolist() == [3, 3, 9]
    # 0 + 10 * 0.9 is best now
    assert rerank(logits, scores, own, cosine, 10.0).tolist() == [3, 3, 9]
    own[0] = torch.tensor([True, False, False])
    assert rerank(logits, scores, own, cosine, 10.0).tolist() == [1, 3, 9]


def test_hardest_negatives_by_the_slow_version(monkeypatch):
    monkeypatch.setattr(
        'coavt_mm.evaluation.ranking.chunk_sizes', lambda *shape: (3, 2)
    )
    _, features, _, scores, _ = case([2, 1, 0, 3, 2])
    texts = ['A dog', 'rain', 'a  dog ', 'x', 'y', 'z', 'rain', 'w']
    owner = features.target.tolist()
    clean = [' '.join(t.lower().split()) for t in texts]

    def wrong(n, g):
        carried = {clean[m] for m in range(8) if owner[m] == g}
        return owner[n] != g and clean[n] not in carried

    clips = [
        max((g for g in range(5) if wrong(n, g)), key=lambda g, n=n: scores[n, g])
        for n in range(8)
    ]
    captions = [
        max((n for n in range(8) if wrong(n, g)), key=lambda n, g=g: scores[n, g])
        for g in range(5)
    ]
    found = hardest_negatives(features, texts)
    assert [f.tolist() for f in found] == [clips, captions]


def test_no_negative_where_all_clips_carry_the_text():
    records, features, scorer, _, _ = case([1, 1], table=torch.ones(2, 2))
    clips, captions = hardest_negatives(features, ['same', 'Same'])
    assert clips.tolist() == [-1, -1]
    assert captions.tolist() == [-1, -1]
    shares = matching_accuracy(features, scorer, ['same', 'Same'])
    assert shares == {'positive': 1.0, 'all': 1.0}


def test_accuracy_counts_each_kind_of_pair():
    # right about every pair but those with clip 2, which it always accepts
    table = 2 * torch.eye(3) - 1
    table[2] = 1
    records, features, scorer, scores, _ = case([1, 1, 1], table=table)
    shares = matching_accuracy(features, scorer, stream_texts(records, features))
    others = scores.masked_fill(torch.eye(3, dtype=torch.bool), -9)
    fooled = (others.argmax(1) == 2).sum().item()
    assert shares['positive'] == 1
    assert shares['hard_clip'] == pytest.approx(1 - fooled / 3)
    assert shares['hard_caption'] == pytest.approx(2 / 3)
    assert shares['all'] == pytest.approx((3 + 3 - fooled + 2) / 9)


@pytest.mark.parametrize('offset', [-0.5, 0.2])
def test_accuracy_of_head_and_similarity_together(offset):
    """What each says alone is wrong of other pairs."""
    table = torch.randn(4, 7, generator=torch.Generator().manual_seed(3))
    records, features, scorer, scores, logits = case([2, 1, 3, 1], table=table)
    head = MatchingHead(8, similarity_weight=3.0, similarity_offset=offset)
    texts = stream_texts(records, features)
    shares = matching_accuracy(features, scorer, texts, head.with_similarity)
    clips, captions = hardest_negatives(features, texts)
    pairs = [(n, int(g), True) for n, g in enumerate(features.target)]
    pairs += [(n, int(g), False) for n, g in enumerate(clips)]
    pairs += [(int(n), g, False) for g, n in enumerate(captions)]
    right = [
        (2 * logits[n, g] + 3 * (scores[n, g] - offset) > 0).item() == own
        for n, g, own in pairs
    ]
    alone = [(logits[n, g] > 0).item() == own for n, g, own in pairs]
    assert shares['all'] == pytest.approx(sum(right) / len(right))
    assert shares['positive'] == pytest.approx(
        sum(right[: len(features.target)]) / len(features.target)
    )
    plain = matching_accuracy(features, scorer, texts)
    assert plain['all'] == pytest.approx(sum(alone) / len(alone))
    assert right != alone


def test_nan_logit_names_the_sample():
    table = torch.zeros(2, 2)
    table[1, 0] = torch.nan
    _, _, scorer, _, _ = case([1, 1], table=table)
    with pytest.raises(CoAVTError, match='clip_1'):
        scorer(torch.tensor([0, 1]), torch.tensor([0, 0]))


@pytest.mark.parametrize('key', ['tokens', 'caption_ids'])
def test_missing_tokens_say_what_to_set(key):
    records, features, _, _, _ = case([1, 1])
    records[1][key] = None
    with pytest.raises(ConfigError, match='keep_tokens'):
        PairScorer(TableModel(torch.zeros(2, 2)), records, features, 4)


def test_long_jobs_show_progress(monkeypatch, capsys):
    monkeypatch.setattr(judging, 'PROGRESS_FROM', 2)
    _, _, scorer, _, _ = case([1, 1], batch_size=1)
    scorer(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert 'ETA' in capsys.readouterr().err


def test_half_precision_tokens_keep_their_precision():
    records, features, _, _, logits = case([1, 2])
    for record in records:
        record['tokens'] = record['tokens'].bfloat16()

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 2)

        def project_context(self, tokens):
            assert tokens.dtype == torch.bfloat16
            return [(self.linear(tokens),) * 2]

        def match_context(self, context, input_ids, attention_mask):
            out = context[0][0].mean(1)
            assert out.dtype == torch.bfloat16
            return out

    scorer = PairScorer(Linear(), records, features, 2)
    assert scorer(torch.tensor([0, 1]), torch.tensor([0, 2])).dtype == torch.float32
