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
    query, wrong, wrong_sound, right, right_sound = figure.axes[:5]
    texts = [text.get_text() for text in query.texts]
    assert texts == ['a dog barks', 'own clip at rank 2']
    assert figure.axes[5].texts[0].get_text().endswith('…')
    for axes in (wrong, wrong_sound):
        assert to_hex(axes.spines['top'].get_edgecolor()) == WRONG.lower()
    for axes in (right, right_sound):
        assert to_hex(axes.spines['top'].get_edgecolor()) == RIGHT.lower()
    assert right.get_title() == '2. 0.80 own'
    assert wrong.get_title() == '1. 0.90'
    assert wrong_sound.get_xlabel() == 'a.mp4'
    assert right.texts[0].get_text() == 'no picture'
    assert right_sound.texts[0].get_text() == 'no sound'


def test_sheet_shows_sound_caption_and_the_clip_that_was_missed(tmp_path):
    sound = np.full((30, 64), -9.0)
    sound[10:20] = 5
    hits = [
        [
            Hit(IMAGE, 0.9, False, '', 'a cat , red', sound),
            Hit(IMAGE, 0.4, True, '', 'long ' * 50, sound, rank=17),
        ]
    ]
    figure = contact_sheet_figure(['a dog , barking'], hits, [17], 'vögel-' * 60)
    save_figure(figure, tmp_path / 'a.png')
    query, _, strip, own, own_strip = figure.axes
    assert query.texts[0].get_text() == 'a dog, barking'
    assert strip.get_xlabel() == 'a cat, red'
    assert own_strip.get_xlabel().endswith('…')
    assert own.get_title() == '17. 0.40 own'
    shade = strip.images[0].get_array()
    assert shade.shape == (64, 30)
    assert shade[0, 15] == 1
    assert shade[0, 0] == 0


def test_nothing_is_cut_off(tmp_path):
    hits = [[Hit(IMAGE, 0.5, True, 'name' * 20, 'caption ' * 60)] * 4] * 2
    figure = contact_sheet_figure(['query ' * 60] * 2, hits, [1, 5], 'a title ' * 50)
    save_figure(figure, tmp_path / 'a.png')
    width, height = figure.bbox.size
    box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert box.x0 >= -1
    assert box.y0 >= -1
    assert box.x1 <= width + 1
    assert box.y1 <= height + 1
