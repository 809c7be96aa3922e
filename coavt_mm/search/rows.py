"""Vectors in append-only files, a record for each window.

Letters: N records, E width.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from coavt_mm.engine.whole_files import sync_folder
from coavt_mm.errors import SearchError

CHUNK = 1 << 16  # records that are read at once


class RowFile:
    """Records of one kind, one behind the other; what is written is never changed.

    A record is the id of a window (int64) and its vectors (float16). Ids ascend. What a
    stopped process left behind the last record that counts is cut off by
    :meth:`cut`, which a writer calls first.

    Args:
        path: Of the file; it need not be there.
        shape: Of a record's vectors, such as (E,).
    """

    def __init__(self, path: str | Path, shape: tuple[int, ...]):
        self.path = Path(path)
        self.dtype = np.dtype([('id', '<i8'), ('values', '<f2', shape)])

    @property
    def count(self) -> int:
        """How many records there are, N."""
        try:
            return self.path.stat().st_size // self.dtype.itemsize
        except FileNotFoundError:
            return 0

    def records(self) -> np.ndarray:
        """Map all records (N,) into memory; what is not looked at is not read."""
        if not (count := self.count):
            return np.empty(0, self.dtype)
        return np.memmap(self.path, self.dtype, 'r', shape=(count,))

    def chunks(self, start: int = 0) -> Iterator[np.ndarray]:
        """Read the records in order, some at a time, so that they are not held twice.

        Args:
            start: The first record wanted.
        """
        if not self.path.exists():
            return
        with open(self.path, 'rb') as file:
            file.seek(start * self.dtype.itemsize)
            while len(part := np.fromfile(file, self.dtype, CHUNK)):
                yield part

    def append(self, ids: np.ndarray, values: np.ndarray) -> None:
        """Write records behind the last one, and wait until the disk has them.

        Args:
            ids: (n,), above those that are there.
            values: (n, ...) of the records' shape.

        Raises:
            SearchError: The disk is full, or refuses it; the records before are good.
        """
        records = np.empty(len(ids), self.dtype)
        records['id'], records['values'] = ids, values
        try:
            is_new = not self.path.exists()
            with open(self.path, 'ab') as file:
                file.truncate(self.count * self.dtype.itemsize)  # half a record
                file.write(records.tobytes())
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise SearchError(
                f'{self.path}: can not be written ({error.strerror}); what was indexed '
                'before is safe. Make room, and start again'
            ) from error

    def up_to(self, last: int) -> int:
        """How many records have an id of at most ``last``.

        Args:
            last: The id.
        """
        column = np.asarray(self.records())['id']
        return int(_counts_up_to(column, np.array([last]))[0])

    def cut(self, last: int) -> None:
        """Cut off what lies behind the record of window ``last``.

        Args:
            last: The highest id that counts.
        """
        if self.path.exists():
            os.truncate(self.path, self.up_to(last) * self.dtype.itemsize)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Read the vectors of some windows: (n, ...) float16.

        Args:
            ids: (n,), in any order.

        Raises:
            SearchError: One of them isn't there.
        """
        records = np.asarray(self.records())
        places = _counts_up_to(records['id'], ids) - 1
        if len(ids) and ((places < 0).any() or (records['id'][places] != ids).any()):
            raise SearchError(
                f'{self.path}: lacks vectors that the catalogue lists; make the index '
                'anew'
            )
        return records['values'][places]

    def rewrite(self, path: str | Path, keep: np.ndarray) -> 'RowFile':
        """Write the records of some windows to another file.

        Args:
            path: Of the new file.
            keep: Ids of the windows, ascending.

        Returns:
            The new file.
        """
        new = RowFile(path, self.dtype['values'].shape)
        new.path.unlink(missing_ok=True)
        for part in self.chunks():
            live = part[np.isin(part['id'], keep, assume_unique=True)]
            if len(live):
                new.append(live['id'], live['values'])
        return new


def _counts_up_to(column: np.ndarray, last: np.ndarray) -> np.ndarray:
    """How many of ascending ids are at most ``last`` (n,); looks at few of them."""
    count = len(column)
    first, final = (int(column[0]), int(column[-1])) if count else (0, -1)
    # without gaps both ends are the place itself
    low = np.clip(count - (final - last), 0, count)
    high = np.clip(last - first + 1, 0, count)
    while (open_ := low < high).any():
        middle = (low + high) // 2
        below = open_ & (column[np.minimum(middle, count - 1)] <= last)
        low = np.where(below, middle + 1, low)
        high = np.where(open_ & ~below, middle, high)
    return low
