import numpy as np
from matplotlib.colors import to_hex

from coavt_mm.visualization.caption_table import CaptionRow, caption_table_figure
from coavt_mm.visualization.plots import FAINT, INK, LINE_COLORS, save_figure

IMAGE = np.full((9, 16, 3), 200, np.uint8)


def test_rows_show_every_decoder_and_three_references(tmp_path):
    rows = [
        CaptionRow(IMAGE, 'a', dict(greedy='a dog', beam='word ' * 60), list('wxyz')),
        CaptionRow(None, 'b', dict(greedy=''), ['rain']),
    ]
    figure = caption_table_figure(rows, 'toy')
    save_figure(figure, tmp_path / 'a.png')
    _, first, picture, second = figure.axes
    texts = [text.get_text() for text in first.texts]
    assert texts[:2] == ['a', 'greedy: a dog']
    assert texts[2].count('\n') == 2  # wrapped
    assert texts[3:] == ['true: w', 'true: x', 'true: y']
    colors = [to_hex(text.get_color()) for text in first.texts]
    expected = [FAINT, *LINE_COLORS[:2], INK, INK, INK]
    assert colors == [color.lower() for color in expected]
    lines = [text.get_position()[1] for text in first.texts]
    assert lines == [0, 1, 2, 5, 6, 7]
    assert picture.texts[0].get_text() == 'no picture'
    assert [text.get_text() for text in second.texts[1:]] == [
        'greedy: (no word)',
        'true: rain',
    ]
