"""Queries with the clips that a model puts first, as pictures."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coavt_mm.visualization.plots import FAINT, INK, new_figure, write_in_middle

RIGHT, WRONG, WRONG_TEXT = '#0072B2', '#E69F00', '#B45309'


@dataclass
class Hit:
    """One clip that a query brought up.

    Args:
        image: (H, W, 3) uint8 RGB, or None where there is no picture.
        score: Similarity.
        is_own: Whether the query was written for this clip, or it is right otherwise.
        name: Shown below the image.
    """

    image: np.ndarray | None
    score: float
    is_own: bool
    name: str = ''


def contact_sheet_figure(
    queries: Sequence[str],
    hits: Sequence[Sequence[Hit]],
    ranks: Sequence[int],
    title: str = '',
    right: str = 'own',
) -> Figure:
    """One row per query: its text, the rank of its own clip and the top clips.

    The own clip has a thick blue frame and says so; the others a thin orange one.

    Args:
        queries: Captions.
        hits: For each query its top clips, best first.
        ranks: For each query the rank of its own clip, from 1.
        title: Above the sheet.
        right: What the right clips are called.
    """
    columns = max(len(row) for row in hits)
    figure = new_figure(2.6 + 1.25 * columns, 0.4 + 1.5 * len(queries), title)
    grid = figure.add_gridspec(
        len(queries), columns + 1, width_ratios=[2.1] + [1] * columns
    )
    for i, (query, row, rank) in enumerate(zip(queries, hits, ranks, strict=True)):
        note = f'{right} clip at rank {rank}'
        _write_query(figure.add_subplot(grid[i, 0]), query, note, rank == 1)
        for j, hit in enumerate(row):
            label = f'{j + 1}. {hit.score:.2f}' + (f' {right}' if hit.is_own else '')
            _show_hit(figure.add_subplot(grid[i, j + 1]), hit, label)
    return figure


def _write_query(axes: Axes, query: str, note: str, is_first: bool) -> None:
    axes.set_axis_off()
    lines = textwrap.wrap(query, 34)
    if len(lines) > 6:
        lines = [*lines[:5], lines[5][:32] + ' …']
    place: dict[str, Any] = dict(
        ha='left', fontsize=8.5, linespacing=1.3, annotation_clip=False
    )
    text = axes.annotate(
        '\n'.join(lines), (0, 1), xycoords='axes fraction', va='top', color=INK, **place
    )
    color = RIGHT if is_first else WRONG_TEXT
    axes.annotate(
        note, (0, 0), (0, -5), text, 'offset points', va='top', color=color, **place
    )


def _show_hit(axes: Axes, hit: Hit, label: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    if hit.image is None:
        axes.set_facecolor('#EFEFEF')
        axes.set_box_aspect(1)
        write_in_middle(axes, 'no picture', FAINT, 8)
    else:
        axes.imshow(hit.image)
    for spine in axes.spines.values():
        spine.set_color(RIGHT if hit.is_own else WRONG)
        spine.set_linewidth(4 if hit.is_own else 1.5)
    weight = 'bold' if hit.is_own else 'normal'
    color = RIGHT if hit.is_own else INK
    axes.set_title(label, fontsize=8, color=color, fontweight=weight, pad=4)
    if hit.name:
        axes.set_xlabel(textwrap.shorten(hit.name, 20), fontsize=6, color=FAINT)
