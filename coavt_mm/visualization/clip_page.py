"""A clip as the model sees it: frames, spectrogram, where the queries look, texts.

Letters: F frames, H, W pixels, L spectrogram frames, M mel bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coavt_mm.visualization.plots import (
    FAINT,
    INK,
    LINE_COLORS,
    SMALLEST_SPAN,
    cut_lines,
    new_figure,
    tidy,
    write_in_middle,
)

MAX_FRAMES = 6  # shown side by side
TEXT_WIDTH, FEWEST_ROWS = 58, 4  # characters; room for texts that are not there
_BAR: dict = dict(color=LINE_COLORS[0], linewidth=6, solid_capstyle='butt')


@dataclass
class ClipPage:
    """What is drawn of a window of a clip.

    Args:
        name: Title.
        hop: From one spectrogram frame to the next, in s.
        start: Begin of the window in s.
        frames: (F, H, W, 3) uint8 RGB; None where the clip has none.
        frame_times: F times in s.
        spectrogram: (L, M) log-mel; None where the clip has no audio.
        visual_attention: (F, rows, columns) of patches.
        audio_attention: (mel rows, columns in time) of patches.
        texts: Texts or labels with their scores, best first.
        score_name: What the scores are.
        caption: The model's own caption.
    """

    name: str
    hop: float
    start: float = 0.0
    frames: np.ndarray | None = None
    frame_times: list[float] = field(default_factory=list)
    spectrogram: np.ndarray | None = None
    visual_attention: np.ndarray | None = None
    audio_attention: np.ndarray | None = None
    texts: list[tuple[str, float]] = field(default_factory=list)
    score_name: str = 'similarity'
    caption: str = ''


def clip_page_figure(page: ClipPage) -> Figure:
    """Left the input, in the middle the attention over it, right the texts.

    Args:
        page: What to draw; panels of what is missing say so.
    """
    attention = page.visual_attention is not None or page.audio_attention is not None
    columns = 2 if attention else 1
    title = page.name
    if page.caption:
        title += f'\ncaption: {tidy(page.caption)}'
    figure = new_figure(4.6 * columns + (4.2 if page.texts else 0), 4.8, title)
    grid = figure.add_gridspec(2, columns + bool(page.texts), height_ratios=[1.3, 1])
    picture, sound = (figure.add_subplot(grid[row, 0]) for row in (0, 1))
    _show_frames(picture, page, None)
    _show_sound(sound, page, None)
    picture.set_title('picture and sound', fontsize=9, color=INK, loc='left')
    if attention:
        picture, sound = (figure.add_subplot(grid[row, 1]) for row in (0, 1))
        _show_frames(picture, page, page.visual_attention)
        _show_sound(sound, page, page.audio_attention)
        picture.set_title('where the queries look', fontsize=9, color=INK, loc='left')
    if page.texts:
        _show_texts(figure.add_subplot(grid[:, columns]), page)
    return figure


def say(axes: Axes, text: str) -> None:
    """Show an empty field that says why it is empty."""
    axes.set_facecolor('#EFEFEF')
    write_in_middle(axes, text)
    axes.set_xticks([])
    axes.set_yticks([])


def show_frames(
    axes: Axes,
    frames: Sequence[np.ndarray] | np.ndarray,
    times: Sequence[float],
    gap: int = 0,
) -> None:
    """Show frames side by side, with their times below.

    Args:
        axes: Where.
        frames: F times (H, W, 3) uint8 RGB.
        times: F times in s.
        gap: White columns between two frames.
    """
    height, width = frames[0].shape[:2]
    between = np.full((height, gap, 3), 255, np.uint8)
    strip = [part for frame in frames for part in (frame, between)][:-1]
    axes.imshow(np.concatenate(strip, axis=1))
    places = [i * (width + gap) + width / 2 for i in range(len(frames))]
    axes.set_xticks(places, [f'{t:.1f} s' for t in times])
    axes.set_yticks([])
    axes.set_frame_on(False)
    axes.tick_params(colors=FAINT, labelsize=8, length=0)


def show_spectrogram(
    axes: Axes,
    energies: np.ndarray,
    hop: float,
    start: float = 0.0,
    cmap: str = 'magma',
) -> tuple[float, float, float, float]:
    """Show log-mel energies over time.

    Args:
        axes: Where.
        energies: (L, M).
        hop: From one frame to the next, in s.
        start: Of the first frame, in s.
        cmap: Colours.

    Returns:
        The extent drawn: first and last time, first and last bin.
    """
    length, bins = energies.shape
    extent = (start, start + length * hop, 0.0, float(bins))
    axes.imshow(energies.T, origin='lower', aspect='auto', extent=extent, cmap=cmap)
    axes.set_yticks([])
    axes.set_ylabel(f'{bins} mel bins', fontsize=8, color=FAINT)
    axes.tick_params(colors=FAINT, labelsize=8)
    axes.xaxis.set_major_formatter('{x:g} s')
    return extent


def _show_frames(axes: Axes, page: ClipPage, attention: np.ndarray | None) -> None:
    if page.frames is None:
        say(axes, 'no picture')
        return
    step = -(-len(page.frames) // MAX_FRAMES)
    frames = page.frames[::step]
    show_frames(axes, frames, page.frame_times[::step])
    if attention is not None:
        height, width = frames.shape[1:3]
        heat = np.concatenate(list(attention[::step]), axis=1)
        _lay_over(axes, heat, (-0.5, len(frames) * width - 0.5, height - 0.5, -0.5))


def _show_sound(axes: Axes, page: ClipPage, attention: np.ndarray | None) -> None:
    if page.spectrogram is None:
        say(axes, 'no sound')
        return
    cmap = 'gray' if attention is not None else 'magma'
    extent = show_spectrogram(axes, page.spectrogram, page.hop, page.start, cmap)
    if attention is not None:
        _lay_over(axes, attention, extent, origin='lower')
        axes.set_aspect('auto')


def _lay_over(axes: Axes, heat: np.ndarray, extent: tuple, origin='upper') -> None:
    """A heat map over what is drawn already; light where nobody looks."""
    share = heat / max(float(heat.max()), 1e-12)
    axes.imshow(
        heat,
        cmap='inferno',
        alpha=0.15 + 0.6 * share,
        extent=extent,
        origin=origin,
        interpolation='nearest',
    )


def _show_texts(axes: Axes, page: ClipPage) -> None:
    """Each text above its score.

    Probabilities are bars from 0 to 1. Similarities are dots, whose axis need not begin
    at 0, but spans so much that a difference of nothing looks like nothing.
    """
    scores = [score for _, score in page.texts]
    low, high = (0.0, 1.0) if page.score_name == 'probability' else _span(scores)
    left = axes.get_yaxis_transform()  # from 0 to 1 over the width
    for row, (text, score) in enumerate(page.texts):
        words = cut_lines(tidy(text), TEXT_WIDTH, 3)
        axes.text(0, row - 0.1, words, fontsize=8.5, va='bottom', transform=left)
        axes.plot((low, high), (row, row), color='#E4E4E4', linewidth=1, zorder=0)
        if page.score_name == 'probability':
            axes.plot((0, score), (row, row), **_BAR)
        else:
            axes.plot(score, row, marker='o', markersize=7, color=LINE_COLORS[0])
        axes.text(high, row, f' {score:.2f}', va='center', fontsize=8.5)
    axes.set_xlim(low, high)
    axes.set_ylim(max(len(scores), FEWEST_ROWS) - 0.7, -0.9)
    axes.set_yticks([])
    axes.set_xlabel(page.score_name, fontsize=9, color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.spines['bottom'].set_color(FAINT)


def _span(scores: list[float]) -> tuple[float, float]:
    """From a little below the scores to a little above."""
    low, high = min(scores), max(scores)
    margin = max(0.1 * (high - low), (SMALLEST_SPAN - (high - low)) / 2)
    return low - margin, high + margin
