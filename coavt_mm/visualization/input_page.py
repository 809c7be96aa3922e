"""What one clip of a batch gives the model: frames, spectrogram, texts."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from coavt_mm.visualization.clip_page import say, show_frames, show_spectrogram
from coavt_mm.visualization.plots import INK, new_figure, tidy

_COLUMNS = 5  # frames side by side
_WIDTH = 110  # characters in a line


def input_page_figure(
    title: str,
    frames: np.ndarray | None,
    frame_times: Sequence[float],
    spectrogram: np.ndarray | None,
    hop: float,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw all frames, the spectrogram and lines of text.

    Args:
        title: The clip's name.
        frames: (F, H, W, 3) uint8 RGB; None where the clip has none.
        frame_times: F times in s; without them frames are numbered.
        spectrogram: (L, M) log-mel; None where the clip has no sound.
        hop: From one spectrogram frame to the next, in s.
        notes: Captions, masks, what it was mixed with.
    """
    rows = 1 if frames is None else -(-len(frames) // _COLUMNS)
    lines_of = (textwrap.wrap(tidy(note), _WIDTH) for note in notes)
    text = '\n'.join(line for lines in lines_of for line in lines)
    lines = text.count('\n') + 1
    figure = new_figure(9, 1.7 * rows + 2.4 + 0.18 * lines, title)
    grid = figure.add_gridspec(
        rows + 2, 1, height_ratios=[*[1.7] * rows, 1.8, 0.18 * lines]
    )
    for row in range(rows):
        axes = figure.add_subplot(grid[row])
        if frames is None:
            say(axes, 'no picture')
            continue
        part = slice(row * _COLUMNS, (row + 1) * _COLUMNS)
        show_frames(axes, frames[part], [*frame_times][part], gap=2)
    sound = figure.add_subplot(grid[rows])
    if spectrogram is None:
        say(sound, 'no sound')
    else:
        show_spectrogram(sound, spectrogram, hop)
    words = figure.add_subplot(grid[rows + 1])
    words.axis('off')
    words.text(0, 1, text, fontsize=8, color=INK, va='top', transform=words.transAxes)
    return figure
