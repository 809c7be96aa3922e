"""The look of all figures; recall curves and similarities.

Figures are built without pyplot, so neither the caller's back end nor open figures
are touched. Colours are those of Okabe and Ito, told apart by the colour-blind, and
each stream has its own marker too.
"""

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
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
    'encoder': dict(color='#333333', marker='v', label='mean token of the encoder'),
    'query': dict(color='#E69F00', marker='P', label='mean query'),
}
LINE_COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
DIRECTION_TITLES = {
    'text_to_clip': 'text → clip',
    'clip_to_text': 'clip → text',
    'audio_to_visual': 'sound → picture',
    'visual_to_audio': 'picture → sound',
}
INK, FAINT = '#333333', '#8A8A8A'
CHANCE_LINE: dict[str, Any] = dict(
    color=FAINT, linestyle=(0, (1, 1.5)), linewidth=1.4, label='chance'
)
SMALLEST_SPAN = 0.1  # of similarities from darkest to brightest: less is nothing
MOST_WRITTEN = 8  # clips whose similarities are written, too
CEILING_SPAN = 1.25  # a mark reaches from k / 1.25 to k * 1.25
DASH = 2.0  # points, of a ceiling
DPI = 150
TITLE_LINES, TITLE_LETTERS = 4, 160  # most lines; letters of the first try at one
TITLE_LINE = 0.17  # inches


def new_figure(width: float, height: float, title: str = '') -> Figure:
    """An Agg figure outside pyplot; sizes in inches. Further lines of a long title make
    it higher."""
    figure = Figure(
        figsize=(width, height), dpi=DPI, layout='constrained', facecolor='white'
    )
    FigureCanvasAgg(figure)
    if title:
        _write_title(figure, title)
    return figure


def _write_title(figure: Figure, title: str) -> None:
    """Write a title in as many lines as it needs to stay within the figure."""
    text = figure.suptitle(title, fontsize=10, color=INK, parse_math=False)
    room = 0.98 * figure.get_figwidth() * figure.dpi
    letters = TITLE_LETTERS
    while True:
        lines = (cut_lines(x, letters, TITLE_LINES) for x in title.splitlines())
        text.set_text('\n'.join(lines))
        needed = text.get_window_extent().width
        if needed <= room or letters == 1:
            break
        letters = max(1, min(letters - 1, int(letters * room / needed)))
    more = text.get_text().count('\n')
    figure.set_figheight(figure.get_figheight() + TITLE_LINE * more)


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


def cut_lines(text: str, width: int, lines: int) -> str:
    """Break a text into lines of ``width`` characters; what is too much becomes '…'."""
    broken = textwrap.wrap(text, width)
    if len(broken) > lines:
        broken = [*broken[: lines - 1], broken[lines - 1][: width - 2] + ' …']
    return '\n'.join(broken)


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
    right: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> Figure:
    """R@k over k, one panel per direction.

    Args:
        curves: direction -> stream -> R@1, R@2, ... in per cent.
        galleries: direction -> stream -> candidates; draws chance from the largest.
        ceilings: direction -> stream -> {'R@1': per cent, ...}; dashes.
        title: Above the panels.
        styles: stream -> colour, marker and label.
        right: direction -> stream -> right candidates of each query; default: one.
    """
    figure = new_figure(8, 3.9, title)
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, (direction, streams) in zip(panels, curves.items(), strict=True):
        depth = max(len(values) for values in streams.values())
        for stream, values in streams.items():
            _recall_line(axes, styles[stream], values)
        colors = {stream: styles[stream]['color'] for stream in streams}
        _ceiling_marks(axes, colors, (ceilings or {}).get(direction, {}), depth)
        sizes = (galleries or {}).get(direction, {})
        if sizes:
            largest = max(sizes, key=sizes.__getitem__)
            counts = (right or {}).get(direction, {}).get(largest, [1])
            chance = chance_recall(sizes[largest], counts, depth)
            axes.plot(range(1, depth + 1), chance, **CHANCE_LINE)
        _recall_axes(axes, depth)
        axes.set_title(DIRECTION_TITLES.get(direction, direction), fontsize=11)
    panels[0].set_ylabel('R@k (%)', fontsize=10)
    shown = dict.fromkeys(s for found in curves.values() for s in found)
    _recall_legend(figure, [styles[s] for s in shown], bool(ceilings), bool(galleries))
    return figure


