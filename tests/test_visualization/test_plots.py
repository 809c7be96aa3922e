import os

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from scipy.stats import hypergeom

from coavt_mm.streams import LOOKS
from coavt_mm.visualization.plots import (
    chance_recall,
    recall_figure,
    save_figure,
    similarity_figure,
)


def lines_of(axes, stream):
    color = LOOKS[stream]['color']
    return [line for line in axes.lines if to_hex(line.get_color()) == color.lower()]


def test_recall_figure_draws_curves_ceilings_and_chance(tmp_path):
    curves = {
        'text_to_clip': {'AV': [50.0, 75, 80, 90, 95, 100], 'A': [10.0] * 6},
        'clip_to_text': {'AV': [40.0, 70, 80, 90, 95, 100]},
    }
    galleries = {'text_to_clip': {'AV': 12, 'A': 10}, 'clip_to_text': {'AV': 24}}
    ceilings = {'text_to_clip': {'A': {'R@1': 30.0, 'R@10': 100.0, 'MedR': 2}}}
    figure = recall_figure(curves, galleries, ceilings, 'toy, 12 clips')
    left, right = figure.axes
    (curve,) = lines_of(left, 'AV')
    assert list(curve.get_ydata()) == curves['text_to_clip']['AV']
    curve, ceiling = lines_of(left, 'A')
    assert list(ceiling.get_ydata()) == [30.0, 30.0]  # R@10 is beyond the depth
    assert left.lines[-1].get_ydata()[-1] == pytest.approx(100 * 6 / 12)
    assert right.lines[-1].get_ydata()[-1] == pytest.approx(100 * 6 / 24)
    assert '%' in left.get_ylabel()
    assert 'rank' in left.get_xlabel()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == 4  # two streams, ceiling, chance
    assert save_figure(figure, tmp_path / 'new' / 'a.png').stat().st_size > 5000


@pytest.mark.parametrize(
    ('candidates', 'right'),
    [(200, [1]), (1000, [5] * 3), (20, [1, 1, 3, 20]), (7, [2, 7]), (1, [1])],
)
def test_chance_is_exact(candidates, right):
    depth = 50
    expected = [
        np.mean([hypergeom.sf(0, candidates, c, min(k, candidates)) for c in right])
        for k in range(1, depth + 1)
    ]
    found = chance_recall(candidates, right, depth)
    assert found == pytest.approx(100 * np.array(expected))


def test_chance_counts_all_captions_of_a_clip():
    curves = {'clip_to_text': {'AV': [60.0, 80], 'A': [50.0, 70]}}
    galleries = {'clip_to_text': {'AV': 10, 'A': 4}}
    right = {'clip_to_text': {'AV': [5, 5], 'A': [2, 2]}}
    figure = recall_figure(curves, galleries, right=right)
    line = figure.axes[0].lines[-1]
    assert list(line.get_xdata()) == [1, 2]
    assert list(line.get_ydata()) == pytest.approx([50, 100 * (1 - 20 / 90)])


def test_ceilings_that_coincide_take_turns():
    curves = {'text_to_clip': {stream: [100.0] for stream in ('AV', 'A', 'V')}}
    ceilings = {'text_to_clip': {s: {'R@1': 100.0} for s in ('AV', 'A', 'V')}}
    (axes,) = recall_figure(curves, ceilings=ceilings).axes
    patterns = {
        lines_of(axes, s)[1]._unscaled_dash_pattern[0] for s in ('AV', 'A', 'V')
    }
    assert len(patterns) == 3
    curve, dashes = lines_of(axes, 'AV')
    assert dashes.get_zorder() > curve.get_zorder()


@pytest.mark.parametrize('title', ['v\u00f6gel-' * 90, 'two words ' * 60, 'a\nb', '$x'])
def test_titles_stay_within_the_figure(tmp_path, title):
    figure = similarity_figure(np.eye(3), title)
    save_figure(figure, tmp_path / 'a.png')
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 <= figure.bbox.height


@pytest.mark.parametrize('depth', [1, 2])
def test_recall_figure_of_a_tiny_gallery(tmp_path, depth):
    figure = recall_figure({'text_to_clip': {'V': [100.0] * depth}})
    save_figure(figure, tmp_path / 'a.png')
    assert len(figure.axes) == 1
    assert len(figure.legends[0].get_texts()) == 1


@pytest.mark.parametrize('matrix', [np.ones((1, 1)), np.ones((5, 5)), np.eye(7)])
def test_similarity_figure(tmp_path, matrix):
    figure = similarity_figure(matrix, 'toy')
    save_figure(figure, tmp_path / 'a.png')
    image = figure.axes[0].images[0]
    assert np.array_equal(image.get_array(), matrix)
    low, high = image.get_clim()
    assert high - low >= 0.1
    assert 'similarity' in figure.axes[1].get_ylabel()


def test_global_state_of_matplotlib_is_left_alone():
    before, figures = dict(matplotlib.rcParams), pyplot.get_fignums()
    similarity_figure(np.eye(3)).savefig(os.devnull, format='png')
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == figures
