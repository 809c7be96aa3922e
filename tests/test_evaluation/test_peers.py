"""Ranks, recalls and class numbers equal those of packages that others keep.

pytrec_eval, torchmetrics, scikit-learn, scipy; on random and adversarial data. Where a
peer differs, the difference is the one that docs/fidelity.md gives.
"""

from statistics import NormalDist

import numpy as np
import pytest
import pytrec_eval
import torch
from retrieval_parts import TableModel, make_samples
from scipy import stats
from sklearn import metrics
from torch.nn.functional import normalize
from torchmetrics.functional import classification as peer
from torchmetrics.functional import retrieval as peer_retrieval

from coavt_mm.demo.metric import attribute_accuracy
from coavt_mm.evaluation import ZeroShotMetric
from coavt_mm.evaluation.av_retrieval import chance_level
from coavt_mm.evaluation.class_scores import (
    confusion,
    d_prime,
    multi_label_scores,
    single_label_scores,
)
from coavt_mm.evaluation.features import StreamFeatures, text_groups
from coavt_mm.evaluation.matching import (
    PairScorer,
    hardest_negatives,
    matching_accuracy,
    matching_ranks,
)
from coavt_mm.evaluation.prompts import joint_scores, prompt_scores
from coavt_mm.evaluation.ranking import (
    count_ranks,
    log_sums,
    query_softmax,
    recall_curve,
    recall_summary,
    similarity,
    top_captions,
    top_clips,
)

DEPTHS = (1, 5, 10)


def draw(counts, shape=(1, 1, 8), seed=0, words=None, integers=False):
    """Features with ``counts`` captions a clip, and the table (N, G) that numpy has.

    Args:
        counts: Captions of each clip.
        shape: F, Q, E.
        seed: Of the features.
        words: So many different texts, drawn; default: each caption its own.
        integers: Small whole numbers, so that scores tie exactly.
    """
    g = torch.Generator().manual_seed(seed)
    n = sum(counts)

    def feats(*size):
        if integers:
            return torch.randint(-1, 2, size, generator=g).float()
        return normalize(torch.randn(*size, generator=g), dim=-1)

    texts = torch.arange(n)
    if words:
        texts = torch.randint(0, words, (n,), generator=g)
    features = StreamFeatures(
        gallery=list(feats(len(counts), *shape)),
        queries=feats(n, shape[-1])[texts],
        index=torch.arange(n),
        target=torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)),
        rows=list(range(len(counts))),
        columns=[column for count in counts for column in range(count)],
        texts=texts,
    )
    clips = torch.stack(features.gallery).double().numpy()
    captions = features.queries.double().numpy()
    table = np.einsum('ne,gfqe->ngfq', captions, clips).max(-1).mean(-1)
    return features, table


def relevant(features):
    """(N, G) bool: clips that carry the caption's text."""
    texts, owner = features.texts.numpy(), features.target.numpy()
    carried = np.zeros((len(features.gallery), texts.max() + 1), dtype=bool)
    carried[owner, texts] = True
    return carried[:, texts].T


CASES = {
    'one caption a clip': dict(counts=[1] * 40),
    'several captions': dict(counts=[3, 1, 5, 2, 4, 1, 1, 2] * 3),
    'frames and queries': dict(counts=[2, 1, 3] * 5, shape=(3, 4, 8)),
    'clips without captions': dict(counts=[1, 0, 2, 0, 0, 3] * 4),
    'shared texts': dict(counts=[2, 1, 3] * 6, words=9),
    'one text': dict(counts=[2, 1, 1], words=1),
    'one clip': dict(counts=[3]),
    'one pair': dict(counts=[1]),
}


def asked(features, table, right):
    """Both directions: ranks, then scores and right answers of each query."""
    forward, backward = count_ranks(features)
    answered = features.answered
    return (
        (forward, table, right),
        (backward[answered], table.T[answered.numpy()], right.T[answered.numpy()]),
    )