def chance_recall(candidates: int, right: Sequence[int], depth: int) -> np.ndarray:
    """R@k of a random order: that one of the right candidates is among the first k.

    Args:
        candidates: N that are ranked.
        right: How many of them are right, for each query.
        depth: The largest k.

    Returns:
        (depth,) per cent, 100 * mean of ``1 - C(N - right, k) / C(N, k)``.
    """
    counts, queries = np.unique(right, return_counts=True)
    places = np.arange(min(depth, candidates))
    wrong = (candidates - counts)[:, None] - places  # still there when k are drawn
    missed = np.cumprod(wrong.clip(min=0) / (candidates - places), axis=1)
    found = 100 * (1 - queries @ missed / queries.sum())
    return np.concatenate([found, np.full(depth - len(found), 100.0)])


def _recall_line(axes: Axes, style: dict, values: list[float]) -> None:
    """A curve below the ceilings, its marks above them."""
    k = range(1, len(values) + 1)
    marks = [i for i in (0, 4, 9, 19, 49) if i < len(values)]
    marker, line = style['marker'], {**style, 'marker': '', 'linewidth': 2}
    axes.plot(k, values, **line)
    places, heights = [k[i] for i in marks], [values[i] for i in marks]
    axes.scatter(places, heights, 36, style['color'], marker=marker, zorder=4)


def _ceiling_marks(
    axes: Axes, colors: dict[str, str], ceilings: dict[str, dict], depth: int
) -> None:
    """Dashes at the known depths only; a line between them would be no ceiling.

    They lie on white, so that a curve that reaches them doesn't hide them; those of
    streams with the same ceiling take turns.
    """
    same: dict[tuple[int, float], list[str]] = {}
    for stream in colors:
        for name, value in (ceilings.get(stream) or {}).items():
            if name.startswith('R@') and int(name[2:]) <= depth:
                same.setdefault((int(name[2:]), value), []).append(stream)
    for (k, value), streams in same.items():
        span, height = (k / CEILING_SPAN, k * CEILING_SPAN), (value, value)
        axes.plot(span, height, color='white', linewidth=4, zorder=2.5)
        for turn, stream in enumerate(streams):
            line = _dashes(colors[stream], turn, len(streams))
            axes.plot(span, height, **line, zorder=3)


def _dashes(color: str, turn: int = 0, turns: int = 1) -> dict[str, Any]:
    gap = DASH * (turns - 1) if turns > 1 else 0.4 * DASH
    pattern = (DASH * (turns - turn), (DASH, gap))
    return dict(color=color, linestyle=pattern, linewidth=2, dash_capstyle='butt')


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
        handles.append(Line2D([], [], label='ceiling at k = 1, 5, 10', **_dashes(INK)))
    if chance:
        handles.append(Line2D([], [], **CHANCE_LINE))
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
    figure = new_figure(5.6, 5.0, title)
    axes = figure.subplots()
    low, high = np.percentile(matrix, (1, 99.9))
    wider = max(0.0, SMALLEST_SPAN - (high - low)) / 2
    span = dict(vmin=low - wider, vmax=high + wider)
    image = axes.imshow(matrix, cmap='viridis', interpolation='nearest', **span)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_xlabel('clip', fontsize=10)
    axes.set_ylabel('caption (its own clip on the diagonal)', fontsize=10)
    if len(matrix) <= MOST_WRITTEN:
        write_values(axes, matrix, '.3f', (low + high) / 2)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, extend='both')
    bar.set_label('similarity (mean over frames of best cosine)', fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure


def write_values(
    axes: Axes, matrix: np.ndarray, layout: str, middle: float, size: int = 8
) -> None:
    """Write the values of a drawn matrix into its cells; 0 is left out.

    Args:
        axes: Where the matrix is drawn, dark where it is low.
        matrix: (rows, columns).
        layout: Of a number, as in a format string.
        middle: Above this value the ground is light.
        size: Of the letters, in points.
    """
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            ink = 'black' if value > middle else 'white'
            style: dict[str, Any] = dict(ha='center', va='center', fontsize=size)
            axes.text(column, row, format(value, layout), color=ink, **style)
