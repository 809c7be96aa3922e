"""Readers of the official lists: csv and json in, listed clips out."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from coavt_mm.datasets.labels import class_ids, class_names
from coavt_mm.datasets.manifest import nearest
from coavt_mm.errors import DatasetMissingError, ManifestError

# VALOR names a clip '<id>_<start>_<end>', times in s.
SPAN = re.compile(r'(.+)_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)')


@dataclass
class ListedClip:
    """A clip that a list asks for.

    Args:
        source (str): Name of the recording, such as the YouTube id.
        start, end (float, optional): Span of the recording in s; None is the whole.
        labels (list[str]): Class names.
        captions, audio_captions, visual_captions (list[str]): As in a manifest.
    """

    source: str
    start: float | None = None
    end: float | None = None
    labels: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    audio_captions: list[str] = field(default_factory=list)
    visual_captions: list[str] = field(default_factory=list)

    @property
    def clip_id(self) -> str:
        """``<source>_<start in s, 6 digits>``, or the source alone."""
        if self.start is None:
            return self.source
        whole, rest = divmod(round(self.start * 1000), 1000)
        return f'{self.source}_{whole:06d}' + (f'.{rest:03d}' if rest else '')


def _filled(text: str | None, what: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'the {what} is empty')
    return text.strip()


def _seconds(text: str, what: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        raise ValueError(f'{what} {text!r} is no number of seconds') from None
    if not 0 <= value < float('inf'):
        raise ValueError(f'{what} {text!r} is not a time of 0 s or later')
    return value


def _known_label(label: str, names: list[str]) -> str:
    if label not in names:
        raise ValueError(
            f"label '{label}' is none of the {len(names)} classes"
            f'{nearest(label, names)}'
        )
    return label


def iter_csv(
    path: str | Path, parse: Callable[[list[str]], ListedClip | None], **dialect
) -> Iterator[ListedClip]:
    """Parses the rows of a csv file; empty rows and those that begin with # are
    skipped, as are those for which `parse` gives None.

    Raises:
        ManifestError: A row can't be parsed; the message names file and line.
        DatasetMissingError: The file isn't there.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DatasetMissingError(f'list {path.name} is missing; looked for {path}')
    with open(path, encoding='utf-8-sig', newline='') as file:
        reader = csv.reader(file, strict=True, **dialect)
        while True:
            first = reader.line_num + 1
            try:
                row = next(reader, None)
                if row is None:
                    return
                if not row or row[0].startswith('#'):
                    continue
                clip = parse(row)
            except (ValueError, csv.Error) as error:
                raise ManifestError(f'{path}:{first}: {error}') from error
            if clip is not None:
                yield clip


def _columns(row: list[str], count: int) -> list[str]:
    if len(row) != count:
        raise ValueError(f'{count} columns expected, {len(row)} found')
    return row


def gather(clips: Iterable[ListedClip]) -> list[ListedClip]:
    """Joins the captions and labels of rows about the same clip, in order."""
    joined: dict[str, ListedClip] = {}
    for clip in clips:
        first = joined.setdefault(clip.clip_id, clip)
        if first is not clip:
            for key in ('captions', 'audio_captions', 'visual_captions'):
                getattr(first, key).extend(getattr(clip, key))
            first.labels.extend(x for x in clip.labels if x not in first.labels)
    return list(joined.values())


def read_vggsound(path: str | Path) -> dict[str, list[ListedClip]]:
    """Reads VGGSound's csv: ``youtube_id,start_seconds,"label",split``, no header.

    Args:
        path (str | Path): vggsound.csv.

    Returns:
        dict: 'train' and 'test' -> clips of 10 s.
    """
    names = class_names('vggsound')
    splits: dict[str, list[ListedClip]] = dict(train=[], test=[])

    def parse(row: list[str]) -> ListedClip:
        source, start, label, split = _columns(row, 4)
        if split not in splits:
            raise ValueError(f"split '{split}' is neither train nor test")
        begin = _seconds(start, 'start')
        label = _known_label(label, names)
        clip = ListedClip(_filled(source, 'id'), begin, begin + 10, [label])
        splits[split].append(clip)
        return clip

    for _ in iter_csv(path, parse):
        pass
    return {split: gather(clips) for split, clips in splits.items()}


