"""The look of all figures; recall curves and similarities.

Figures are built without pyplot, so neither the caller's back end nor open figures
are touched. Colours are those of Okabe and Ito, told apart by the colour-blind, and
each stream has its own marker too.
"""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

from coavt_mm.streams import LOOKS

SPACE_STYLE = {
    'encoder': dict(color='#0072B2', marker='o', label='mean token of the encoder'),
    'query': dict(color='#CC79A7', marker='D', label='mean query'),
}
LINE_COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
DIRECTION_TITLES = {
    'text_to_clip': 'text → clip',
    'clip_to_text': 'clip → text',
    'audio_to_visual': 'sound → picture',
    'visual_to_audio': 'picture → sound',
}
INK, FAINT = '#333333', '#8A8A8A'
CEILING_LINE: dict[str, Any] = dict(linestyle=(0, (2, 0.8)), linewidth=2)
CEILING_SPAN = 1.25  # a mark reaches from k / 1.25 to k * 1.25
DPI = 150


def new_figure(width: float, height: float, title: str = '') -> Figure:
    """An Agg figure outside pyplot; sizes in inches."""
    figure = Figure(
        figsize=(width, height), dpi=DPI, layout='constrained', facecolor='white'
    )
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure and make its folder; a $ in a name is a $ and no formula."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _take_literally(figure)
    figure.savefig(path)
    return path


def figure_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file's content."""
    _take_literally(figure)
    file = io.BytesIO()
    figure.savefig(file, format='png')
    return file.getvalue()


def _take_literally(figure: Figure) -> None:
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def tidy(sentence: str) -> str:
    """A sentence as people write it: a comma stands at its word."""
    return re.sub(r'\s+([,.])(?=\s|$)', r'\1', sentence)


def dress(axes: Axes) -> None:
    """Give axes the look of all plots: two spines, a faint grid behind the data."""
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    for side in ('left', 'bottom'):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color='#E4E4E4', linewidth=0.7)
    axes.set_axisbelow(True)


def write_in_middle(axes: Axes, text: str, color: str = INK, size: int = 9) -> None:
    """Say in an empty field why it is empty."""
    middle: dict[str, Any] = dict(transform=axes.transAxes, ha='center', va='center')
    axes.text(0.5, 0.5, text, color=color, fontsize=size, **middle)


def recall_figure(
    curves: dict[str, dict[str, list[float]]],
    galleries: dict[str, dict[str, int]] | None = None,
    ceilings: dict[str, dict[str, dict[str, float]]] | None = None,
    title: str = '',
    styles: dict[str, dict] = LOOKS,
) -> Figure:
    """R@k over k, one panel per direction.

    Args:
        curves: direction -> stream -> R@1, R@2, ... in per cent.
        galleries: direction -> stream -> candidates; draws chance from the largest.
        ceilings: direction -> stream -> {'R@1': per cent, ...}; dashes.
        title: Above the panels.
        styles: stream -> colour, marker and label.
    """
    figure = new_figure(8, 3.9, title)
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, (direction, streams) in zip(panels, curves.items(), strict=True):
        depth = max(len(values) for values in streams.values())
        for stream, values in streams.items():
            _recall_line(axes, styles[stream], values)
            best = (ceilings or {}).get(direction, {}).get(stream, {})
            _ceiling_marks(axes, styles[stream]['color'], best, depth)
        size = max((galleries or {}).get(direction, {}).values(), default=0)
        if size:
            k = np.linspace(1, depth, 200)
            chance = np.minimum(100, 100 * k / size)
            axes.plot(k, chance, color=FAINT, linestyle=(0, (1, 1.5)), linewidth=1.4)
        _recall_axes(axes, depth)
        axes.set_title(DIRECTION_TITLES.get(direction, direction), fontsize=11)
    panels[0].set_ylabel('R@k (%)', fontsize=10)
    shown = dict.fromkeys(s for found in curves.values() for s in found)
    _recall_legend(figure, [styles[s] for s in shown], bool(ceilings), bool(galleries))
    return figure


def _recall_line(axes: Axes, style: dict, values: list[float]) -> None:
    k = range(1, len(values) + 1)
    marks = [i for i in (0, 4, 9, 19, 49) if i < len(values)]
    axes.plot(k, values, **style, linewidth=2, markersize=6, markevery=marks)


def _ceiling_marks(axes: Axes, color: str, best: dict, depth: int) -> None:
    """Dashes at the known depths only; a line between them would be no ceiling."""
    for name, value in best.items():
        if name.startswith('R@') and int(name[2:]) <= depth:
            k = int(name[2:])
            span = (k / CEILING_SPAN, k * CEILING_SPAN)
            axes.plot(span, (value, value), color=color, **CEILING_LINE)


def _recall_axes(axes: Axes, depth: int) -> None:
    dress(axes)
    axes.set_xscale('log')
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100) if k <= depth]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlim(0.78, max(depth * 1.07, 1.5))
    axes.set_ylim(0, 103)
    axes.set_xlabel('k (ranks, log scale)', fontsize=10)


def _recall_legend(
    figure: Figure, styles: list[dict], ceilings: bool, chance: bool
) -> None:
    handles = [Line2D([], [], linewidth=2, markersize=6, **style) for style in styles]
    if ceilings:
        handles.append(
            Line2D([], [], color=INK, label='ceiling at k = 1, 5, 10', **CEILING_LINE)
        )
    if chance:
        dots = (0, (1, 1.5))
        handles.append(
            Line2D([], [], color=FAINT, linestyle=dots, linewidth=1.4, label='chance')
        )
    figure.legend(
        handles=handles,
        loc='outside lower center',
        ncols=len(handles),
        frameon=False,
        fontsize=9,
    )


def similarity_figure(matrix: np.ndarray, title: str = '') -> Figure:
    """Similarities of captions (rows) with clips (columns), own pairs on the diagonal.

    Args:
        matrix: (n, n) mean over frames of the best query's cosine.
        title: Above the matrix.
    """
    figure = new_figure(5.6, 4.9)
    axes = figure.subplots()
    low, high = np.percentile(matrix, (1, 99.9))
    image = axes.imshow(
        matrix,
        cmap='viridis',
        vmin=low,
        vmax=high if high > low else low + 1e-3,
        interpolation='nearest',
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_xlabel('clip', fontsize=10)
    axes.set_ylabel('caption (its own clip on the diagonal)', fontsize=10)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, extend='both')
    bar.set_label('similarity (mean over frames of best cosine)', fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    axes.set_title(title, fontsize=10, color=INK)
    return figure