@pytest.mark.parametrize('case', CASES)
def test_recalls_equal_pytrec_eval(case):
    features, table = draw(**CASES[case])
    for ranks, scores, right in asked(features, table, relevant(features)):
        qrel = {
            str(q): {str(i): int(x) for i, x in enumerate(row)}
            for q, row in enumerate(right)
        }
        run = {
            str(q): {str(i): float(x) for i, x in enumerate(row)}
            for q, row in enumerate(scores)
        }
        names = {f'success_{k}' for k in DEPTHS}
        found = pytrec_eval.RelevanceEvaluator(qrel, {'success', 'recip_rank'})
        each = found.evaluate(run).values()
        summary = recall_summary(ranks)
        for k in DEPTHS:
            expected = 100 * np.mean([query[f'success_{k}'] for query in each])
            assert summary[f'R@{k}'] == pytest.approx(expected), names
        recip = [query['recip_rank'] for query in each]
        assert (1 / ranks.numpy()) == pytest.approx(recip)
        assert summary['MeanR'] == pytest.approx(np.mean(1 / np.array(recip)))


@pytest.mark.parametrize('case', CASES)
def test_recalls_equal_torchmetrics(case):
    features, table = draw(**CASES[case])
    for ranks, scores, right in asked(features, table, relevant(features)):
        for rank, row, mine in zip(ranks.tolist(), scores, right, strict=True):
            # torchmetrics takes what is not above 0 for no answer
            row, mine = torch.from_numpy(row) + 2, torch.from_numpy(mine)
            for k in DEPTHS:
                hit = peer_retrieval.retrieval_hit_rate(row, mine, top_k=k)
                assert (rank <= k) == bool(hit)
            recip = peer_retrieval.retrieval_reciprocal_rank(row, mine)
            assert 1 / rank == pytest.approx(recip.item(), abs=1e-6)


@pytest.mark.parametrize('integers', [False, True])
@pytest.mark.parametrize('seed', range(3))
def test_ranks_with_ties_equal_scipy(integers, seed):
    """scipy's 'max' gives the last place of a tie, ours; its 'min', the first one, is
    what the peers that sort would give with luck."""
    features, table = draw([1] * 30, seed=seed, integers=integers, shape=(2, 2, 4))
    table = table.round(9)
    places = np.arange(30)
    forward, backward = count_ranks(features)
    worst = stats.rankdata(-table, 'max', axis=1)[places, places]
    assert np.array_equal(forward, worst)
    assert np.array_equal(
        backward, stats.rankdata(-table, 'max', axis=0)[places, places]
    )
    luck = stats.rankdata(-table, 'min', axis=1)[places, places]
    assert (luck < worst).any() == integers
    summary = recall_summary(forward)
    assert summary['MedR'] == np.median(worst)
    assert summary['MeanR'] == pytest.approx(worst.mean())
    for k in DEPTHS:
        accuracy = metrics.top_k_accuracy_score(places, table, k=k, labels=places)
        if not integers:
            assert summary[f'R@{k}'] == pytest.approx(100 * accuracy)
        assert summary[f'R@{k}'] <= 100 * accuracy + 1e-9
    curve = recall_curve(forward, 30)
    assert curve == pytest.approx(
        100 * stats.ecdf(worst).cdf.evaluate(np.arange(1, 31))
    )


def test_a_constant_score_is_the_worst_place_here_and_chance_there():
    features, _ = draw([1] * 7)
    features.gallery[:] = [torch.ones(1, 1, 8)] * 7
    features.queries[:] = 1
    forward, backward = count_ranks(features)
    assert recall_summary(forward)['R@5'] == recall_summary(backward)['R@5'] == 0
    assert recall_summary(forward)['MedR'] == 7
    hits = [
        peer_retrieval.retrieval_hit_rate(torch.ones(7), torch.eye(7)[i] > 0, top_k=1)
        for i in range(7)
    ]
    assert sum(map(float, hits)) == 1  # one in seven