def read_audioset(path: str | Path) -> list[ListedClip]:
    """Reads a segments csv of AudioSet: ``YTID, start_seconds, end_seconds,
    "mid,mid"``, three comment lines in front.

    Args:
        path (str | Path): Such as eval_segments.csv.
    """
    names = class_ids('audioset')

    def parse(row: list[str]) -> ListedClip:
        source, start, end, mids = _columns(row, 4)
        labels = []
        for mid in mids.split(','):
            if mid not in names:
                raise ValueError(f"label '{mid}' is none of the {len(names)} classes")
            labels.append(names[mid])
        begin, stop = _seconds(start, 'start'), _seconds(end, 'end')
        if stop <= begin:
            raise ValueError(f'end {end} s does not lie behind start {start} s')
        return ListedClip(_filled(source, 'id'), begin, stop, labels)

    return gather(iter_csv(path, parse, skipinitialspace=True))


def read_audiocaps(path: str | Path, field_name: str = 'captions') -> list[ListedClip]:
    """Reads a csv of AudioCaps: header and rows
    ``audiocap_id,youtube_id,start_time,caption``; several rows may be of one clip.

    Args:
        path (str | Path): train.csv, val.csv or test.csv, of release 1 or 2.
        field_name (str): Where the captions go: 'captions' (they are matched with
            sound and picture) or 'audio_captions' (with the sound alone).
    """
    header = ['audiocap_id', 'youtube_id', 'start_time', 'caption']
    seen_header = False

    def parse(row: list[str]) -> ListedClip | None:
        nonlocal seen_header
        if not seen_header:
            if row != header:
                raise ValueError(f'the header must be {",".join(header)}, not {row}')
            seen_header = True
            return None
        _, source, start, caption = _columns(row, 4)
        begin = _seconds(start, 'start_time')
        clip = ListedClip(_filled(source, 'youtube_id'), begin, begin + 10)
        getattr(clip, field_name).append(_filled(caption, 'caption'))
        return clip

    return gather(iter_csv(path, parse))


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
    return ListedClip(span[1], float(span[2]), float(span[3]), captions=captions)


def read_valor(path: str | Path) -> list[ListedClip]:
    """Reads a json of VALOR-32K or VALOR-1M: a list of ``{"video_id":
    "<id>_<start>_<end>", "desc": "..."}``; `desc` may be a list.

    Raises:
        ManifestError: An entry can't be read; the message names its number.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DatasetMissingError(f'list {path.name} is missing; looked for {path}')
    try:
        entries = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(entries, list):
            raise ValueError('a list of entries is expected')
    except ValueError as error:
        raise ManifestError(f'{path}: {error}') from error
    clips = []
    for number, entry in enumerate(entries, start=1):
        try:
            clips.append(_valor_clip(entry))
        except ValueError as error:
            raise ManifestError(f'{path}: entry {number}: {error}') from error
    return gather(clips)


FOLDER_COLUMNS = (
    'clip', 'start', 'end', 'caption', 'audio_caption', 'visual_caption', 'label',
    'split',
)  # fmt: skip


def _check_header(header: list[str]) -> None:
    for name in header:
        if name not in FOLDER_COLUMNS:
            raise ValueError(f"unknown column '{name}'{nearest(name, FOLDER_COLUMNS)}")
    if 'clip' not in header:
        raise ValueError("there is no column 'clip'")


def _own_clip(values: dict[str, str]) -> ListedClip:
    start, end = values.get('start'), values.get('end')
    begin = _seconds(start, 'start') if start else None
    stop = _seconds(end, 'end') if end else None
    if stop is not None and stop <= (begin or 0):
        raise ValueError(f'end {end} s does not lie behind start {start or 0} s')
    if stop is not None and begin is None:
        begin = 0.0
    texts = {
        f'{key}s': [values[key].strip()]
        for key in ('caption', 'audio_caption', 'visual_caption', 'label')
        if values.get(key, '').strip()
    }
    return ListedClip(_filled(values['clip'], 'clip'), begin, stop, **texts)


def read_folder_csv(path: str | Path) -> dict[str, list[ListedClip]]:
    """Reads a user's own csv: a header, and a row for each text of a clip.

    Args:
        path (str | Path): With a column `clip` and any others of `FOLDER_COLUMNS`.

    Returns:
        dict: Name of a split ('all' where none is given) -> its clips.
    """
    header: list[str] = []
    splits: dict[str, list[ListedClip]] = {}

    def parse(row: list[str]) -> ListedClip | None:
        if not header:
            _check_header(row)
            header.extend(row)
            return None
        values = dict(zip(header, _columns(row, len(header)), strict=True))
        clip = _own_clip(values)
        splits.setdefault(values.get('split') or 'all', []).append(clip)
        return clip

    for _ in iter_csv(path, parse):
        pass
    if not splits:
        raise ManifestError(f'{path}: no rows')
    return {split: gather(clips) for split, clips in splits.items()}
