"""Curves over iterations or epochs, in panels below each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from coavt_mm.visualization.plots import FAINT, INK, dress, new_figure

_COLORS = (INK, '#E69F00', '#56B4E9', FAINT)  # none of a stream
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
                color=_COLORS[i % len(_COLORS)],
                linestyle=_DASHES[i // len(_COLORS) % len(_DASHES)],
                marker='o' if len(places) == 1 else '',
            )
        dress(axes)
        axes.set_ylabel(panel.name, fontsize=9, color=INK)
        # beside the curves, never on them
        place = dict(loc='upper left', bbox_to_anchor=(1.0, 1.0))
        axes.legend(fontsize=7, frameon=False, **place)  # type: ignore[arg-type]
    rows[-1].set_xlabel(along, fontsize=10, color=INK)
    return figure
