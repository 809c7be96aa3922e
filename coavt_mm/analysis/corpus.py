"""A corpus at a glance: clips as a person would look at them, and histograms.

Letters: H, W pixels, L spectrogram frames, M mel bins.
"""

import os
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from coavt_mm.analysis.audio_statistics import clip_logmel, load_clips
from coavt_mm.datasets.dataset import AVTDataset
from coavt_mm.datasets.manifest import iter_manifest
from coavt_mm.datasets.media import probe
from coavt_mm.errors import ClipError
from coavt_mm.models.logmel import LogMel
from coavt_mm.streams import CAPTION_FIELDS, STREAMS
from coavt_mm.visualization.clip_page import say, show_frames, show_spectrogram
from coavt_mm.visualization.plots import (
    INK,
    LINE_COLORS,
    dress,
    new_figure,
    save_figure,
)

TEXT_FIELDS = dict(
    captions='• ', audio_captions='• sound: ', visual_captions='• picture: '
)
MAX_LINES = 9  # of text beside a clip
MAX_LABELS = 25  # bars in the histogram of labels


def describe(sample: dict) -> str:
    """Captions and labels of a sample, one a paragraph."""
    lines = [
        prefix + text
        for key, prefix in TEXT_FIELDS.items()
        for text in sample.get(key, ())
    ]
    if sample['labels']:
        lines.append(f'[{"; ".join(sample["labels"])}]')
    return '\n'.join(lines) or '(no text)'


def _wrapped(text: str, width: int = 38) -> str:
    lines = [x for part in text.splitlines() for x in textwrap.wrap(part, width)]
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f'… {len(lines) - MAX_LINES + 1} more lines']
    return '\n'.join(lines)


