import pytest

from coavt_mm.visualization import save_figure
from coavt_mm.visualization.variants import Measured, variants_figure

COLORS = {'text to clip': '#0072B2', 'text to sound': '#D55E00'}


def test_rows_are_in_order_and_the_base_is_a_line(tmp_path):
    found = {
        'full': {'text to clip': Measured(70.0, 9.0, 3)},
        'no_x: without a part that has a very long name indeed': {
            'text to clip': Measured(20.0, 0.0, 1),
            'text to sound': Measured(5.0, 6.0, 3),
        },
        'best': {'text to clip': Measured(90.0, 1.0, 3)},
        'never run': {},
    }
    figure = variants_figure(found, 'full', 'R@1 (%)', COLORS, 'toy')
    save_figure(figure, tmp_path / 'a.png')
    left, right = figure.axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names[:2] == ['best', 'full']
    assert names[2].startswith('no_x: without a part')
    assert '\n' in names[2]
    assert left.get_xlim() == right.get_xlim() == (0, 100)
    dots = [line for line in left.lines if line.get_marker() == 'o']
    assert [dot.get_xdata()[0] for dot in dots] == [90, 70, 20]
    whiskers = [list(line.get_xdata()) for line in left.lines]
    assert [61.0, 79.0] in whiskers
    assert [70.0, 70.0] in whiskers  # the base, from top to bottom
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ['mean, ± standard deviation over 1 to 3 seeds', 'line: full']


@pytest.mark.parametrize('base', ['full', 'only'])
def test_one_variant(tmp_path, base):
    found = {'only': {'text to clip': Measured(0.0, 0.0, 1)}}
    figure = variants_figure(found, base, 'R@1 (%)', COLORS)
    save_figure(figure, tmp_path / 'a.png')
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == 'mean, ± standard deviation over 1 seed'
    assert len(labels) == 1 + (base == 'only')
