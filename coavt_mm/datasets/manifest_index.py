"""Where the rows of a long manifest lie: it is checked once, and held by nobody.

The processes of a machine share the work: each takes slices of the file that none has
taken yet. What they find is kept in the user's cache, so that the next start, and every
other process, only maps the places: 8 bytes per row, once for all of them.
"""

import fcntl
import json
import mmap
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import numpy as np

from coavt_mm.datasets.manifest import content_hash, parse_row
from coavt_mm.datasets.reading import parse_json
from coavt_mm.streams import CAPTION_FIELDS

LEAST = 1 << 26  # bytes; the rows of shorter manifests are held in memory
SLICES = 16
VERSION = 1  # of what is kept


class ManifestIndex(NamedTuple):
    """What is known of a manifest.

    Attributes:
        starts: (rows,) int64, the byte where each row begins.
        captions: Of all rows.
        labels: All that occur.
        hash: Of the content.
    """

    starts: np.ndarray
    captions: int
    labels: set[str]
    hash: str


class IndexedRows(Sequence):
    """The rows of a manifest as dicts, each read from the file when it is asked for.

    Args:
        path: The manifest.
        data_root: Folder that relative paths start from.
        starts: (rows,) the byte where each begins.
        finish: What is done to the rows that were read.
    """

    def __init__(
        self,
        path: Path,
        data_root: str,
        starts: np.ndarray,
        finish: Callable[[list[dict]], None] | None = None,
    ):
        self.path, self.data_root = path, data_root
        self.starts, self.finish = starts, finish
        self._file: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if self._file is None:
            with open(self.path, 'rb') as file:
                self._file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = int(self.starts[index])
        end = self._file.find(b'\n', start)
        line = self._file[start : None if end < 0 else end]
        row = parse_row(parse_json(line.decode()), self.data_root)
        if self.finish is not None:
            self.finish([row])
        return row

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_file': None}


def index_manifest(path: Path) -> ManifestIndex | None:
    """Look a long manifest through, together with the other processes that do.

    Args:
        path: The manifest.

    Returns:
        What is known of it. None if it is short, or if something is to be said of a
        row: that it is wrong, or that its id or the end of its line is unusual.
    """
    if path.stat().st_size < LEAST:
        return None
    try:
        folder = _cache(path)
    except OSError:  # no home, or not ours to write
        with tempfile.TemporaryDirectory() as own:
            return _index(path, Path(own))
    return _index(path, folder)


def _cache(path: Path) -> Path:
    """The folder for a manifest as it is now; those of earlier contents are emptied."""
    about = path.resolve().stat()
    stamp = (VERSION, about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)
    home = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
    places = home / 'coavt_mm' / 'manifests' / _digest(str(path.resolve()))
    folder = places / _digest(str(stamp))
    folder.mkdir(parents=True, exist_ok=True)
    for other in places.iterdir():
        if other != folder:
            rmtree(other, ignore_errors=True)
    return folder


def _digest(text: str) -> str:
    return blake2b(text.encode('utf-8', 'surrogateescape'), digest_size=8).hexdigest()


def _index(path: Path, folder: Path) -> ManifestIndex | None:
    for wait in (False, True):  # first what nobody does; then what others have not done
        for number in range(SLICES):
            _work(folder, f'{number}.npz', wait, partial(_look_through, path, number))
    _work(folder, 'starts.npy', True, partial(_put_together, path, folder))
    about = json.loads((folder / 'about.json').read_text('utf-8'))
    if not about.pop('usual'):
        return None
    # one copy for all processes
    starts = np.load(folder / 'starts.npy', mmap_mode='r')
    return ManifestIndex(starts, about['captions'], {*about['labels']}, about['hash'])


def _work(folder: Path, name: str, wait: bool, make: Callable[[Path], None]) -> None:
    """Make a file, unless it is there or being made.

    Args:
        folder: Where it is kept.
        name: Of the file.
        wait: For the process that makes it.
        make: Writes it to the path that it is given.
    """
    done = folder / name
    if done.exists():
        return
    with open(folder / f'{name}.lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return
        if not done.exists():
            make(folder / f'part.{name}')
            os.replace(folder / f'part.{name}', done)


def _put_together(path: Path, folder: Path, out: Path) -> None:
    """Write the places of all rows, and beside them what is known of them together."""
    parts = [np.load(folder / f'{number}.npz') for number in range(SLICES)]
    found = [json.loads(part['about'].tobytes()) for part in parts]
    starts = np.concatenate([part['starts'] for part in parts])
    ids = np.concatenate([part['ids'] for part in parts])
    whole = len(starts) > 0 and len(np.unique(ids)) == len(starts)
    about = dict(
        usual=whole and all(part['usual'] for part in found),
        captions=sum(part['captions'] for part in found),
        labels=sorted({label for part in found for label in part['labels']}),
        hash=content_hash(path),
    )
    (folder / 'about.json').write_text(json.dumps(about), 'utf-8')
    np.save(out, starts)


def _look_through(path: Path, number: int, out: Path) -> None:
    """Write places and ids of the rows that begin in a slice, and what else is noted.

    Args:
        path: The manifest.
        number: Of the slice.
        out: The file to write.
    """
    size = path.stat().st_size
    offset, end = size * number // SLICES, size * (number + 1) // SLICES
    starts, ids, labels, captions = [], [], set(), 0
    usual = True
    with open(path, 'rb') as file:
        if offset:
            file.seek(offset - 1)
            offset += len(file.readline()) - 1
        for line in file:
            if offset >= end or not usual:
                break
            text = line.strip()
            try:
                row = parse_row(parse_json(text.decode())) if text else None
            except ValueError:
                usual = False
                continue
            if row:
                usual = b'\r' not in text
                starts.append(offset)
                ids.append(blake2b(row['sample_id'].encode(), digest_size=8).digest())
                labels.update(row['labels'])
                captions += sum(len(row[key]) for key in CAPTION_FIELDS)
            offset += len(line)
    about = dict(usual=usual, captions=captions, labels=sorted(labels))
    np.savez(
        out,
        starts=np.array(starts, np.int64),
        ids=np.frombuffer(b''.join(ids), np.int64),
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
    )
