"""How a training went: a panel for each loss, a hue for each stream."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from coavt_mm.streams import LOOKS
from coavt_mm.visualization.plots import (
    DIRECTION_TITLES,
    FAINT,
    INK,
    cut_lines,
    dress,
    new_figure,
)

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]

COLUMNS = 3
LOSS_TITLES = {
    'lm': 'language modelling',
    'cls': 'classification',
    'audio_visual': 'sound against picture',
}
SHADES = ('#F1F1F1', '#FFFFFF')  # of stages, in turn
OTHER: dict = dict(color=INK, marker='o', label='of no stream')


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Args:
        begin: In iterations.
        name: What is trained there.
    """

    begin: float
    name: str


@dataclass(frozen=True)
class _Panel:
    title: str
    unit: str
    lines: dict[str, tuple[Sequence[float], Sequence[float]]]  # by stream; '' for none
    is_validation: bool = False


def training_figure(
    series: Series,
    recalls: Sequence[str] = ('text_to_clip/{}/R@1', 'clip_to_text/{}/R@1'),
    title: str = '',
    stages: Sequence[Stage] = (),
) -> Figure:
    """Each loss over iterations and, where they were evaluated, recalls.

    The sum is drawn only where no loss has a name: it jumps where a stage brings losses
    of its own, which says nothing.

    Args:
        series: Name -> (iterations, values), as training logs them.
        recalls: Ends of metric names, ``{}`` standing for the stream.
        title: Above the panels.
        stages: In order; shaded in turn.
    """
    panels = [*_losses(series), *_validation(series, recalls)]
    columns = min(COLUMNS, max(1, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    figure = new_figure(3.1 * columns + 0.6, 2.5 * rows + 0.9, title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    last = max((max(x) for p in panels for x, _ in p.lines.values() if x), default=1)
    for i, axes in enumerate(grid):
        if i >= len(panels):
            axes.set_visible(False)
            continue
        _shade(axes, stages, last)
        _draw(axes, panels[i])
        if i + columns >= len(panels):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel('iterations', fontsize=9, color=INK)
    _legend(figure, panels, stages, 14 * math.ceil(7.5 * columns / 3 + 1))
    return figure


def _losses(series: Series) -> list[_Panel]:
    found: dict[str, dict] = {}
    for name, points in series.items():
        if name.startswith('loss_'):
            head, _, stream = name.removeprefix('loss_').rpartition('_')
            if not head or stream not in LOOKS:
                head, stream = name.removeprefix('loss_'), ''
            found.setdefault(head, {})[stream] = _without_pauses(*points)
    if not found and 'loss' in series:
        found['all losses'] = {'': series['loss']}
    return [
        _Panel(LOSS_TITLES.get(head, head.replace('_', ' ')), 'loss (nats)', lines)
        for head, lines in found.items()
    ]


def _without_pauses(places: Sequence[float], values: Sequence[float]) -> tuple:
    """Draw nothing where a loss was switched off: it is exactly 0 there, or to the last
    digit what it was before."""
    before = [math.nan, *values]
    shown = [
        math.nan if value in (0, last) else value
        for value, last in zip(values, before, strict=False)
    ]
    return places, shown


def _validation(series: Series, recalls: Sequence[str]) -> list[_Panel]:
    panels = []
    for end in recalls:
        lines = {
            stream: points
            for stream in LOOKS
            for name, points in series.items()
            if name.endswith(end.format(stream))
        }
        if lines:
            direction, number = end.split('/')[0], end.split('/')[-1]
            title = f'{DIRECTION_TITLES.get(direction, direction)}, on validation clips'
            panels.append(_Panel(title, f'{number} (%)', lines, is_validation=True))
    return panels


def _draw(axes: Axes, panel: _Panel) -> None:
    for stream, (places, values) in panel.lines.items():
        look = LOOKS.get(stream, OTHER)
        marker = look['marker'] if panel.is_validation or len(places) == 1 else ''
        style = {**look, 'marker': marker, 'linewidth': 1.5, 'markersize': 5}
        axes.plot(places, values, **style)
    dress(axes)
    axes.set_axisbelow(True)
    known = [y for _, line in panel.lines.values() for y in line if math.isfinite(y)]
    top = 103.0 if panel.is_validation else 1.05 * max(known, default=1.0)
    axes.set_ylim(min(0.0, *known) if known else 0.0, top if top > 0 else 1.0)
    axes.set_title(panel.title, fontsize=10, color=INK)
    axes.set_ylabel(panel.unit, fontsize=9, color=INK)
    axes.tick_params(labelsize=8)


def _shade(axes: Axes, stages: Sequence[Stage], last: float) -> None:
    ends = [*(min(stage.begin, last) for stage in stages), last]
    for i, (begin, end) in enumerate(pairwise(ends)):
        if begin < end:
            axes.axvspan(begin, end, color=SHADES[i % 2], zorder=0, linewidth=0)
            place: dict[str, Any] = dict(transform=axes.get_xaxis_transform())
            place |= dict(ha='center', va='top', fontsize=8, color=FAINT)
            axes.text((begin + end) / 2, 0.98, str(i + 1), **place)
    axes.set_xlim(0, last * 1.02)


def _legend(
    figure: Figure, panels: Sequence[_Panel], stages: Sequence[Stage], width: int
) -> None:
    drawn = {stream for panel in panels for stream in panel.lines}
    looks = [look for stream, look in {**LOOKS, '': OTHER}.items() if stream in drawn]
    if drawn == {''}:
        looks = []
    with_points = any(panel.is_validation for panel in panels)
    handles = [
        Line2D([], [], **{**look, 'marker': look['marker'] if with_points else ''})
        for look in looks
    ]
    names = [f'{i}: {stage.name}' for i, stage in enumerate(stages, 1)]
    note = cut_lines(f'stages {"; ".join(names)}', width, 4) if names else None
    if not handles and not note:
        return
    figure.legend(
        handles=handles,
        title=note,
        loc='outside lower center',
        ncols=max(1, len(handles)),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
    )
