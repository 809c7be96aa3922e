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

A sidecar ``<stem>.meta.json`` may lie beside it, with any of the keys ``protocol``
(str), ``missing`` (int, clips that were not to be had), ``classes`` (list of str),
``ceilings``, and what tools note for the reader: ``hash``, ``clips``, ``captions`` and
``source``."""

import difflib
import errno
import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mmengine.logging import print_log

from coavt_mm.datasets.reading import (
    is_plain,
    iter_lines,
    located,
    parse_json,
    read_json,
    read_list,
)
from coavt_mm.errors import DatasetMissingError, shown

TEXT_KEYS = ('captions', 'audio_captions', 'visual_captions', 'labels')
ROW_KEYS = ('id', 'clip', 'audio', 'start', 'end', *TEXT_KEYS)
_KNOWN = frozenset(ROW_KEYS)
SIDECAR_KEYS = dict(
    protocol=str, missing=int, classes=list, ceilings=dict, hash=str, clips=int,
    captions=int, source=str,
)  # fmt: skip
KINDS = {str: 'a string', int: 'a number from 0', list: 'a list of non-empty strings',
         dict: 'an object'}  # fmt: skip

# No file is longer (some 30 years): decoders count in units of 1 ns in 64 bits.
MAX_SECONDS = 1e9


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint ``; did you mean ...`` for a mistyped name, or nothing."""
    found = difflib.get_close_matches(str(name), list(names), n=1)
    return f"; did you mean '{found[0]}'?" if found else ''


def _number(row: dict, key: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"'{key}' must be a number of seconds, not {value!r}")
    return check_seconds(value, f"'{key}'")


def check_seconds(value: float, what: str) -> float:
    """A time that a decoder can look for.

    Raises:
        ValueError: It is below 0, or not below ``MAX_SECONDS``.
    """
    if not 0 <= value < MAX_SECONDS:
        raise ValueError(
            f'{what} must be 0 s or later and below {MAX_SECONDS:g} s, not '
            f'{str(value)[:20]}'
        )
    return float(value)


def _plain(text: str, key: str) -> str:
    if not is_plain(text):
        raise ValueError(f"'{key}' holds NUL or half a character: {text!r}")
    return text


def _text(row: dict, key: str) -> str | None:
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"'{key}' must be a string, not {value!r}")
    return _plain(value, key)


def _texts(row: dict, key: str) -> list[str]:
    value = row.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or any(
        not isinstance(text, str) or not text.strip() for text in value
    ):
        raise ValueError(f"'{key}' must be a list of non-empty strings, not {value!r}")
    return [_plain(text, key) for text in value]


def _default_id(row: dict) -> str:
    stem = Path(row.get('clip') or row['audio']).stem
    return f'{stem}_{row["start"]:g}' if row.get('start') else stem


def _span_id(row: dict) -> str:
    """The default id of a span whose start another span of the file has as well."""
    stem = Path(row['clip_path'] or row['audio_path']).stem
    return f'{stem}_{row["start"]:.10g}_{row["end"]:.10g}'


def parse_row(row: dict, data_root: str | Path = '') -> dict:
    """Check one row and give it the keys that the transforms read.

    Args:
        row: The decoded JSON object.
        data_root: Folder that relative paths start from.

    Returns:
        With ``sample_id``, ``clip_path``, ``audio_path``, ``start`` (s), ``end`` (s or
        None), ``captions``, ``audio_captions``, ``visual_captions`` and ``labels``.

    Raises:
        ValueError: The row breaks a rule; the message says which.
    """
    if not isinstance(row, dict):
        raise ValueError(f'a row must be a JSON object, not {type(row).__name__}')
    for key in row.keys() - _KNOWN:
        raise ValueError(f"unknown key '{key}'{nearest(key, ROW_KEYS)}")
    clip, audio = _text(row, 'clip'), _text(row, 'audio')
    if clip is None and audio is None:
        raise ValueError("neither 'clip' nor 'audio' is given")
    start, end = _number(row, 'start') or 0.0, _number(row, 'end')
    if end is not None and end <= start:
        raise ValueError(f"'end' ({end:g} s) must lie behind 'start' ({start:g} s)")
    if data_root:
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
    """Yield the checked rows of a manifest, see ``parse_row``; empty lines are skipped.

    Raises:
        ManifestError: A row is wrong; the message names file, line and reason.
    """
    for _, row in iter_rows(path, data_root):
        yield row


