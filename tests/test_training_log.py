"""The log of a run in its checkpoints: plain numbers, equal to the last bit."""

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from coavt_mm.checkpoint_files import load_from_local
from coavt_mm.errors import CheckpointError
from coavt_mm.training_log import plain_log, whole_log


def history(values, counts=None, **options):
    return HistoryBuffer(values, counts or [1] * len(values), **options)


def hub(**scalars):
    return dict(log_scalars=scalars, runtime_info=dict(iter=3), resumed_keys={})


def appended():
    """As a run makes one: empty, then value by value."""
    made = HistoryBuffer(max_length=50)
    for value in (0.1, 1 / 3, float('nan'), float('inf'), 5):
        made.update(value, 2)
    return made


@pytest.mark.parametrize(
    'one',
    [
        history([0.1, 1 / 3], [1, 4]),
        history([1, 2]),
        history([]),
        history(np.float32([0.1, 0.2])),
        appended(),
    ],
    ids=['floats', 'integers', 'empty', 'float32', 'appended'],
)
def test_every_number_comes_back(tmp_path, one):
    before = hub(loss=one)
    plain = plain_log(before)
    assert before['log_scalars']['loss'] is one
    torch.save(dict(state_dict={}, message_hub=plain), tmp_path / 'a.pth')
    torch.load(tmp_path / 'a.pth', weights_only=True)  # needs nothing of mmengine
    read = load_from_local(str(tmp_path / 'a.pth'))['message_hub']
    assert read['runtime_info'] == dict(iter=3)
    again = read['log_scalars']['loss']
    for got, wanted in zip(again.data, one.data, strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
    assert again.max_length == one.max_length
    again.update(2.0)
    assert again.current() == 2.0 and len(one.data[0]) == len(again.data[0]) - 1


def test_a_number_beyond_64_bits_can_be_saved():
    one = history([1.0])
    one.update(10**30)
    values = plain_log(hub(x=one))['log_scalars']['x']['values']
    assert values.tolist() == [1.0, 1e30]


@pytest.mark.parametrize('state', [None, 5, {}, [], dict(log_scalars=5)])
def test_what_is_no_hub_is_left_alone(state):
    assert plain_log(state) is state and whole_log(state) is state


ONE = torch.ones(2)


@pytest.mark.parametrize(
    'part',
    [
        {},
        dict(values=ONE, counts=ONE),
        dict(values=ONE, counts=ONE, max_length=9, statistics_methods={}),
        dict(values=ONE, counts=ONE[:1], max_length=9),
        dict(values=ONE, counts=ONE, max_length=1),
        dict(values=ONE, counts=ONE, max_length='9'),
        dict(values=[1], counts=[1], max_length=9),
        dict(values=ONE[None], counts=ONE[None], max_length=9),
    ],
    ids=str,
)
def test_a_history_that_is_none_is_one_line(tmp_path, part):
    torch.save(dict(message_hub=hub(loss=part)), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r"a\.pth: .*'loss' .* no history"):
        load_from_local(str(tmp_path / 'a.pth'))
