"""Curves over iterations or epochs, in panels below each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from coavt_mm.visualization.plots import INK, LINE_COLORS, dress, new_figure

_DASHES = ('-', '--', ':', '-.')


@dataclass(frozen=True)
class Panel:
    """Curves that share their axes.

    Args:
        name: What is drawn, beside the vertical axis.
        lines: Label -> (N places, N values).
    """

    name: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]


def curves_figure(
    panels: Sequence[Panel], along: str = 'iterations', title: str = ''
) -> Figure:
    """Draw panels over one horizontal axis.

    Args:
        panels: From top to bottom.
        along: What the horizontal axis counts.
        title: Above them.
    """
    figure = new_figure(8, 1.0 + 2.4 * len(panels), title)
    rows = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axes, panel in zip(rows, panels, strict=True):
        for i, (label, (places, values)) in enumerate(panel.lines.items()):
            axes.plot(
                places,
                values,
                label=label,
                color=LINE_COLORS[i % len(LINE_COLORS)],
                linestyle=_DASHES[i // len(LINE_COLORS) % len(_DASHES)],
                marker='o' if len(places) == 1 else '',
            )
        dress(axes)
        axes.set_ylabel(panel.name, fontsize=9, color=INK)
        axes.legend(fontsize=7, frameon=False)
    rows[-1].set_xlabel(along, fontsize=10, color=INK)
    return figure
