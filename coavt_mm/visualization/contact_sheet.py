"""Queries with the clips that a model puts first, to look at sound and picture.

Letters: H, W pixels, L spectrogram frames, M mel bins.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from coavt_mm.visualization.plots import (
    FAINT,
    INK,
    cut_lines,
    new_figure,
    tidy,
    write_in_middle,
)
from coavt_mm.visualization.sound_view import brightness

RIGHT, WRONG = '#0072B2', '#B0B0B0'
QUERY, COLUMN = 2.2, 1.7  # widths in inches
PICTURE, STRIP, LINE = 1.25, 0.4, 0.125  # heights in inches
HEAD, GAP = 0.45, 0.1  # inches: what else a row needs, and between two of them
QUERY_LINES, QUERY_WIDTH = 9, 31  # characters
CAPTION_LINES, CAPTION_WIDTH = 5, 29


@dataclass
class Hit:
    """One clip that a query brought up.

    Args:
        image: (H, W, 3) uint8 RGB, or None where there is no picture.
        score: Similarity.
        is_own: Whether the query was written for this clip, or it is right otherwise.
        name: Shown below the caption.
        caption: What the clip's own caption says.
        sound: (L, M) log-mel energies, or None where there is no sound.
        rank: Among all clips, from 1; 0 where the place in the row says it.
    """

    image: np.ndarray | None
    score: float
    is_own: bool
    name: str = ''
    caption: str = ''
    sound: np.ndarray | None = None
    rank: int = 0


def contact_sheet_figure(
    queries: Sequence[str],
    hits: Sequence[Sequence[Hit]],
    ranks: Sequence[int],
    title: str = '',
    right: str = 'own',
) -> Figure:
    """One row per query: its text, the rank of its own clip and the top clips.

    A clip is a frame, its spectrogram and its caption. The own one has a thick blue
    frame and says so; the others a thin grey one.

    Args:
        queries: Captions.
        hits: For each query its top clips, best first; perhaps the own one behind
            them.
        ranks: For each query the rank of its own clip, from 1.
        title: Above the sheet.
        right: What the right clips are called.
    """
    columns = max(len(row) for row in hits)
    captions = [_caption(hit) for row in hits for hit in row]
    text = LINE * max(caption.count('\n') + 1 for caption in captions)
    height = HEAD + PICTURE + STRIP + text
    size = (QUERY + COLUMN * columns, 0.4 + height * len(queries))
    figure = new_figure(*size, title)
    figure.set_layout_engine('constrained', h_pad=0.02, hspace=0)
    grid = figure.add_gridspec(
        3 * len(queries),  # a query has a picture, a strip and an empty line
        columns + 1,
        width_ratios=[QUERY / COLUMN] + [1] * columns,
        height_ratios=[PICTURE, STRIP, GAP] * len(queries),
    )
    for i, (query, row, rank) in enumerate(zip(queries, hits, ranks, strict=True)):
        note = f'{right} clip at rank {rank}'
        beside = figure.add_subplot(grid[3 * i : 3 * i + 2, 0])
        _write_query(beside, query, note, rank == 1)
        for j, hit in enumerate(row):
            label = f'{hit.rank or j + 1}. {hit.score:.2f}'
            label += f' {right}' if hit.is_own else ''
            _show_hit(figure, grid, (3 * i, j + 1), hit, label)
    return figure


def _caption(hit: Hit) -> str:
    caption = cut_lines(tidy(hit.caption), CAPTION_WIDTH, CAPTION_LINES)
    name = textwrap.shorten(hit.name, CAPTION_WIDTH, placeholder='…')
    return '\n'.join(filter(None, (caption, name)))


def _write_query(axes: Axes, query: str, note: str, is_first: bool) -> None:
    axes.set_axis_off()
    lines = cut_lines(tidy(query), QUERY_WIDTH, QUERY_LINES)
    place = dict(ha='left', fontsize=9, linespacing=1.3, annotation_clip=False)
    corner = dict(xycoords='axes fraction', va='top', color=INK)
    text = axes.annotate(lines, (0, 1), **corner, **place)  # type: ignore[arg-type]
    below = dict(textcoords='offset points', va='top', fontweight='bold')
    below['color'] = RIGHT if is_first else INK
    axes.annotate(note, (0, 0), (0, -5), text, **below, **place)  # type: ignore[arg-type]


def _show_hit(
    figure: Figure, grid: GridSpec, place: tuple[int, int], hit: Hit, label: str
) -> None:
    row, column = place
    picture = figure.add_subplot(grid[row, column])
    strip = figure.add_subplot(grid[row + 1, column])
    if hit.image is None:
        picture.set_facecolor('#EFEFEF')
        write_in_middle(picture, 'no picture', FAINT, 8)
    else:
        picture.imshow(hit.image)
    if hit.sound is None:
        strip.set_facecolor('#EFEFEF')
        write_in_middle(strip, 'no sound', FAINT, 8)
    else:
        shade = brightness(hit.sound).T
        strip.imshow(shade, cmap='magma', vmin=0, vmax=1, origin='lower', aspect='auto')
    for axes in (picture, strip):
        _frame(axes, hit.is_own)
    style = dict(fontweight='bold', color=RIGHT) if hit.is_own else dict(color=INK)
    picture.set_title(label, fontsize=9, pad=4, **style)  # type: ignore[arg-type]
    strip.set_xlabel(_caption(hit), fontsize=7, color=INK, linespacing=1.2)


def _frame(axes: Axes, is_right: bool) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(RIGHT if is_right else WRONG)
        spine.set_linewidth(3 if is_right else 1)
