"""Neighbouring windows that answer are one moment."""

import shutil

import numpy as np
import pytest

from coavt_mm.search import Index, find_moments
from coavt_mm.search.filters import Filters

STARTS = np.arange(10.0)  # windows of 1 s, every 1 s


def moments(scores, hop=1.0, background=0.0):
    starts = STARTS * hop
    return find_moments(starts, starts + 1, np.array(scores, float), background)


def test_a_window_by_itself():
    ((start, end, score),) = moments([0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    assert (start, end, score) == (3.0, 4.0, 1.0)  # half height is half way


def test_neighbours_are_merged_and_the_best_is_first():
    found = moments([0, 0.8, 0.8, 0, 0, 0, 0.9, 1, 0.9, 0])
    assert [score for *_, score in found] == [1.0, 0.8]
    np.testing.assert_allclose(found[0][:2], (6, 9), atol=0.1)
    np.testing.assert_allclose(found[1][:2], (1, 3), atol=0.2)


def test_at_the_ends_of_a_clip():
    found = moments([1, 0, 0, 0, 0, 0, 0, 0, 0, 0.9])
    assert found[0][0] == 0.0 and found[1][1] == 10.0


def test_overlapping_windows_tell_where_it_is():
    """A moment from 1.0 to 2.0 s; a window's score is the share of it that it has."""
    starts = STARTS * 0.25
    shares = np.clip(1 - abs(starts - 1.0), 0, 1)
    ((start, end, _),) = find_moments(starts, starts + 1, shares, 0.0)
    assert (start, end) == pytest.approx((1.0, 2.0))


def test_time_that_is_left_out_ends_a_moment():
    starts = np.array([0.0, 1.0, 5.0])
    found = find_moments(starts, starts + 1, np.array([1, 1, 0.9]), 0.0)
    assert [moment[:2] for moment in found] == [(0.0, 2.0), (5.0, 6.0)]


def test_a_clip_of_one_window_and_one_that_does_not_stand_out():
    assert find_moments(np.zeros(1), np.ones(1), np.ones(1), 2.0) == [(0, 1, 1)]
    assert len(moments([0.5] * 10, background=0.5)) == 1


def test_a_window_that_is_barely_above_is_a_span_too():
    starts = np.arange(5.0)
    scores = np.array([0.0, 1.0, 0.0, 0.5, 0.0])
    best, barely = find_moments(starts, starts + 2, scores, 0.0)
    assert best == (1.5, 2.5, 1.0)
    assert barely == (3.75, 4.25, 0.5)


def test_moments_of_an_index(tmp_path, coavt, make_clip):
    folder = tmp_path / 'clips'
    folder.mkdir()
    shutil.copy(make_clip(seconds=3.0), folder / 'long.mp4')
    with Index.create(tmp_path / 'index', coavt, overlap=0.5) as index:
        index.add(coavt, [folder])
        starts = index.catalogue.rows('SELECT start FROM windows ORDER BY start')
        assert [s for (s,) in starts] == pytest.approx(np.arange(0, 2.51, 0.25))
        hits = index.query(coavt, 'the dog', moments=True)['hits']
        assert hits[0]['rank'] == 1
        assert len(hits[0]['line']) == 11
        assert all(0 <= hit['start'] < hit['end'] <= 3.05 for hit in hits)
        none = index.query(coavt, 'dog', moments=True, filters=Filters(longer=9))
        assert none['hits'] == []
