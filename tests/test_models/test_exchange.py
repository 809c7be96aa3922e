"""Ranks exchange the rows that were drawn, and no others."""

import pytest
import ranks
import ranks_exchange
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from coavt_mm.models import exchange

pytestmark = pytest.mark.slow


def test_fetched_rows_are_those_of_a_gather_and_alone_are_sent(tmp_path):
    out = str(tmp_path / 'rows')
    ranks.run_ranks(3, ranks_exchange.fetch_worker, out)
    returned = 0
    for rank, asked in enumerate(ranks_exchange.ASKED):
        (gathers, fetches, bf16), exchanged, gathered = torch.load(f'{out}.{rank}')
        assert torch.equal(fetches[0], gathers[0])
        torch.testing.assert_close(fetches[1], gathers[1], atol=1e-6, rtol=1e-6)
        assert torch.equal(*bf16)
        # 2 x 5 numbers per row; beside them only the places, and what the gather took
        assert exchanged[0] == 10 * len(asked)
        assert gathered == [10 * ranks_exchange.B, ranks_exchange.B]
        returned += exchanged[1]
    assert returned == 10 * sum(map(len, ranks_exchange.ASKED))


def test_a_graph_has_the_shapes_of_what_is_asked_for(monkeypatch):
    monkeypatch.setattr(exchange, 'get_world_size', lambda: 4)
    with FakeTensorMode():
        x = torch.zeros(3, 2, 5, requires_grad=True)
        rows = exchange.fetch_rows(x, torch.zeros(2, dtype=torch.long))
        rows.sum().backward()
    assert rows.shape == (2, 2, 5) and x.grad.shape == x.shape


def test_a_step_sends_the_tokens_of_the_drawn_clips_alone(tmp_path):
    out = str(tmp_path / 'step')
    ranks.run_two_ranks(ranks_exchange.step_worker, out)
    tokens = 10 * 16  # of one clip: 6 of the sound, 4 of the picture, 16 wide
    returned, said = 0, []
    for rank in range(2):
        fine, logged, exchanged, gathered = torch.load(f'{out}.{rank}')
        said.append(logged)
        assert fine and max(gathered) < 5 * tokens
        returned += exchanged.pop()
        assert exchanged == [[2, 5][rank] * tokens]  # clips that count; the rest is out
    assert returned == 7 * tokens
    # what is logged is of all clips, though one rank has few that count
    assert said[0] == pytest.approx(said[1]) and 0 <= said[0]['matching_acc_AV'] <= 1
