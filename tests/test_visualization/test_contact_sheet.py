import numpy as np
import pytest
from matplotlib.colors import to_hex

from coavt_mm.errors import ClipError
from coavt_mm.visualization import contact_sheet as module
from coavt_mm.visualization.contact_sheet import (
    RIGHT,
    WRONG,
    Hit,
    contact_sheet_figure,
    middle_frame,
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


@pytest.mark.parametrize(
    ('sample', 'time'),
    [
        (dict(frame_times=[0.5, 1.5, 4.0], start=0.0, end=9.0), 1.5),
        (dict(frame_times=np.array([2.5])), 2.5),
        (dict(start=10.0, end=20.0), 15.0),
        (dict(start=None, end=None), 0.0),
    ],
)
def test_middle_frame_reads_the_middle(monkeypatch, sample, time):
    asked = []
    monkeypatch.setattr(
        module,
        'read_frames',
        lambda path, times: (asked.append(times), ([IMAGE], []))[1],
    )
    assert middle_frame(dict(sample, clip_path='a.mp4')) is IMAGE
    assert asked == [[time]]


def test_clip_without_picture_or_unreadable_shows_none(monkeypatch, tmp_path):
    assert middle_frame(dict(clip_path=None)) is None

    def fail(path, times):
        raise ClipError(f'{path}: broken')

    monkeypatch.setattr(module, 'read_frames', fail)
    assert middle_frame(dict(clip_path='a.mp4', start=0.0, end=1.0)) is None
