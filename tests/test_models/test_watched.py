"""What a step is looked at for: against slow and obvious code."""

import pytest
import torch
from tiny_coavt import CASES, HEADS, odd_batch, samples, tiny_coavt
from torch.nn.functional import normalize
from waits import Waits

from coavt_mm.models.watched import (
    PAIRS,
    answer_sums,
    similarity_sums,
    spread,
    spreads,
)


def slow_spread(rows):
    """From the eigenvalues of the covariance, in float64."""
    rows = rows.double()
    centred = rows - rows.mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred / len(rows)).clamp_min(0)
    return values.sum(), values.sum() ** 2 / (values**2).sum()


@pytest.mark.parametrize('count', [2, 3, 40])
@pytest.mark.parametrize('scales', [[1, 1, 1, 1], [5, 1, 0.1, 0], [1, 0, 0, 0]])
def test_spread_is_that_of_the_covariance(count, scales):
    torch.manual_seed(count)
    rows = normalize(torch.randn(count, 4) * torch.tensor(scales) + 0.3, dim=-1)
    others = torch.full((2, 4), 7.0)  # that do not count
    features = torch.cat([rows, others])
    counted = torch.arange(len(features)) < count
    for ours, slow in zip(spread(features, counted), slow_spread(rows), strict=True):
        assert ours == pytest.approx(float(slow), rel=1e-3)


def test_spread_of_what_is_all_equal_and_of_one():
    same = normalize(torch.ones(5, 3), dim=-1)
    variance, rank = spread(same, torch.ones(5, dtype=torch.bool))
    assert variance == pytest.approx(0, abs=1e-10) and rank < 1
    for counted in (torch.zeros(5, dtype=torch.bool), torch.arange(5) < 1):
        assert all(x.isnan() for x in spread(same, counted))
    whole = torch.eye(6)
    variance, rank = spread(whole, torch.ones(6, dtype=torch.bool))
    assert variance == pytest.approx(5 / 6) and rank == pytest.approx(5)


def watch(case):
    model, batch = tiny_coavt(**HEADS), odd_batch(case)
    losses = model(batch, samples(len(batch['clip_key'])), mode='loss')
    return model, batch, losses


@pytest.mark.parametrize('case', CASES)
def test_similarities_by_loops(case):
    model, batch, _ = watch(case)
    seen = model.watched
    with torch.no_grad():  # as a step does, before anybody looks
        model.contrastive_head.temperature.fill_(9.0)
    sums = similarity_sums(seen)
    for stream, clips in seen.clips.items():
        found = {'positive': [], 'negative': []}
        for i, clip in enumerate(clips):
            for j, text in enumerate(seen.texts):
                if seen.valid[stream][i] and seen.valid[stream][j]:
                    same = any(batch[k][i] == batch[k][j]
                               for k in ('clip_key', 'caption_key'))  # fmt: skip
                    name = 'positive' if same else 'negative'
                    found[name].append(float((clip @ text).max()))
        for name, values in found.items():
            total, number = sums[f'similarity/{stream}/{name}'].tolist()
            assert number == len(values)
            assert total == pytest.approx(sum(values), abs=1e-4)


@pytest.mark.parametrize('case', CASES)
def test_answers_by_kind_are_those_that_are_logged_as_one(case):
    model, _, losses = watch(case)
    sums = answer_sums('AV', model.watched.answers['AV'])
    assert [*sums] == [f'matching/AV/{kind}' for kind in PAIRS]
    right, number = torch.stack([*sums.values()]).sum(0)
    logged = losses['matching_acc_AV'].detach()
    assert right / number.clamp_min(1) == pytest.approx(float(logged), abs=1e-5)


def test_a_head_that_always_says_no_is_wrong_on_right_pairs_alone():
    model = tiny_coavt(**HEADS)
    with torch.no_grad():
        model.matching_head.fc.bias.copy_(torch.tensor([100.0, -100.0]))
    model(odd_batch('all'), samples(5), mode='loss')
    sums = answer_sums('AV', model.watched.answers['AV'])
    assert [x.tolist() for x in sums.values()] == [[0, 5], [5, 5], [5, 5]]


def test_nothing_of_the_graph_is_kept_and_nobody_waits():
    model, _, _ = watch('mixed')
    seen = model.watched
    kept = [seen.texts, *seen.clips.values(), *seen.similarity.values()]
    assert not any(x.requires_grad for x in kept)
    with Waits() as waits:
        spreads(seen), similarity_sums(seen)
    assert waits.found == []


def test_models_without_heads_have_less():
    model = tiny_coavt(contrastive_head=None, matching_head=None)
    model(odd_batch('all'), samples(5), mode='loss')
    seen = model.watched
    assert spreads(seen) == similarity_sums(seen) == seen.answers == {}
