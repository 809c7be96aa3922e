"""How a training went: the numbers that mmengine logged, and a figure of them."""

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coavt_mm.streams import LOOKS
from coavt_mm.visualization.plots import (
    DIRECTION_TITLES,
    INK,
    LINE_COLORS,
    dress,
    new_figure,
)


def read_scalars(path: str | Path) -> dict[str, tuple[list[float], list[float]]]:
    """Read mmengine's ``vis_data/scalars.json``.

    Args:
        path: JSON lines, each with ``step`` (iterations).

    Returns:
        name -> (steps, values).
    """
    series: dict[str, tuple[list[float], list[float]]] = {}
    for line in Path(path).read_text('utf-8').splitlines():
        row = json.loads(line)
        step = row.pop('step', row.get('iter'))
        for name, value in row.items():
            if step is None or not isinstance(value, int | float):
                continue
            steps, values = series.setdefault(name, ([], []))
            steps.append(step)
            values.append(value)
    return series


def training_figure(
    series: dict[str, tuple[list[float], list[float]]],
    recalls: tuple[str, ...] = ('text_to_clip/{}/R@1', 'clip_to_text/{}/R@1'),
    title: str = '',
) -> Figure:
    """Losses over iterations and, where they were evaluated, recalls beside them.

    Args:
        series: name -> (steps, values), as :func:`read_scalars` gives it.
        recalls: Ends of metric names, ``{}`` standing for the stream.
        title: Above the panels.
    """
    found = {
        (direction, stream): values
        for direction in recalls
        for stream in LOOKS
        for name, values in series.items()
        if name.endswith(direction.format(stream))
    }
    figure = new_figure(8, 3.9, title)
    panels = figure.subplots(1, 2 if found else 1, squeeze=False)[0]
    _loss_panel(panels[0], series)
    if found:
        _recall_panel(panels[1], found, recalls)
    return figure


def _loss_panel(axes: Axes, series: dict) -> None:
    losses = [name for name in series if name.startswith('loss_')]
    for i, name in enumerate(losses):
        label = name.removeprefix('loss_').replace('_', ' ')
        color = LINE_COLORS[i % len(LINE_COLORS)]
        axes.plot(*series[name], color=color, linewidth=1.5, label=label)
    if 'loss' in series:
        axes.plot(*series['loss'], color=INK, linewidth=2, label='sum')
    dress(axes)
    axes.set_ylim(bottom=0)
    axes.set_xlabel('iterations', fontsize=10)
    axes.set_ylabel('loss (nats)', fontsize=10)
    if axes.lines:
        axes.legend(fontsize=8, frameon=False)


def _recall_panel(axes: Axes, found: dict, recalls: tuple[str, ...]) -> None:
    for (direction, stream), (steps, values) in found.items():
        style: dict[str, Any] = dict(LOOKS[stream])
        back = direction != recalls[0]
        title = DIRECTION_TITLES.get(direction.split('/')[0], direction)
        style['label'] = f'{stream}, {title}'
        line = '--' if back else '-'
        axes.plot(steps, values, **style, linestyle=line, linewidth=1.6, markersize=4)
    dress(axes)
    axes.set_ylim(0, 103)
    axes.set_xlabel('iterations', fontsize=10)
    axes.set_ylabel('R@1 (%)', fontsize=10)
    axes.legend(fontsize=8, frameon=False)