@pytest.mark.parametrize('temperature', [0.1, 0.02])
@pytest.mark.parametrize('seed', range(3))
def test_query_softmax_ranks_as_the_published_formula(temperature, seed):
    features, table = draw([1] * 60, seed=seed)
    scores = torch.from_numpy(table)
    queries = len(scores)
    places = np.arange(60)
    found = count_ranks(
        features, *log_sums(features, temperature), query_softmax(temperature)
    )
    for ranks, dim in zip(found, (0, 1), strict=True):
        published = scores * (scores / temperature).softmax(dim) * queries
        worst = stats.rankdata(-published.numpy(), 'max', axis=1 - dim)
        assert np.array_equal(ranks, worst[places, places])


def test_top_lists_equal_torch():
    features, table = draw([2, 1, 3] * 5)
    scores = torch.from_numpy(table).float()
    for found, expected in (
        (top_clips(features, 6), scores.topk(6)),
        (top_captions(features, 6), scores.T.topk(6)),
    ):
        torch.testing.assert_close(found[0], expected.values, atol=1e-6, rtol=0)
        assert torch.equal(found[1], expected.indices)


def test_similarity_of_one_vector_is_torch_s_cosine():
    features, _ = draw([1] * 9)
    clips = torch.stack(features.gallery)
    found = similarity(features.queries, clips)
    cosine = torch.cosine_similarity(features.queries[:, None], clips[:, 0, 0], dim=-1)
    torch.testing.assert_close(found, cosine, atol=1e-6, rtol=0)
    prompts = torch.stack([prompt_scores(clip, features.queries) for clip in clips])
    torch.testing.assert_close(prompts, cosine.T, atol=1e-6, rtol=0)


@pytest.mark.parametrize('topk', [3, 5, 10, 100])
def test_reranking_equals_lavis_while_k_is_within_the_top(topk):
    """LAVIS gives -100 to what lies outside the top, so that beyond it the sorter
    decides; within it the recalls are those of a plain sort (pytrec_eval)."""
    records = make_samples([2, 1, 3, 1, 2] * 3, shape=(1, 1, 8))
    for record in records:
        record['text_streams'] = ['AV'] * len(record['texts'])
    features, _ = draw([2, 1, 3, 1, 2] * 3)
    table = torch.randn(15, 27, generator=torch.Generator().manual_seed(5))
    scorer = PairScorer(TableModel(table), records, features, 16)
    (found,) = matching_ranks(features, scorer, count_ranks(features), topk, (True,))
    scores = similarity(features.queries, torch.stack(features.gallery))
    right = features.target[:, None] == torch.arange(15)
    for ranks, rows, logits, mine in (
        (found[0], scores, table.T, right),
        (found[1], scores.T, table, right.T),
    ):
        matrix = torch.full_like(rows, -100.0)
        best, index = rows.topk(min(topk, rows.shape[1]))
        matrix.scatter_(1, index, logits.gather(1, index) + best)
        for k in [k for k in DEPTHS if k <= topk]:
            hits = [
                peer_retrieval.retrieval_hit_rate(*pair, top_k=k)
                for pair in zip(matrix, mine, strict=True)
            ]
            share = torch.stack(hits).double().mean()
            assert (ranks <= k).double().mean() == pytest.approx(share.item())


def test_matching_accuracy_equals_sklearn():
    records = make_samples([2, 1, 3, 1], shape=(1, 1, 8))
    features, scores = draw([2, 1, 3, 1])
    texts = ['a', 'b', 'c', 'A ', 'd', 'e', 'f']
    table = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    scorer = PairScorer(TableModel(table), records, features, 16)
    shares = matching_accuracy(features, scorer, texts)
    clip_of, caption_of = hardest_negatives(features, texts)
    carried = [{'a', 'b'}, {'c'}, {'a', 'd', 'e'}, {'f'}]
    for caption, clip in enumerate(clip_of.tolist()):
        text = texts[caption].strip().lower()
        wrong = [g for g in range(4) if text not in carried[g]]
        assert clip == max(wrong, key=lambda g, c=caption: scores[c, g])
    pairs = [(features.target, torch.arange(7), 1), (clip_of, torch.arange(7), 0)]
    pairs.append((torch.arange(4), caption_of, 0))
    said = torch.cat([table[clips, captions] > 0 for clips, captions, _ in pairs])
    true = torch.cat([torch.full((len(clips),), y) for clips, _, y in pairs])
    assert shares['all'] == pytest.approx(metrics.accuracy_score(true, said))
    recall = metrics.recall_score(true, said)
    assert shares['positive'] == pytest.approx(recall)


