"""Variants of a training beside each other, such as ablations."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from coavt_mm.visualization.plots import FAINT, INK, dress, new_figure

NAME_WIDTH = 38  # characters
MARK: dict[str, Any] = dict(marker='o', markersize=5, linewidth=1.6)
BASE: dict[str, Any] = dict(linestyle=(0, (4, 2)), linewidth=1.2, zorder=1)


@dataclass(frozen=True)
class Measured:
    """A number of several runs.

    Args:
        mean: Per cent.
        spread: Standard deviation over the runs.
        runs: How many.
    """

    mean: float
    spread: float
    runs: int


def variants_figure(
    found: Mapping[str, Mapping[str, Measured]],
    base: str,
    number: str,
    colors: Mapping[str, str],
    title: str = '',
) -> Figure:
    """A row for each variant, a panel for each column, all on one scale from 0 to 100.

    Args:
        found: Name of a variant -> column -> number; the best in the first column is
            drawn on top.
        base: The variant whose numbers are drawn as lines through all rows.
        number: What the numbers are.
        colors: Column -> colour.
        title: Above the panels.
    """
    columns = list(colors)
    first = columns[0]
    worst = Measured(-1.0, 0.0, 0)
    order = sorted(found, key=lambda name: -found[name].get(first, worst).mean)
    names = ['\n'.join(textwrap.wrap(name, NAME_WIDTH)) for name in order]
    lines = sum(name.count('\n') + 1 for name in names)
    height = 1.5 + 0.14 * lines + 0.16 * len(names)
    figure = new_figure(3.2 + 1.9 * len(columns), height, title)
    panels = figure.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False)
    for axes, column in zip(panels[0], columns, strict=True):
        dress(axes)
        _draw(axes, [found[name].get(column) for name in order], colors[column])
        line = found.get(base, {}).get(column)
        if line is not None:
            axes.axvline(line.mean, color=colors[column], **BASE)
        axes.set_title(column, fontsize=10, color=INK)
        axes.set_xlabel(number, fontsize=9, color=INK)
    first_axes = panels[0][0]
    first_axes.set(xlim=(0, 100), ylim=(len(order) - 0.5, -0.5))
    first_axes.set_yticks(range(len(order)), names, fontsize=8)
    handles = _legend(found, base)
    place: dict[str, Any] = dict(loc='outside lower center', ncols=len(handles))
    figure.legend(handles=handles, frameon=False, fontsize=9, **place)
    return figure


def _draw(axes: Axes, values: list[Measured | None], color: str) -> None:
    axes.grid(False, axis='y')
    for row, value in enumerate(values):
        if value is not None:
            ends = (value.mean - value.spread, value.mean + value.spread)
            axes.plot(ends, (row, row), color=color, linewidth=MARK['linewidth'])
            axes.plot(value.mean, row, color=color, clip_on=False, **MARK)
        axes.axhline(row + 0.5, color='#E4E4E4', linewidth=0.7, zorder=0)


def _legend(found: Mapping[str, Mapping[str, Measured]], base: str) -> list[Line2D]:
    runs = {value.runs for numbers in found.values() for value in numbers.values()}
    said = ' to '.join(str(n) for n in sorted({min(runs), max(runs)}))
    dot = f'mean, ± standard deviation over {said} seed{"s" * (max(runs) > 1)}'
    handles = [Line2D([], [], color=INK, label=dot, **MARK)]
    if base in found:
        handles.append(Line2D([], [], color=FAINT, label=f'line: {base}', **BASE))
    return handles
