from dataclasses import replace
from pathlib import Path

import pytest

from coavt_mm.analysis.cost_model import (
    Pieces,
    duration,
    epoch_cost,
    step_bytes,
    storage,
    tables,
)

PIECES = Pieces(
    batch=10,
    step=2.0,
    parameters=100,
    tokens=3,
    width=5,
    features=7,
    cores=4,
    clip_bytes=1e6,
    inside=1000.0,
    outside=100.0,
    month_price=0.5,
    read_price=2.0,
)


def test_page_has_the_tables():
    page = Path(__file__).parents[2] / 'docs' / 'scaling.md'
    for table in tables(Pieces()).split('\n\n'):
        assert table in page.read_text(encoding='utf-8')


def test_one_gpu_sends_nothing():
    assert set(step_bytes(PIECES, 1).values()) == {0}


def test_bytes_of_a_step_by_hand():
    assert step_bytes(PIECES, 4) == {
        'gradients': 2 * 3 / 4 * 400,
        'tokens': 2 * 3 / 4 * 10 * 4 * 15,
        'features': 2 * 3 * 10 * 4 * 7,
    }


@pytest.mark.parametrize('gpus', [2, 8, 64])
def test_rings_send_no_more_with_more_gpus(gpus):
    sent = step_bytes(PIECES, gpus)
    assert sent['gradients'] < 2 * 4 * PIECES.parameters
    assert sent['tokens'] < 2 * 4 * 10 * 15


def test_epoch_by_hand():
    cost = epoch_cost(PIECES, 8000, 4, 0.5)
    assert (cost.steps, cost.compute, cost.decoding) == (200, 2.0, 5.0)
    assert cost.network == pytest.approx((600 + 900 + 1680) / 1000)
    assert cost.bound == 'decoding' and cost.least == 1000
    assert cost.most == pytest.approx(200 * (2.0 + 3.18))


def test_bounds():
    assert epoch_cost(PIECES, 8000, 4, 100.0).bound == 'network'
    assert epoch_cost(PIECES, 8000, 1, 100.0).bound == 'compute'
    assert epoch_cost(PIECES, 800, 1, 100.0).bound == 'batch'
    other_machine = replace(PIECES, per_machine=2)
    slow = epoch_cost(other_machine, 8000, 4, 100.0).network
    assert slow == pytest.approx(10 * epoch_cost(PIECES, 8000, 4, 100.0).network)


def test_storage_by_hand():
    assert storage(PIECES, 2000) == (2e9, 1.0, 4.0)


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(0, '0 s'), (119, '119 s'), (120, '2 min'), (7199, '120 min'),
     (12240, '3.4 h'), (172800, '2 d'), (1e7, '116 d')],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text
