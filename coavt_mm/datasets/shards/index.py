"""The index of a set of shards, on disk or behind any address that fsspec opens.

``index.jsonl`` has a header in its first line::

    {"version": 1, "protocol": str, "hash": str,      of the manifest
     "missing": int, "ceilings": ..., "classes": ...,   its sidecar's
     "settings": {...},                                 see ``Settings``
     "failed": [{"id": str, "reason": str}],            clips that are in no shard
     "shards": [{"name": "shard-000000.tar", "samples": int, "bytes": int,
                 "sha256": str}]}

and a sample in each other line::

    {"shard": 0, "key": "00000017", "offset": int, "size": int,   its piece, bytes
     "crc32": int, "audio_samples": int, "frame_times": [s, ...], "row": {...}}

where ``row`` is the row of the manifest.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec

from coavt_mm.datasets.manifest import parse_row
from coavt_mm.datasets.reading import DECODING, checked_lines, located, parse_json
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
    try:
        with system.open(path, 'r', **DECODING) as file:
            for number, line in checked_lines(file, address):
                with located(f'{address}:{number}'):
                    sample = parse_json(line)
                yield number, sample
    except FileNotFoundError as error:
        hint = how_to_get or '`coavt shards` writes it'
        raise DatasetMissingError(
            f'{address}: there is no index of shards; {hint}'
        ) from error


def read_index(address: str, how_to_get: str = '') -> tuple[dict, list[dict]]:
    """Read an index.

    Args:
        address: Path or address of ``index.jsonl``.
        how_to_get: What the error tells the user to do when it is missing.

    Returns:
        The header, and the samples as rows of a data set (see ``parse_row``) that also
        have ``shard``, ``key``, ``offset``, ``size``, ``crc32``, ``audio_samples`` and
        ``frame_times``.

    Raises:
        DatasetMissingError: It isn't there.
        ManifestError: It is no index or damaged; the message names the line.
    """
    lines = _lines(address, how_to_get)
    _, header = next(lines, (1, {}))
    if not isinstance(header, dict) or header.get('version') != VERSION:
        raise ManifestError(
            f'{address}:1: no index of shards of version {VERSION}; '
            'make the shards anew with `coavt shards`'
        )
    with _blamed(f'{address}:1'):
        _check_header(header)
    rows = []
    for number, sample in lines:
        with _blamed(f'{address}:{number}'):
            rows.append(_checked_sample(sample, header['shards']))
    expected = sum(shard['samples'] for shard in header['shards'])
    if len(rows) != expected:
        raise ManifestError(
            f'{address}: {len(rows)} samples, its header says {expected}: '
            'the file is cut short; copy it again'
        )
    return header, rows


@contextmanager
def _blamed(line: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ManifestError(f'{line}: {error!r}') from error


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _counts(node: dict, *names: str) -> None:
    for name in names:
        value = node[name]
        right = type(value) is int and 0 <= value < 2**63
        _check(right, f'{name}={str(value)[:40]} is no count')


def _texts(values: object, name: str) -> None:
    right = isinstance(values, list) and all(isinstance(v, str) for v in values)
    _check(right, f'{name} is no list of texts')


def _check_header(header: dict) -> None:
    """The author of an index must not name files outside of its folder.

    Raises:
        ValueError: Something is of another kind than ``make_shards`` writes.
        KeyError: Something is missing.
    """
    _texts([header['protocol'], header['hash']], 'protocol and hash')
    _texts([clip['id'] for clip in header['failed']], 'the ids of failed')
    if header.get('classes') is not None:
        _texts(header['classes'], 'classes')
    _counts({'missing': 0, **header}, 'missing')
    ceilings = header.get('ceilings')
    _check(ceilings is None or isinstance(ceilings, dict), 'ceilings is no object')
    _counts(header['settings'], 'sample_rate')
    _check(header['settings']['sample_rate'] > 0, 'sample_rate=0')
    for shard in header['shards']:
        name, digits = shard['name'], shard['sha256']
        _check(
            re.fullmatch(r'\w[\w.-]*', name) is not None,
            f'name={name!r} is no plain file name: shards lie beside their index',
        )
        _check(
            re.fullmatch('[0-9a-f]{64}', digits) is not None,
            f'sha256={digits!r} is no 64 hex digits',
        )
        _counts(shard, 'samples', 'bytes')


def _checked_sample(sample: dict, shards: list[dict]) -> dict:
    """The row of a data set that a line makes.

    Raises:
        ValueError: Something is of another kind, or lies outside of its shard.
        KeyError: Something is missing.
    """
    row = parse_row(sample.pop('row'))
    _check(not row.keys() & sample.keys(), f'{[*row.keys() & sample.keys()]} twice')
    _counts(sample, 'shard', 'offset', 'size', 'crc32', 'audio_samples')
    _check(sample['shard'] < len(shards), f'shard={sample["shard"]} is not there')
    end = sample['offset'] + sample['size']
    _check(end <= shards[sample['shard']]['bytes'], 'lies behind the end of its shard')
    _texts([sample['key']], 'key')
    times = sample['frame_times']
    right = isinstance(times, list) and all(type(t) in (int, float) for t in times)
    _check(right, 'frame_times is no list of numbers')
    return {**row, **sample}