@pytest.mark.parametrize('gallery', [1, 4, 309, 1545])
def test_chance_equals_scipy(gallery):
    uniform, found = stats.randint(1, gallery + 1), chance_level(gallery)
    for k in DEPTHS:
        assert found[f'R@{k}'] == pytest.approx(100 * uniform.cdf(k))
    assert found['MeanR'] == pytest.approx(uniform.mean())
    assert found['MedR'] == np.median(np.arange(1, gallery + 1))


def test_equal_texts_are_grouped_as_pythons_sets_do():
    texts = ['Rain', 'rain ', 'É', 'E\u0301', 'é', 'STRASSE', 'straße', '雨', '雨 ']
    groups = text_groups(texts).tolist()
    assert groups == [0, 0, 1, 2, 1, 3, 4, 5, 5]


# classes


def class_case(name, seed=0):
    """Scores (B, C) and labels (B, C) bool."""
    rng = np.random.default_rng(seed)
    scores, labels = rng.random((60, 9)), rng.random((60, 9)) < 0.3
    if name == 'ties':
        scores = rng.integers(0, 4, (60, 9)) / 4
    if name == 'constant':
        scores = np.full((60, 9), 0.5)
    if name == 'rare':
        labels = rng.random((60, 9)) < 0.05
        labels[0] = True
    labels[0], labels[1] = True, False  # every class has both
    return scores, labels


@pytest.mark.parametrize('name', ['random', 'ties', 'constant', 'rare'])
def test_multi_label_equals_torchmetrics(name):
    scores, labels = class_case(name)
    tensors = torch.from_numpy(scores), torch.from_numpy(labels).long()
    found = multi_label_scores(scores, labels)
    each = peer.multilabel_average_precision(*tensors, 9, average='none')
    assert found['per_class'] == pytest.approx(each.tolist(), abs=1e-6)
    ap = peer.multilabel_average_precision(*tensors, 9)
    auc = peer.multilabel_auroc(*tensors, 9).item()
    assert found['mAP'] == pytest.approx(ap.item(), abs=1e-6)
    assert found['mAUC'] == pytest.approx(auc, abs=1e-6)
    expected = 2**0.5 * NormalDist().inv_cdf(found['mAUC'])
    assert found['d_prime'] == pytest.approx(expected)


def test_classes_without_a_positive_are_left_out_here_and_count_0_there():
    scores = np.random.default_rng(0).random((4, 3))
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
    scores[:, :2] = labels[:, :2] + scores[:, :2]
    tensors = torch.from_numpy(scores / 2), torch.from_numpy(labels).long()
    assert multi_label_scores(scores, labels)['mAP'] == 1
    each = peer.multilabel_average_precision(*tensors, 3, average='none')
    assert np.nan_to_num(each.numpy()).mean() == pytest.approx(2 / 3)


@pytest.mark.parametrize('auc', [0.01, 0.3, 0.5, 0.97, 0.999999])
def test_d_prime_equals_the_standard_library(auc):
    expected = 2**0.5 * NormalDist().inv_cdf(auc)
    assert d_prime(auc) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(('clips', 'classes'), [(80, 12), (1, 6), (40, 309)])
