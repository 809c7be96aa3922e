"""Readers of the official lists: csv and json in, listed clips out."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coavt_mm.datasets.labels import class_ids, class_names
from coavt_mm.datasets.manifest import check_seconds, nearest
from coavt_mm.datasets.reading import (
    columns,
    existing,
    is_plain,
    iter_csv,
    iter_table,
    located,
    read_json,
)
from coavt_mm.errors import ManifestError
from coavt_mm.preparation.sheets import iter_sheet

# VALOR names a clip '<id>_<start>_<end>', times in s.
SPAN = re.compile(r'(.+)_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)')

# A split gives its name to files.
SPLIT = re.compile(r'(?!\.{1,2}$)[\w.-]{1,100}')


@dataclass
class ListedClip:
    """A clip that a list asks for.

    Args:
        source: Name of the recording, such as the YouTube id.
        start, end: Span of the recording in s; None is the whole.
        labels: Class names.
        captions, audio_captions, visual_captions: As in a manifest.
        names_end: Whether the id has the end too, since another clip of the list begins
            at the same time.
        recording: What the source was cut from, where it is not whole itself.
    """

    source: str
    start: float | None = None
    end: float | None = None
    labels: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    audio_captions: list[str] = field(default_factory=list)
    visual_captions: list[str] = field(default_factory=list)
    names_end: bool = False
    recording: str = ''

    @property
    def clip_id(self) -> str:
        """``<source>_<start in s, 6 digits>``, or the source alone; with
        ``_<end>`` behind it where ``names_end`` is set."""
        times = (self.start, self.end if self.names_end else None)
        return '_'.join(
            [self.source, *(_six_digits(t) for t in times if t is not None)]
        )

    @property
    def span(self) -> tuple[str, int | None, int | None]:
        """What tells clips apart: source, start and end in ms."""
        begin, stop = (
            t if t is None else round(t * 1000) for t in (self.start, self.end)
        )
        return self.source, begin, stop


def _six_digits(seconds: float) -> str:
    whole, rest = divmod(round(seconds * 1000), 1000)
    return f'{whole:06d}' + (f'.{rest:03d}' if rest else '')


def _filled(text: str | None, what: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'the {what} is empty')
    if not is_plain(text):
        raise ValueError(f'the {what} holds NUL or half a character: {text!r}')
    return text.strip()


def _seconds(text: str, what: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        raise ValueError(f'{what} {text!r} is no number of seconds') from None
    return check_seconds(value, what)


def _known_label(label: str, names: list[str]) -> str:
    if label not in names:
        raise ValueError(
            f"label '{label}' is none of the {len(names)} classes"
            f'{nearest(label, names)}'
        )
    return label


def gather(clips: Iterable[ListedClip]) -> list[ListedClip]:
    """Joins the captions and labels of rows about the same span, in order.

    Raises:
        ManifestError: Two clips would have one id.
    """
    joined: dict[tuple, ListedClip] = {}
    for clip in clips:
        first = joined.setdefault(clip.span, clip)
        if first is not clip:
            for key in ('captions', 'audio_captions', 'visual_captions'):
                getattr(first, key).extend(getattr(clip, key))
            first.labels.extend(x for x in clip.labels if x not in first.labels)
    starts = Counter(clip.clip_id for clip in joined.values())
    of_id: dict[str, ListedClip] = {}
    for clip in joined.values():
        clip.names_end = starts[clip.clip_id] > 1
        other = of_id.setdefault(clip.clip_id, clip)
        if other is not clip:
            raise ManifestError(
                f"two clips would have the id '{clip.clip_id}': {other.span} and "
                f'{clip.span} (source, start and end in ms); rename one'
            )
    return list(joined.values())


def read_vggsound(path: str | Path) -> dict[str, list[ListedClip]]:
    """Read VGGSound's csv: ``youtube_id,start_seconds,"label",split``, no header.

    Args:
        path: vggsound.csv.

    Returns:
        'train' and 'test' -> clips of 10 s.
    """
    names = class_names('vggsound')
    splits: dict[str, list[ListedClip]] = dict(train=[], test=[])

    for place, row in iter_csv(path):
        with located(place):
            source, start, label, split = columns(row, 4)
            if split not in splits:
                raise ValueError(f"split '{split}' is neither train nor test")
            begin = _seconds(start, 'start')
            label = _known_label(label, names)
            clip = ListedClip(_filled(source, 'id'), begin, begin + 10, [label])
            splits[split].append(clip)
    return {split: gather(clips) for split, clips in splits.items()}


def read_audioset(path: str | Path) -> list[ListedClip]:
    """Read a segments csv of AudioSet: ``YTID, start_seconds, end_seconds,
    "mid,mid"``, three comment lines in front.

    Args:
        path: Such as eval_segments.csv.
    """
    names = class_ids('audioset')
    clips = []
    for place, row in iter_csv(path, comments=True, skipinitialspace=True):
        with located(place):
            source, start, end, listed = columns(row, 4)
            mids = listed.split(',')
            unknown = [mid for mid in mids if mid not in names]
            if unknown:
                raise ValueError(
                    f"label '{unknown[0]}' is none of the {len(names)} classes"
                )
            begin, stop = _seconds(start, 'start'), _seconds(end, 'end')
            if stop <= begin:
                raise ValueError(f'end {end} s does not lie behind start {start} s')
            labels = [names[mid] for mid in mids]
            clips.append(ListedClip(_filled(source, 'id'), begin, stop, labels))
    return gather(clips)


def read_audiocaps(path: str | Path, field_name: str = 'captions') -> list[ListedClip]:
    """Read a csv of AudioCaps: header and rows
    ``audiocap_id,youtube_id,start_time,caption``; several rows may be of one clip.

    Args:
        path: train.csv, val.csv or test.csv, of release 1 or 2.
        field_name: Where the captions go: 'captions' (they are matched with sound and
            picture) or 'audio_captions' (with the sound alone).
    """
    names = ['audiocap_id', 'youtube_id', 'start_time', 'caption']

    def check(found: list[str]) -> None:
        if found != names:
            raise ValueError(f'the header must be {",".join(names)}, not {found}')

    clips = []
    for place, cells in iter_table(path, check):
        with located(place):
            begin = _seconds(cells['start_time'], 'start_time')
            source = _filled(cells['youtube_id'], 'youtube_id')
            caption = _filled(cells['caption'], 'caption')
            clips.append(ListedClip(source, begin, begin + 10))
            getattr(clips[-1], field_name).append(caption)
    return gather(clips)


def _valor_clip(entry: dict) -> ListedClip:
    if not isinstance(entry, dict):
        raise ValueError(f'an object is expected, not {entry!r}')
    name = _filled(entry.get('video_id'), "'video_id'")
    texts = entry.get('desc', entry.get('caption'))
    texts = texts if isinstance(texts, list) else [texts]
    captions = [_filled(text, "'desc'") for text in texts]
    span = SPAN.fullmatch(name)
    if not span:
        return ListedClip(name, captions=captions)
    start, end = _seconds(span[2], 'start'), _seconds(span[3], 'end')
    if end <= start:  # 'clip_9_3': a name like any other
        return ListedClip(name, captions=captions)
    return ListedClip(span[1], start, end, captions=captions)


def read_valor(path: str | Path) -> list[ListedClip]:
    """Read a json of VALOR-32K or VALOR-1M: a list of ``{"video_id":
    "<id>_<start>_<end>", "desc": "..."}``; ``desc`` may be a list.

    Raises:
        ManifestError: An entry can't be read; the message names its number.
    """
    entries = read_json(existing(path))
    if not isinstance(entries, list):
        raise ManifestError(f'{path}: a list of entries is expected')
    clips = []
    for number, entry in enumerate(entries, start=1):
        with located(f'{path}: entry {number}'):
            clips.append(_valor_clip(entry))
    return gather(clips)


# Columns of a user's own list, and what else people call them.
FOLDER_COLUMNS = {
    'clip': ('file', 'filename', 'file_name', 'path'),
    'start': ('start_s', 'start_time', 'start_seconds'),
    'end': ('end_s', 'end_time', 'end_seconds'),
    'caption': ('captions', 'text', 'description'),
    'audio_caption': ('audio_captions',),
    'visual_caption': ('visual_captions',),
    'label': ('labels', 'class'),
    'recording': (),
    'split': (),
}


def _own_clip(values: dict[str, str]) -> ListedClip:
    start, end = values.get('start', '').strip(), values.get('end', '').strip()
    begin = _seconds(start, 'start') if start else None
    stop = _seconds(end, 'end') if end else None
    if stop is not None and stop <= (begin or 0):
        raise ValueError(f'end {end} s does not lie behind start {start or 0} s')
    if stop is not None and begin is None:
        begin = 0.0
    texts: dict[str, Any] = {
        f'{key}s': [_filled(values[key], key)]
        for key in ('caption', 'audio_caption', 'visual_caption', 'label')
        if values.get(key, '').strip()
    }
    clip = ListedClip(_filled(values['clip'], 'clip'), begin, stop, **texts)
    clip.recording = values.get('recording', '').strip()
    return clip


def read_folder_csv(path: str | Path) -> dict[str, list[ListedClip]]:
    """Read a user's own spreadsheet: a header, and a row for each text of a clip.

    Args:
        path: A csv or xlsx, see :func:`iter_sheet`, with a column ``clip`` and any
            others of ``FOLDER_COLUMNS``.

    Returns:
        Name of a split ('all' where none is given) -> its clips.
    """
    splits: dict[str, list[ListedClip]] = {}
    example = ('clip,caption', 'dog.mp4,a dog barks')
    sheet = iter_sheet(path, FOLDER_COLUMNS, example, seconds=('start', 'end'))
    for place, cells in sheet:
        with located(place):
            split = cells.get('split', '').strip() or 'all'
            if not SPLIT.fullmatch(split):
                raise ValueError(
                    f'split {split!r} must consist of letters, digits, _, - and .: it '
                    'becomes the name of a file'
                )
            splits.setdefault(split, []).append(_own_clip(cells))
    if not splits:
        raise ManifestError(f'{path}: no rows')
    return {split: gather(clips) for split, clips in splits.items()}
