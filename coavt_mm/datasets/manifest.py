"""Reading of manifests: JSON lines, one clip a row.

::

    {"id": "abc_10",                optional; default: stem of the clip (+ start)
     "clip": "clips/abc.mp4",       relative to data_root; null if there's only sound
     "audio": "wav/abc.flac",       optional, where the sound lies in another file
     "start": 10.0, "end": 20.0,    s, optional; default: the whole file
     "captions": ["..."],           about sound and picture together
     "audio_captions": ["..."],     about the sound alone
     "visual_captions": ["..."],    about the picture alone
     "labels": ["dog barking"]}     class names

A sidecar ``<stem>.meta.json`` may lie beside it, with any of the keys `protocol` (str),
`missing` (int, clips that were not to be had), `classes` (list of str), `ceilings`, and
what tools note for the reader: `hash`, `clips`, `captions` and `source`.
"""

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from coavt_mm.errors import DatasetMissingError, ManifestError

TEXT_KEYS = ('captions', 'audio_captions', 'visual_captions', 'labels')
ROW_KEYS = ('id', 'clip', 'audio', 'start', 'end', *TEXT_KEYS)
SIDECAR_KEYS = (
    'protocol', 'missing', 'classes', 'ceilings', 'hash', 'clips', 'captions', 'source',
)  # fmt: skip


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint `; did you mean ...` for a mistyped name, or nothing."""
    found = difflib.get_close_matches(str(name), list(names), n=1)
    return f"; did you mean '{found[0]}'?" if found else ''


def _number(row: dict, key: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"'{key}' must be a number of seconds, not {value!r}")
    if not 0 <= value < float('inf'):
        raise ValueError(f"'{key}' must be 0 s or later, not {value!r}")
    return float(value)


def _text(row: dict, key: str) -> str | None:
    value = row.get(key)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ValueError(f"'{key}' must be a string, not {value!r}")
    return value


def _texts(row: dict, key: str) -> list[str]:
    value = row.get(key)
    value = [] if value is None else value
    if not isinstance(value, list) or any(
        not isinstance(text, str) or not text.strip() for text in value
    ):
        raise ValueError(f"'{key}' must be a list of non-empty strings, not {value!r}")
    return value


def _default_id(row: dict) -> str:
    stem = Path(row.get('clip') or row['audio']).stem
    return f'{stem}_{row["start"]:g}' if row.get('start') else stem


def parse_row(row: dict, data_root: str | Path = '') -> dict:
    """Checks one row and gives it the keys that the transforms read.

    Args:
        row (dict): The decoded JSON object.
        data_root (str | Path): Folder that relative paths start from.

    Returns:
        dict: With `sample_id`, `clip_path`, `audio_path`, `start` (s), `end` (s or
        None), `captions`, `audio_captions`, `visual_captions` and `labels`.

    Raises:
        ValueError: The row breaks a rule; the message says which.
    """
    if not isinstance(row, dict):
        raise ValueError(f'a row must be a JSON object, not {type(row).__name__}')
    for key in row:
        if key not in ROW_KEYS:
            raise ValueError(f"unknown key '{key}'{nearest(key, ROW_KEYS)}")
    clip, audio = _text(row, 'clip'), _text(row, 'audio')
    if clip is None and audio is None:
        raise ValueError("neither 'clip' nor 'audio' is given")
    start, end = _number(row, 'start') or 0.0, _number(row, 'end')
    if end is not None and end <= start:
        raise ValueError(f"'end' ({end:g} s) must lie behind 'start' ({start:g} s)")
    clip = clip and os.path.join(data_root, clip)
    audio = audio and os.path.join(data_root, audio)
    return dict(
        sample_id=_text(row, 'id') or _default_id(row),
        clip_path=clip,
        audio_path=audio or clip,
        start=start,
        end=end,
        **{key: _texts(row, key) for key in TEXT_KEYS},
    )


def iter_manifest(path: Path, data_root: str | Path = '') -> Iterator[dict]:
    """Yields the checked rows of a manifest, see `parse_row`; empty lines are skipped.

    Raises:
        ManifestError: A row is wrong; the message names file, line and reason.
    """
    lines_of: dict[str, int] = {}
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = parse_row(json.loads(line), data_root)
                first = lines_of.setdefault(row['sample_id'], number)
                if first != number:
                    raise ValueError(
                        f"id '{row['sample_id']}' is also that of line {first}"
                    )
            except ValueError as error:  # json's error is a ValueError too
                raise ManifestError(f'{path}:{number}: {error}') from error
            yield row


def find_manifest(path: str | Path, how_to_get: str = '') -> Path:
    """Returns the path of a manifest that exists.

    Raises:
        DatasetMissingError: One line: what is missing, where it was looked for, and
            how to get it.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path
    message = f'manifest {path.name} is missing; looked for {path.absolute()}'
    raise DatasetMissingError(f'{message}; {how_to_get}' if how_to_get else message)


def content_hash(path: Path) -> str:
    """First 12 hex digits of a file's sha256."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()[:12]


def read_sidecar(manifest: Path) -> dict:
    """Reads ``<stem>.meta.json`` beside a manifest; {} when there is none.

    Raises:
        ManifestError: It isn't JSON, or has an unknown key.
    """
    path = manifest.with_name(f'{manifest.stem}.meta.json')
    if not path.is_file():
        return {}
    try:
        sidecar = json.loads(path.read_text(encoding='utf-8'))
        for key in sidecar:
            if key not in SIDECAR_KEYS:
                raise ValueError(f"unknown key '{key}'{nearest(key, SIDECAR_KEYS)}")
    except ValueError as error:
        raise ManifestError(f'{path}: {error}') from error
    return sidecar


def write_manifest(path: Path, rows: Iterable[dict], sidecar: dict) -> str:
    """Writes a manifest and its sidecar, to which hash and counts are added.

    Args:
        path (Path): Where to; its folder must be there.
        rows (Iterable[dict]): Rows as in the file, paths relative to `data_root`.
        sidecar (dict): `protocol`, `missing`, ...

    Returns:
        str: The hash of the content.
    """
    clips = captions = 0
    partial = path.with_name(f'{path.name}.part')
    with open(partial, 'w', encoding='utf-8') as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + '\n')
            clips += 1
            captions += sum(len(row.get(key) or ()) for key in TEXT_KEYS[:3])
    partial.replace(path)
    digest = content_hash(path)
    sidecar = dict(sidecar, hash=digest, clips=clips, captions=captions)
    text = json.dumps(sidecar, indent=1, ensure_ascii=False) + '\n'
    path.with_name(f'{path.stem}.meta.json').write_text(text, encoding='utf-8')
    return digest


def read_list(path: str | Path) -> list[str]:
    """Reads a text file with one entry (an id, a class) per line; lines that begin
    with # are comments.

    Raises:
        DatasetMissingError: The file isn't there.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DatasetMissingError(f'list {path} is missing (looked in {Path.cwd()})')
    lines = (line.strip() for line in path.read_text(encoding='utf-8').splitlines())
    return [line for line in lines if line and not line.startswith('#')]


def split_missing(rows: Sequence[dict]) -> tuple[list[dict], list[dict]]:
    """Splits rows by whether all their files are on disk."""
    here, gone = [], []
    for row in rows:
        paths = {row['clip_path'], row['audio_path']} - {None}
        (here if all(map(os.path.exists, paths)) else gone).append(row)
    return here, gone