def test_single_label_equals_torchmetrics_and_sklearn(clips, classes):
    rng = np.random.default_rng(clips)
    truth = rng.integers(0, classes, clips)
    scores = rng.permutation(clips * classes).reshape(clips, classes) / clips
    labels = np.eye(classes, dtype=bool)[truth]
    found = single_label_scores(scores, labels)
    tensors = torch.from_numpy(scores), torch.from_numpy(truth)
    every = dict(labels=np.arange(classes))
    for k in (1, 5):
        micro = dict(num_classes=classes, average='micro', top_k=k)
        expected = peer.multiclass_accuracy(*tensors, **micro).item()
        assert found[f'top{k}'] == pytest.approx(expected)
        expected = metrics.top_k_accuracy_score(truth, scores, k=k, **every)
        assert found[f'top{k}'] == pytest.approx(expected)
    best = scores.argmax(1)
    table = peer.multiclass_confusion_matrix(*tensors, num_classes=classes)
    assert np.array_equal(confusion(scores, labels), table)
    recall = metrics.recall_score(truth, best, average='macro', labels=np.unique(truth))
    assert found['mean_class_accuracy'] == pytest.approx(recall)


def test_hit_rate_and_f1_of_several_labels_equal_torchmetrics():
    scores, labels = class_case('random', seed=3)
    labels[1, 4] = labels[~labels.any(1), 2] = True
    found = single_label_scores(scores, labels)
    best = np.eye(9, dtype=int)[scores.argmax(1)]
    tensors = torch.from_numpy(best), torch.from_numpy(labels).long()
    f1 = peer.multilabel_f1_score(*tensors, 9, average='micro').item()
    assert found['f1'] == pytest.approx(f1, abs=1e-6)
    hits = [
        peer_retrieval.retrieval_hit_rate(
            torch.from_numpy(row), torch.from_numpy(own), top_k=5
        )
        for row, own in zip(scores, labels, strict=True)
    ]
    assert found['top5'] == pytest.approx(torch.stack(hits).double().mean().item())


def test_a_constant_head_scores_nothing_here_and_its_first_class_there():
    truth = torch.tensor([0, 0, 0, 2])
    scores = torch.full((4, 3), 0.3)
    first = peer.multiclass_accuracy(scores, truth, num_classes=3, average='micro')
    last = metrics.top_k_accuracy_score(truth, scores, k=1, labels=range(3))
    ours = single_label_scores(scores.numpy(), np.eye(3, dtype=bool)[truth])
    assert (first.item(), last, ours['top1']) == (0.75, 0.25, 0.0)


def test_zero_shot_equals_sklearn_on_the_same_cosines():
    rng = torch.Generator().manual_seed(0)
    texts = normalize(torch.randn(7, 8, generator=rng), dim=-1)
    clips = normalize(torch.randn(30, 1, 3, 8, generator=rng), dim=-1)
    labels = torch.randint(0, 7, (30,), generator=rng)
    metric = ZeroShotMetric(templates=['{}'])
    metric.dataset_meta = dict(classes=[f'class {i}' for i in range(7)])
    metric._texts = dict(all=texts)  # in the place of an encoder's
    samples = [
        dict(sample_idx=i, sample_id=str(i), gt_label=labels[i : i + 1],
             clip_feats=dict(AV=clips[i]))
        for i in range(30)
    ]  # fmt: skip
    metric.process(None, samples)
    metric.evaluate(30)
    found = metric.last_results['streams']['AV']['label_sets']['all']
    cosines = torch.einsum('bfqe,ce->bfqc', clips, texts).amax(2).mean(1)
    for k in (1, 5):
        expected = metrics.top_k_accuracy_score(labels, cosines, k=k)
        assert found[f'top{k}'] == pytest.approx(expected)


def test_joint_scores_are_marginals_of_torch_s_categorical():
    cosines = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    shares = torch.distributions.Categorical(logits=cosines.flatten() / 0.07).probs
    shares = shares.view(3, 4, 2)
    for k, found in enumerate(joint_scores(cosines, 0.07)):
        others = [i for i in range(3) if i != k]
        torch.testing.assert_close(found.exp(), shares.sum(others))


def test_attributes_equal_sklearn():
    colours = ['red', 'blue', 'green', 'red', 'yellow']
    said = ['red', 'green', 'green', 'blue', 'yellow']
    shares = attribute_accuracy(
        [f'a {colour} circle' for colour in said],
        [[f'a {colour} circle'] for colour in colours],
    )
    assert shares['colour'] == metrics.accuracy_score(colours, said)
