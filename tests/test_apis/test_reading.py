import threading

import pytest
import torch
from torch import nn

from coavt_mm.apis.reading import ReaderCore, ahead


def counting(stop, seen=None, closed=None):
    try:
        for i in range(stop):
            if seen is not None:
                seen.append(i)
            yield i
    finally:
        if closed is not None:
            closed.set()


@pytest.mark.parametrize('room', [1, 3, 100])
@pytest.mark.parametrize('length', [0, 1, 7])
def test_all_items_in_their_order(length, room):
    assert list(ahead(counting(length), room)) == list(range(length))


def test_the_next_items_are_made_meanwhile():
    made = threading.Event()

    def items():
        yield 0
        made.set()
        yield 1

    found = ahead(items(), 2)
    assert next(found) == 0
    assert made.wait(10)  # though nobody has asked for it
    assert list(found) == [1]


def test_no_more_than_there_is_room_for():
    seen, found = [], None
    found = ahead(counting(50, seen), 3)
    assert [next(found), next(found)] == [0, 1]
    assert len(seen) <= 2 + 3 + 1  # taken, waiting, and one in the hand
    found.close()


def test_an_error_comes_in_its_place():
    def items():
        yield 0
        raise ValueError('broken')

    found = ahead(items(), 5)
    assert next(found) == 0
    with pytest.raises(ValueError, match='broken'):
        next(found)


def test_who_goes_no_further_ends_thread_and_generator():
    before, closed = threading.active_count(), threading.Event()
    found = ahead(counting(1000, closed=closed), 2)
    next(found)
    found.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_the_generator_runs_in_one_other_thread():
    def names():
        for _ in range(20):
            yield threading.current_thread().name

    found = set(ahead(names(), 2))
    assert len(found) == 1 and threading.current_thread().name not in found


def test_threads_that_compute_at_once_leave_all_as_it_was(monkeypatch):
    monkeypatch.setattr('coavt_mm.apis.reading._cores', lambda: 2)
    core, model, before = ReaderCore(), nn.Linear(1, 1), torch.get_num_threads()
    entered, go = threading.Event(), threading.Event()

    def other():
        with core.left(True, model):
            entered.set()
            go.wait(10)

    torch.set_num_threads(3)
    try:
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(10)
        with core.left(True, model):
            assert torch.get_num_threads() == 1
        go.set()
        thread.join()
        assert torch.get_num_threads() == 3 and core.users == 0
        with pytest.raises(KeyError), core.left(True, model):
            raise KeyError
        with core.left(False, model):
            assert torch.get_num_threads() == 3
    finally:
        go.set()
        torch.set_num_threads(before)