def _show_frames(axes: Axes, sample: dict) -> None:
    if not sample['has_visual']:
        say(axes, 'unreadable' if 'error' in sample else 'no picture')
        return
    gap = max(1, sample['imgs'][0].shape[1] // 40)
    show_frames(axes, sample['imgs'], sample['frame_times'], gap)


def _show_sound(axes: Axes, sample: dict, logmel: LogMel) -> None:
    if not sample['has_audio']:
        say(axes, 'unreadable' if 'error' in sample else 'no sound')
        return
    energies = clip_logmel(sample, logmel).numpy()  # (L, M)
    if energies.max(initial=-np.inf) <= np.log(np.finfo(np.float32).eps) + 1e-3:
        say(axes, 'silent')
        return
    show_spectrogram(axes, energies, logmel.hop / logmel.sample_rate)


def clips_figure(samples: Sequence[dict], title: str = '', **logmel) -> Figure:
    """A row for each clip: its frames, its spectrogram, and what is said of it.

    Args:
        samples: Rows after LoadFrames (pick='all') and LoadAudio.
        title: Above the sheet.
        **logmel: Arguments of ``LogMel``, such as frame_shift.
    """
    transform = LogMel(**logmel)
    figure = new_figure(15, 0.5 + 1.75 * len(samples), title)
    grid = figure.add_gridspec(len(samples), 3, width_ratios=[5.4, 3.2, 3.0])
    for i, sample in enumerate(samples):
        picture, sound, text = (figure.add_subplot(grid[i, j]) for j in range(3))
        _show_frames(picture, sample)
        _show_sound(sound, sample, transform)
        picture.set_title(sample['sample_id'], fontsize=9, color=INK, loc='left')
        text.set_axis_off()
        text.text(0, 1, _wrapped(describe(sample)), va='top', fontsize=9, color=INK)
    return figure


def histograms_figure(
    lengths: Sequence[float], labels: Counter, title: str = ''
) -> Figure:
    """Lengths of clips, and how many clips each label has, most and fewest.

    Args:
        lengths: In s.
        labels: Label -> clips.
        title: Above the panels.
    """
    figure = new_figure(13, 6.5 if labels else 3.6, title)
    left, right = figure.subplots(1, 2) if labels else (figure.subplots(), None)
    left.hist(lengths, bins=min(40, max(5, len(set(lengths)))), color=LINE_COLORS[0])
    left.set_xlabel('length of a clip in s', color=INK)
    left.set_ylabel('clips', color=INK)
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    middle = f'{len(lengths)} clips'
    if lengths:
        middle += f', median {np.median(lengths):.1f} s'
    left.set_title(middle, fontsize=10, color=INK)
    if right is not None:
        _bars(right, labels)
    for axes in figure.axes:
        dress(axes)
        axes.tick_params(labelsize=8)
    return figure


def _bars(axes: Axes, labels: Counter) -> None:
    ranked = labels.most_common()
    note = f'{len(ranked)} labels'
    if len(ranked) > MAX_LABELS:
        half = MAX_LABELS // 2
        skipped = len(ranked) - 2 * half
        ranked = [*ranked[:half], (f'({skipped} labels between)', 0), *ranked[-half:]]
        note += f', the {half} with the most and the fewest clips'
    names = [textwrap.shorten(name, 34, placeholder=' …') for name, _ in ranked]
    places = range(len(ranked))
    counts = [count for _, count in ranked]
    axes.barh(places, counts, height=min(0.8, 0.1 * len(ranked)), color=LINE_COLORS[0])
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    for place, count in zip(places, counts, strict=True):
        if count:
            axes.text(count, place, f' {count}', va='center', fontsize=8, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel('clips', color=INK)
    axes.set_title(note, fontsize=10, color=INK)


def _length(row: dict) -> float | None:
    if row['end'] is not None:
        return row['end'] - row['start']
    try:
        info = probe(row['clip_path'] or row['audio_path'])
    except ClipError:
        return None
    ends = [x for x in (info.video_end, info.audio_end) if x and np.isfinite(x)]
    return max(ends) - row['start'] if ends else None


def manifest_texts(
    path: str | Path, templates: Sequence[str] = ('{}',)
) -> dict[str, list[list[str]]]:
    """The captions of each clip of a manifest, as a test of all streams asks with them.

    Args:
        path: The manifest.
        templates: Sentences for the labels of rows without captions.

    Returns:
        Stream -> the captions of each clip that count for it; streams without any are
        left out.

    Raises:
        ManifestError: If a row breaks a rule.
    """
    texts: dict[str, list[list[str]]] = {stream: [] for stream in STREAMS}
    for row in iter_manifest(Path(path)):
        said = {stream: row[field] for field, stream in CAPTION_FIELDS.items()}
        if not any(said.values()):
            said['AV'] = [t.format(label) for label in row['labels'] for t in templates]
        for stream, groups in texts.items():
            about = ('AV',) if stream == 'AV' else ('AV', stream)
            groups.append([text for name in about for text in said[name]])
    return {stream: groups for stream, groups in texts.items() if any(groups)}


def inspect_manifest(
    manifest: str,
    data_root: str,
    out_dir: str | Path,
    clips: int = 8,
    probes: int = 1000,
    seed: int = 0,
    seconds: float = 10.0,
    **logmel,
) -> list[Path]:
    """Draws ``clips.png`` and ``histograms.png``.

    Args:
        manifest: Its path.
        data_root: Folder that its paths start from.
        out_dir: Where to.
        clips: Clips to show, drawn at random.
        probes: Files whose length is looked up, at most.
        seed: Of the draws.
        seconds: Longest sound to show in s.
        **logmel: Arguments of ``LogMel``, such as frame_shift.

    Returns:
        The pictures.
    """
    pipeline = [
        dict(type='LoadFrames', num_frames=4, pick='all'),
        dict(
            type='LoadAudio',
            seconds=seconds,
            sample_rate=LogMel(**logmel).sample_rate,
        ),
    ]
    samples = list(load_clips(manifest, data_root, pipeline, clips, seed))
    dataset = AVTDataset(os.path.abspath(manifest), data_root)
    rows = [dataset.get_data_info(i) for i in range(len(dataset))]
    labels = Counter(label for row in rows for label in row['labels'])
    order = np.random.default_rng(seed).permutation(len(rows))[:probes]
    lengths = [_length(rows[i]) for i in order]
    known = [x for x in lengths if x is not None]
    title = f'{manifest}: {len(samples)} of {len(rows)} clips'
    figure = clips_figure(samples, title, **logmel)
    sheet = save_figure(figure, Path(out_dir) / 'clips.png')
    figure = histograms_figure(known, labels, f'{manifest}: {len(rows)} clips')
    return [sheet, save_figure(figure, Path(out_dir) / 'histograms.png')]
