"""The index of a set of shards, on disk or behind any address that fsspec opens.

``index.jsonl`` has a header in its first line::

    {"version": 1, "protocol": str, "hash": str,      of the manifest
     "missing": int, "ceilings": ..., "classes": ...,   its sidecar's
     "settings": {...},                                 see `Settings`
     "failed": [{"id": str, "reason": str}],            clips that are in no shard
     "shards": [{"name": "shard-000000.tar", "samples": int, "bytes": int,
                 "sha256": str}]}

and a sample in each other line::

    {"shard": 0, "key": "00000017", "offset": int, "size": int,   its piece, bytes
     "crc32": int, "audio_samples": int, "frame_times": [s, ...], "row": {...}}

where ``row`` is the row of the manifest.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import fsspec

from coavt_mm.datasets.manifest import parse_row
from coavt_mm.errors import DatasetMissingError, ManifestError

INDEX_NAME = 'index.jsonl'
VERSION = 1


def sha256(path: str | Path) -> str:
    """Checksum of a file, as hex digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def sibling(address: str, name: str) -> str:
    """The address of a file beside another one."""
    folder, slash, _ = str(address).rpartition('/')
    return f'{folder}{slash}{name}'


def open_remote(address: str, how_to_get: str = '') -> tuple:
    """The file system of an address, and its path there.

    Raises:
        DatasetMissingError: The driver of its protocol isn't installed, or the
            protocol unknown.
    """
    try:
        return fsspec.core.url_to_fs(str(address))
    except (ImportError, ValueError) as error:
        raise DatasetMissingError(f'{address}: {error}; {how_to_get}') from error


def _lines(address: str, how_to_get: str) -> Iterator[tuple[int, dict]]:
    system, path = open_remote(address, how_to_get)
    number = 0
    try:
        with system.open(path, 'r', encoding='utf-8') as file:
            for number, line in enumerate(file, start=1):
                yield number, json.loads(line)
    except FileNotFoundError as error:
        hint = how_to_get or 'tools/data/make_shards.py writes it'
        raise DatasetMissingError(
            f'{address}: there is no index of shards; {hint}'
        ) from error
    except ValueError as error:  # broken JSON, or bytes that are no text
        raise ManifestError(f'{address}:{number}: {error}') from error


def read_index(address: str, how_to_get: str = '') -> tuple[dict, list[dict]]:
    """Reads an index.

    Args:
        address (str): Path or address of ``index.jsonl``.
        how_to_get (str): What the error tells the user to do when it is missing.

    Returns:
        tuple: The header, and the samples as rows of a data set (see `parse_row`)
        that also have `shard`, `key`, `offset`, `size`, `crc32`, `audio_samples` and
        `frame_times`.

    Raises:
        DatasetMissingError: It isn't there.
        ManifestError: It is no index or damaged; the message names the line.
    """
    lines = _lines(address, how_to_get)
    _, header = next(lines, (1, {}))
    if not isinstance(header, dict) or header.get('version') != VERSION:
        raise ManifestError(
            f'{address}:1: no index of shards of version {VERSION}; '
            'make the shards anew with tools/data/make_shards.py'
        )
    rows = []
    for number, sample in lines:
        try:
            rows.append({**parse_row(sample.pop('row')), **sample})
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ManifestError(f'{address}:{number}: {error!r}') from error
    expected = sum(shard['samples'] for shard in header['shards'])
    if len(rows) != expected:
        raise ManifestError(
            f'{address}: {len(rows)} samples, its header says {expected}: '
            'the file is cut short; copy it again'
        )
    return header, rows
