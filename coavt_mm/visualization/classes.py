"""Bars of classes and confusion matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from coavt_mm.streams import LOOKS
from coavt_mm.visualization.plots import (
    INK,
    LINE_COLORS,
    dress,
    new_figure,
    write_values,
)

MOST_BARS = 60  # more classes than this: the best and the worst of them
MOST_NAMES = 40  # more classes than this: a matrix without names


def class_bars_figure(
    values: dict[str, float | None], value_name: str, title: str = ''
) -> Figure:
    """One bar per class, the best on top.

    Of more than 60 classes the 30 best and the 30 worst are drawn.

    Args:
        values: Class -> 0 to 1, or None for a class without clips (not drawn).
        value_name: What it is, such as 'AP'.
        title: Above the bars.
    """
    known = {name: value for name, value in values.items() if value is not None}
    order = sorted(known, key=known.__getitem__, reverse=True)
    left_out = max(0, len(order) - MOST_BARS)
    if left_out:
        order = order[: MOST_BARS // 2] + order[-(MOST_BARS // 2) :]
    figure = new_figure(6.4, 1.2 + 0.19 * len(order), title)
    axes = figure.subplots()
    rows = range(len(order))
    axes.barh(rows, [100 * known[n] for n in order], color=LINE_COLORS[0], height=0.72)
    dress(axes)
    axes.grid(False, axis='y')
    axes.set_yticks(rows, order, fontsize=8)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    note = f'; {left_out} classes between the halves are not drawn' if left_out else ''
    axes.set_xlabel(f'{value_name} (%){note}', fontsize=10)
    if left_out:
        axes.axhline(
            MOST_BARS // 2 - 0.5, color=INK, linewidth=1, linestyle=(0, (4, 3))
        )
    return figure


def label_sets_figure(
    values: dict[str, dict[str, float]],
    ceilings: dict[str, dict[str, float]] | None = None,
    value_name: str = 'top-1',
    title: str = '',
) -> Figure:
    """One group of bars per label set, one bar per stream.

    Args:
        values: Stream -> label set -> 0 to 1.
        ceilings: Likewise, what can be reached at best; drawn as dashes.
        value_name: What it is.
        title: Above the bars.
    """
    sets = list(dict.fromkeys(name for found in values.values() for name in found))
    figure = new_figure(2.2 + 0.9 * len(sets), 3.9, title)
    axes = figure.subplots()
    width = 0.8 / len(values)
    for i, (stream, found) in enumerate(values.items()):
        places = np.arange(len(sets)) + (i - (len(values) - 1) / 2) * width
        style: dict[str, Any] = {key: LOOKS[stream][key] for key in ('color', 'label')}
        heights = [100 * found.get(name, 0) for name in sets]
        axes.bar(places, heights, width=0.9 * width, **style)
        for place, name in zip(places, sets, strict=True):
            best = (ceilings or {}).get(stream, {}).get(name)
            if best is not None:
                span = (place - 0.45 * width, place + 0.45 * width)
                axes.plot(span, [100 * best] * 2, color=INK, linewidth=1.8)
    dress(axes)
    axes.grid(False, axis='x')
    axes.set_xticks(range(len(sets)), sets, fontsize=9)
    axes.set_ylim(0, 103)
    note = ' (lines: ceiling)' if ceilings else ''
    axes.set_ylabel(f'{value_name} (%){note}', fontsize=10)
    figure.legend(loc='outside lower center', ncols=3, frameon=False, fontsize=9)
    return figure


def confusion_figure(
    counts: np.ndarray, names: Sequence[str], title: str = ''
) -> Figure:
    """Shares of each true class (row) that were taken for each class (column).

    Args:
        counts: (C, C) clips, true classes in rows.
        names: (C,) class names; drawn for up to 40 classes.
        title: Above the matrix.
    """
    clips = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100 * counts, clips, out=np.zeros(counts.shape), where=clips > 0)
    few = len(names) <= MOST_NAMES
    side = 2.6 + (0.28 * len(names) if few else 4.4)
    figure = new_figure(side + 0.8, side, title)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap='cividis', vmin=0, vmax=100)
    if few:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
    if len(names) <= 12:
        write_values(axes, shares, '.0f', 50)
    axes.set_xlabel('best-scored class', fontsize=10)
    axes.set_ylabel('true class', fontsize=10)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label('share of the true class (%)', fontsize=9)
    bar.outline.set_visible(False)
    return figure