def iter_rows(path: Path, data_root: str | Path = '') -> Iterator[tuple[dict, dict]]:
    """Yield each row as it stands in the file, and checked as by ``iter_manifest``.

    A row without id whose default id is taken gets one that names its end too, as
    'abc_30_45'.
    """
    lines_of: dict[str, int] = {}
    for number, line in iter_lines(path):
        if not line.strip():
            continue
        with located(f'{path}:{number}'):
            written = parse_json(line)
            row = parse_row(written, data_root)
            taken = row['sample_id'] in lines_of and not written.get('id')
            if taken and row['end'] is not None:
                row['sample_id'] = _span_id(row)
                written = dict(written, id=row['sample_id'])
            first = lines_of.setdefault(row['sample_id'], number)
            if first != number:
                raise ValueError(
                    f"id '{row['sample_id']}' is also that of line {first}"
                )
        yield written, row


def find_manifest(path: str | Path, how_to_get: str = '') -> Path:
    """Return the path of a manifest that exists.

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
    """First 12 hex digits of a file's sha256.

    Raises:
        OSError: There is no such file, or it is a pipe, which would be waited for.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, 'not a regular file', str(path))
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()[:12]


def read_sidecar(manifest: Path) -> dict:
    """Read ``<stem>.meta.json`` beside a manifest; {} when there is none.

    Raises:
        ManifestError: It isn't JSON, or has an unknown key.
    """
    path = manifest.with_name(f'{manifest.stem}.meta.json')
    if not path.is_file():
        return {}
    sidecar = read_json(path)
    with located(str(path)):
        check_sidecar(sidecar)
    return sidecar


def check_sidecar(sidecar: dict) -> None:
    """Refuse what no sidecar may hold.

    Raises:
        ValueError: It is no object, a key is unknown or a value of another kind.
    """
    if not isinstance(sidecar, dict):
        raise ValueError(f'a JSON object is expected, not {sidecar!r:.40}')
    for key, value in sidecar.items():
        if key not in SIDECAR_KEYS:
            raise ValueError(f"unknown key '{key}'{nearest(key, list(SIDECAR_KEYS))}")
        kind = SIDECAR_KEYS[key]
        right = isinstance(value, kind) and not isinstance(value, bool)
        if kind is list:
            right = right and all(isinstance(x, str) and x.strip() for x in value)
        if kind is int:
            right = right and value >= 0
        if value is not None and not right:
            raise ValueError(f"'{key}' must be {KINDS[kind]}, not {value!r:.40}")


def write_manifest(path: Path, rows: Iterable[dict], sidecar: dict) -> str:
    """Write a manifest and its sidecar, to which hash and counts are added.

    Args:
        path: Where to; its folder must be there.
        rows: Rows as in the file, paths relative to ``data_root``.
        sidecar: ``protocol``, ``missing``, ...

    Returns:
        The hash of the content.
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


def leave_out(
    rows: Sequence[dict], lists: Iterable[str | Path], manifest: str | Path
) -> list[dict]:
    """Rows whose ids are in none of some exclusion lists.

    What each list did is logged, as a warning where it names clips that are not there:
    an id is compared as a whole.

    Args:
        rows: Checked rows.
        lists: Files as ``read_list`` reads them.
        manifest: Its name for the log.
    """
    there = {row['sample_id'].strip() for row in rows}
    unwanted: set[str] = set()
    for path in lists:
        wanted = dict.fromkeys(read_list(path))
        strange = [name for name in wanted if name not in there]
        message = f'exclude {path}: {len(wanted) - len(strange)} of its {len(wanted)} '
        message += f'ids are in {manifest}'
        if strange:
            message += f', {len(strange)} are not, such as {strange[0]!r}'
            message += ''.join(f' (it has {r["sample_id"]!r})' for r in rows[:1])
        level = logging.WARNING if strange or not wanted else logging.INFO
        print_log(shown(message), logger='current', level=level)
        unwanted.update(wanted)
    return [row for row in rows if row['sample_id'].strip() not in unwanted]


def split_missing(rows: Sequence[dict]) -> tuple[list[dict], list[dict]]:
    """Split rows by whether all their files are on disk."""
    here: list[dict] = []
    gone: list[dict] = []
    for row in rows:
        paths = {row['clip_path'], row['audio_path']} - {None}
        (here if all(map(os.path.exists, paths)) else gone).append(row)
    return here, gone
