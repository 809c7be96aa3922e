import numpy as np
import pytest
from matplotlib.colors import to_hex

from coavt_mm.streams import LOOKS
from coavt_mm.visualization import Stage, save_figure, training_figure

STEPS = [10, 20, 30]


def series(**more):
    found = {
        'loss': (STEPS, [9.0, 8.0, 7.0]),
        'loss_contrastive_A': (STEPS, [0.0, 2.0, 1.0]),
        'loss_contrastive_AV': (STEPS, [3.0, 2.5, 2.5]),
        'loss_lm_AV': (STEPS, [5.0, 4.0, 3.0]),
        'loss_own': (STEPS, [1.0, 0.5, 0.2]),
        'lr': (STEPS, [0.1] * 3),
        'retrieval/text_to_clip/AV/R@1': ([20], [40.0]),
        'retrieval/text_to_clip/V/R@1': ([20], [20.0]),
        'retrieval/clip_to_text/AV/R@1': ([20, 30], [50.0, 60.0]),
    }
    return {**found, **more}


def hue(line):
    return to_hex(line.get_color()).upper()


def test_a_panel_for_each_loss_and_a_hue_for_each_stream(tmp_path):
    figure = training_figure(series(), title='toy')
    save_figure(figure, tmp_path / 'a.png')
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_visible()}
    assert list(panels) == [
        'contrastive',
        'language modelling',
        'own',
        'text → clip, on validation clips',
        'clip → text, on validation clips',
    ]
    for stream, title, number in (
        ('A', 'contrastive', 0),
        ('AV', 'contrastive', 1),
        ('AV', 'language modelling', 0),
        ('AV', 'clip → text, on validation clips', 0),
        ('V', 'text → clip, on validation clips', 1),
    ):
        assert hue(panels[title].lines[number]) == LOOKS[stream]['color']
    (recall,) = panels['clip → text, on validation clips'].lines
    assert list(recall.get_ydata()) == [50.0, 60.0]
    assert recall.get_marker() == LOOKS['AV']['marker']
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:3] == [LOOKS[stream]['label'] for stream in ('AV', 'A', 'V')]


def test_a_loss_that_is_off_is_not_drawn():
    values = [0.0, 0.0, 3.0, 2.0, 1.5, 1.5, 1.5]
    figure = training_figure({'loss_lm_A': (range(7), values)})
    drawn = figure.axes[0].lines[0].get_ydata()
    assert np.isnan(drawn).tolist() == [True, True, False, False, False, True, True]


def test_stages_are_shaded_and_named(tmp_path):
    stages = [Stage(0, 'V captions'), Stage(15, 'all captions'), Stage(99, 'never')]
    figure = training_figure(series(), stages=stages)
    save_figure(figure, tmp_path / 'a.png')
    for axes in figure.axes[:5]:
        spans = [patch.get_extents() for patch in axes.patches]
        assert len(spans) == 2
        assert [text.get_text() for text in axes.texts] == ['1', '2']
    note = figure.legends[0].get_title().get_text().replace('\n', ' ')
    assert note == 'stages 1: V captions; 2: all captions; 3: never'


@pytest.mark.parametrize(
    ('logged', 'titles'),
    [
        ({'loss': (STEPS, [3.0, 2, 1])}, ['all losses']),
        ({'loss_cls': (STEPS, [3.0, 2, 1]), 'loss': (STEPS, [3.0, 2, 1])},
         ['classification']),
        ({'loss': ([1], [3.0])}, ['all losses']),
        ({'loss_lm_AV': (STEPS, [0.0] * 3)}, ['language modelling']),
        ({'lr': (STEPS, [1.0] * 3)}, []),
    ],
)  # fmt: skip
def test_little_to_draw(tmp_path, logged, titles):
    figure = training_figure(logged, title='lang ' * 50)
    save_figure(figure, tmp_path / 'a.png')
    shown = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert shown == titles
