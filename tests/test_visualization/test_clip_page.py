import numpy as np
import pytest

from coavt_mm.visualization import ClipPage, clip_page_figure, save_figure


def words(figure):
    figure.canvas.draw()
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    ticks = [
        label.get_text()
        for axes in figure.axes
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels())
    ]
    return [*texts, *ticks, figure._suptitle.get_text()]


def page(**more):
    rng = np.random.default_rng(0)
    return ClipPage(
        'clips/a.mp4',
        hop=0.01,
        start=2.0,
        frames=rng.integers(0, 255, (2, 32, 48, 3), np.uint8),
        frame_times=[2.25, 2.75],
        spectrogram=rng.normal(size=(100, 16)),
        visual_attention=rng.random((2, 2, 3)),
        audio_attention=rng.random((1, 6)),
        **more,
    )


def test_a_whole_page(tmp_path):
    figure = clip_page_figure(
        page(texts=[('a red star', 0.91), ('a dog', -0.2)], caption='a star')
    )
    found = words(figure)
    assert {'2.2 s', '2.8 s', '2.6 s', 'a red star', ' 0.91', ' -0.20'} <= set(found)
    assert 'clips/a.mp4\ncaption: a star' in found
    assert len(figure.axes) == 5
    assert save_figure(figure, tmp_path / 'page.png').stat().st_size > 10_000


def test_the_time_axis_follows_the_hop():
    longer = page()
    longer.hop = 0.025  # 100 frames
    for axes in (clip_page_figure(longer).axes[i] for i in (1, 3)):
        assert axes.get_xlim() == (2.0, 4.5)


@pytest.mark.parametrize('missing', ['frames', 'spectrogram'])
def test_what_is_missing_is_said(missing):
    whole = page()
    setattr(whole, missing, None)
    name = {'frames': 'no picture', 'spectrogram': 'no sound'}[missing]
    assert words(clip_page_figure(whole)).count(name) == 2


def test_without_attention_and_texts_and_with_many_frames():
    bare = page()
    bare.visual_attention = bare.audio_attention = None
    bare.frames = np.repeat(bare.frames[:1], 13, 0)
    bare.frame_times = [i / 10 for i in range(13)]
    figure = clip_page_figure(bare)
    assert len(figure.axes) == 2
    assert [t for t in words(figure) if t.endswith('.0 s')].count('0.0 s') == 1
    shown = figure.axes[0].get_xticklabels()
    assert [label.get_text() for label in shown] == [
        f'{t:.1f} s' for t in (0, 0.3, 0.6, 0.9, 1.2)
    ]


def test_the_map_lies_where_the_patch_is():
    only = page()
    only.visual_attention = np.zeros((2, 2, 3))
    only.visual_attention[1, 0, 2] = 1.0  # second frame, top right patch
    axes = clip_page_figure(only).axes[2]
    heat = axes.images[1]
    assert heat.get_extent() == [-0.5, 95.5, 31.5, -0.5]
    assert np.unravel_index(heat.get_array().argmax(), (2, 6)) == (0, 5)


@pytest.mark.parametrize(
    ('scores', 'limits'),
    [
        ([0.38, 0.36], (0.32, 0.42)),  # a small difference looks small
        ([0.5], (0.45, 0.55)),
        ([0.5, -0.5], (-0.6, 0.6)),
    ],
)
def test_similarities_are_dots_on_an_honest_axis(scores, limits):
    texts = [(f'text {score} , long ' * 20, score) for score in scores]
    axes = clip_page_figure(page(texts=texts)).axes[-1]
    assert axes.get_xlim() == pytest.approx(limits)
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == 'o']
    assert dots == scores


def test_probabilities_are_bars_from_0_to_1():
    texts = [('dog', 0.9), ('cat', 0.1)]
    axes = clip_page_figure(page(texts=texts, score_name='probability')).axes[-1]
    assert axes.get_xlim() == (0, 1)
    assert [0, 0.9] in [list(line.get_xdata()) for line in axes.lines]


def test_a_long_name_and_caption_stay_within_the_figure():
    figure = clip_page_figure(page(caption='a word ' * 60))
    figure.canvas.draw()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
