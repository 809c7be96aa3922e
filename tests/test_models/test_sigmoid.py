"""The contrastive head that asks of each pair by itself."""

import pytest
import torch
from tiny_coavt import CASES, HEADS, odd_batch, samples, tiny_coavt

from coavt_mm.models import SigmoidHead
from coavt_mm.models.losses import Similarity


def test_each_pair_is_a_question_by_itself():
    head = SigmoidHead(bias=-1.0, embed_dims=4, proj_dims=2)
    scores = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [9.0, 9.0, 9.0]])
    same = torch.eye(3, dtype=torch.bool)
    valid = torch.tensor([True, True, False])  # the third clip and its text are out
    found = head.loss(Similarity(scores, scores.T), same, valid, valid)
    right, wrong = (scores - 1).sigmoid(), (1 - scores).sigmoid()
    slow = -(right[0, 0] * wrong[0, 1]).log() - (right[1, 1] * wrong[1, 0]).log()
    torch.testing.assert_close(found, slow / 2)
    assert head.temperature.item() == pytest.approx(0.1)
    same[0, 1] = same[1, 0] = True  # a duplicate is right, too
    found = head.loss(Similarity(scores, scores.T), same, valid, valid)
    torch.testing.assert_close(found, -right[:2, :2].log().sum() / 2)
    nobody = torch.zeros(3, dtype=torch.bool)
    assert head.loss(Similarity(scores, scores.T), same, nobody, nobody) == 0


def test_ranks_that_compute_their_own_rows_compute_all_pairs():
    head = SigmoidHead(embed_dims=4, proj_dims=2)
    scores, valid = torch.randn(6, 6), torch.tensor([True, False, True] * 2)
    same = torch.eye(6, dtype=torch.bool)
    whole = head.loss(Similarity(scores, scores.T), same, valid, valid)
    halves = [
        head.loss(Similarity(scores[r], scores.T[r]), same[r], valid[r], valid)
        for r in (slice(0, 3), slice(3, 6))
    ]
    torch.testing.assert_close(sum(halves) / 2, whole)


@pytest.mark.parametrize('case', CASES)
def test_it_trains_in_the_place_of_the_other(case):
    heads = dict(HEADS, contrastive_head=dict(type='SigmoidHead', proj_dims=8))
    model, batch = tiny_coavt(**heads), odd_batch(case)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    course = []
    for _ in range(30):
        losses = model(dict(batch), samples(len(batch['clip_key'])), mode='loss')
        total = sum(x for name, x in losses.items() if 'loss_contrastive' in name)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        course.append(total.item())
    assert model.contrastive_head.bias.grad.abs() > 0
    assert course[-1] < 0.8 * course[0]
