import numpy as np
from matplotlib.colors import to_hex

from coavt_mm.visualization.contact_sheet import (
    RIGHT,
    WRONG,
    Hit,
    contact_sheet_figure,
)
from coavt_mm.visualization.plots import save_figure

IMAGE = np.full((9, 16, 3), 200, np.uint8)


def test_sheet_marks_the_own_clip(tmp_path):
    hits = [
        [Hit(IMAGE, 0.9, False, 'a.mp4'), Hit(None, 0.8, True)],
        [Hit(IMAGE, 0.7, True)],
    ]
    figure = contact_sheet_figure(['a dog barks', 'word ' * 90], hits, [2, 1], 'toy')
    save_figure(figure, tmp_path / 'a.png')
    query, wrong, right = figure.axes[:3]
    texts = [text.get_text() for text in query.texts]
    assert texts == ['a dog barks', 'own clip at rank 2']
    assert figure.axes[3].texts[0].get_text().endswith('…')
    assert to_hex(wrong.spines['top'].get_edgecolor()) == WRONG.lower()
    assert to_hex(right.spines['top'].get_edgecolor()) == RIGHT.lower()
    assert right.get_title() == '2. 0.80 own'
    assert wrong.get_title() == '1. 0.90'
    assert right.texts[0].get_text() == 'no picture'
