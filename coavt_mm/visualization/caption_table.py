"""Clips with the captions written for them, as a picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coavt_mm.visualization.plots import (
    FAINT,
    INK,
    LINE_COLORS,
    cut_lines,
    new_figure,
    tidy,
    write_in_middle,
)

WIDTH = 108  # characters per line
LINE = 0.17  # inches
SHOWN_REFERENCES = 3


@dataclass
class CaptionRow:
    """One clip of the table.

    Args:
        image: (H, W, 3) uint8 RGB, or None where there is no picture.
        name: Shown above the captions.
        written: What the model wrote: decoder -> caption.
        references: True captions; the first three are shown.
    """

    image: np.ndarray | None
    name: str
    written: dict[str, str]
    references: Sequence[str]

    def blocks(self) -> list[tuple[str, str]]:
        """(wrapped text, colour) of each caption, from top to bottom."""
        colors = [LINE_COLORS[i % len(LINE_COLORS)] for i in range(len(self.written))]
        captions = [*self.written.items()]
        for text in self.references[:SHOWN_REFERENCES]:
            captions.append(('true', text))
            colors.append(INK)
        lines = [f'{label}: {tidy(text) or "(no word)"}' for label, text in captions]
        wrapped = ['\n'.join(textwrap.wrap(line, WIDTH)) for line in lines]
        return [
            (cut_lines(self.name, WIDTH - 12, 2), FAINT),
            *zip(wrapped, colors, strict=True),
        ]


def caption_table_figure(rows: Sequence[CaptionRow], title: str = '') -> Figure:
    """One row per clip: its frame, what each decoder wrote, the true captions.

    Args:
        rows: The clips.
        title: Above the table.
    """
    blocks = [row.blocks() for row in rows]
    lines = [sum(text.count('\n') + 1 for text, _ in block) for block in blocks]
    heights = [max(1.0, LINE * n + 0.1) for n in lines]  # inches
    figure = new_figure(8.4, 0.4 + sum(heights), title)
    grid = figure.add_gridspec(
        len(rows), 2, width_ratios=[1, 4.6], height_ratios=heights
    )
    for i, (row, block) in enumerate(zip(rows, blocks, strict=True)):
        _show_frame(figure.add_subplot(grid[i, 0]), row.image)
        _write(figure.add_subplot(grid[i, 1]), block, heights[i] / LINE)
    return figure


def _show_frame(axes: Axes, image: np.ndarray | None) -> None:
    axes.set_axis_off()
    if image is None:
        write_in_middle(axes, 'no picture', FAINT, 8)
    else:
        axes.imshow(image)


def _write(axes: Axes, blocks: list[tuple[str, str]], height: float) -> None:
    """Texts below each other; ``height`` of the axes in lines."""
    axes.set_axis_off()
    axes.set_ylim(height, 0)
    line = 0
    for text, color in blocks:
        axes.text(0, line, text, color=color, va='top', fontsize=8, linespacing=1.2)
        line += text.count('\n') + 1
