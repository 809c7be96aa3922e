import numpy as np
import pytest

from coavt_mm.visualization import (
    class_bars_figure,
    confusion_figure,
    label_sets_figure,
    save_figure,
)


def test_bars_from_best_to_worst_without_unknown_classes():
    figure = class_bars_figure({'a': 0.2, 'b': 0.9, 'c': None, 'd': 0.5}, 'AP')
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ['b', 'd', 'a']
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([90, 50, 20])


def test_of_many_classes_the_best_and_the_worst():
    axes = class_bars_figure({f'{i}': i / 99 for i in range(100)}, 'AP').axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f'{i}' for i in [*range(99, 69, -1), *range(29, -1, -1)]]
    assert '40 classes between the halves' in axes.get_xlabel()


def test_confusions_as_shares_of_the_true_class():
    counts = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    axes = confusion_figure(counts, ['a', 'b', 'c']).axes[0]
    shares = axes.images[0].get_array()
    assert shares.tolist() == [[75, 25, 0], [0, 100, 0], [0, 0, 0]]
    assert {text.get_text() for text in axes.texts} == {'75', '25', '100'}
    many = confusion_figure(np.eye(50), [str(i) for i in range(50)])
    assert not many.axes[0].texts


def test_label_sets_by_stream(tmp_path):
    values = {'AV': {'shape': 0.9, 'count': 1.0}, 'A': {'shape': 0.2, 'count': 0.8}}
    figure = label_sets_figure(values, {'A': {'shape': 0.25}}, title='toy')
    axes = figure.axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([90, 100, 20, 80])
    assert [line.get_ydata()[0] for line in axes.lines] == [25]
    assert save_figure(figure, tmp_path / 'x.png').stat().st_size
