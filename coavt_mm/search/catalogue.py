"""What an index knows of its clips: one SQLite file.

What is committed here counts; vectors are on the disk before. Paths are bytes, as the
system has them. The file can be read while it is written.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from coavt_mm.errors import SearchError

FORMAT = 1

SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE clips (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL, sound BLOB NOT NULL,  -- sound: '' where it is the path's own
    start REAL, end REAL,                     -- s; the span, NULL: the whole file
    place BLOB NOT NULL,                      -- folder, file or manifest it came with
    name TEXT,                                -- its id in a manifest
    size INTEGER,                             -- bytes
    changed INTEGER, renewed INTEGER,         -- ns: mtime, ctime
    looked INTEGER,                           -- ns; when that was read
    hash TEXT,
    seconds REAL,                             -- length
    state TEXT NOT NULL,                      -- 'there', 'failed', 'removed'
    error TEXT
);
CREATE UNIQUE INDEX key ON clips (path, sound, ifnull(start, -1), ifnull(end, -1));
CREATE TABLE labels (clip INTEGER, label TEXT, PRIMARY KEY (label, clip)) WITHOUT ROWID;
CREATE INDEX labels_of ON labels (clip);
CREATE TABLE windows (
    id INTEGER PRIMARY KEY AUTOINCREMENT,     -- never used twice
    clip INTEGER NOT NULL, start REAL, end REAL,  -- s; end NULL: not known
    streams INTEGER NOT NULL                  -- sum of 1 << place in STREAMS
);
CREATE INDEX windows_of ON windows (clip);
CREATE INDEX windows_that_lack_a_stream ON windows (streams) WHERE streams != 7;
CREATE TABLE tombstones (id INTEGER PRIMARY KEY);  -- windows that are no more
CREATE TABLE journal (
    id INTEGER PRIMARY KEY, action TEXT, begun REAL, ended REAL,  -- s since 1970
    clips INTEGER DEFAULT 0, windows INTEGER DEFAULT 0
);
"""


class Catalogue:
    """The SQLite file of an index.

    Args:
        path: Of the file.
        create: Whether to make it.

    Raises:
        SearchError: It is missing, damaged, or of another release.
    """

    def __init__(self, path: Path, create: bool = False):
        self.path = path
        if not create and not path.is_file():
            raise SearchError(f'{path.parent}: is no search index (there is no {path})')
        with self.mended():
            self.db = self._connected()
            self.db.execute('PRAGMA trusted_schema=OFF')
            self.db.execute('PRAGMA journal_mode=WAL')
            self.db.execute('PRAGMA synchronous=FULL')
            if create:
                self.db.executescript(f'BEGIN;{SCHEMA}COMMIT;')
                self.write_about(format=str(FORMAT))
            self._check_schema()
            found = self.about().get('format')
        if found != str(FORMAT):
            raise SearchError(
                f'{path}: has format {found}, this release reads {FORMAT}; make the '
                'index anew'
            )

    def _connected(self) -> sqlite3.Connection:
        """Readers want to write, too, their locks: but where nobody can write."""
        address, options = self.path.absolute().as_uri(), '?mode=rwc'
        folder, journal = self.path.parent, self.path.with_name(f'{self.path.name}-wal')
        if self.path.exists() and not journal.exists():
            if is_read_only(folder):
                options = '?immutable=1'
            elif not os.access(folder, os.W_OK):
                raise SearchError(
                    f'{folder}: can not be written, and whoever asks an index leaves '
                    'locks in its folder; copy it, or mount it read-only'
                )
        return sqlite3.connect(
            address + options, uri=True, isolation_level=None, timeout=30
        )

    def _check_schema(self) -> None:
        """Refuse queries that the file brings along: they may never end."""
        more = self.value(
            "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')"
        )
        if more is not None:
            raise SearchError(f'{self.path}: has {more!r}, which no index has')

    @contextmanager
    def mended(self) -> Iterator[None]:
        """Say in one line what SQLite has against the file."""
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            full = '; what was indexed before is safe: make room, and start again'
            told = f'{error}{full if "is full" in str(error) else ""}'
            raise SearchError(f'{self.path}: {told}') from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written within is there afterwards, or nothing of it."""
        with self.mended():
            self.db.execute('BEGIN IMMEDIATE')
            try:
                yield
                self.db.execute('COMMIT')
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute('ROLLBACK')
                raise

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple]:
        """Read.

        Args:
            query: In SQL.
            values: Of its question marks.
        """
        with self.mended():
            return self.db.execute(query, values).fetchall()

    def value(self, query: str, values: Sequence[Any] = ()) -> Any:
        """Read one value; None where there is no row.

        Args:
            query: In SQL.
            values: Of its question marks.
        """
        rows = self.rows(query, values)
        return rows[0][0] if rows else None

    def ids(self, query: str, values: Sequence[Any] = ()) -> np.ndarray:
        """Read ids (n,) int64.

        Args:
            query: In SQL.
            values: Of its question marks.
        """
        with self.mended():
            found = self.db.execute(query, values)
            return np.fromiter((row[0] for row in found), np.int64)

    # ------------------------------------------------------------------ the index
    def about(self) -> dict[str, str]:
        """What was noted of the index."""
        return dict(self.rows('SELECT key, value FROM about'))

    def write_about(self, **values: str) -> None:
        """Note something of the index.

        Args:
            **values: Replace what was noted under these keys.
        """
        rows = list(values.items())
        self.db.executemany('INSERT OR REPLACE INTO about VALUES (?, ?)', rows)

    @property
    def last_window(self) -> int:
        """The highest id that a window ever had; 0 before the first."""
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'windows'"
        return self.value(query) or 0

    @property
    def version(self) -> int:
        """Changes when another process has written."""
        return self.value('PRAGMA data_version')

    def dead(self) -> list[int]:
        """Windows that are no more, of which something may be left in the store."""
        return [row[0] for row in self.rows('SELECT id FROM tombstones')]

    # -------------------------------------------------------------------- clips
    def forget_windows(self, clips: Iterable[int]) -> list[int]:
        """Remove the windows of clips, within a transaction.

        Args:
            clips: Ids of the clips.

        Returns:
            Ids of the windows.
        """
        gone: list[int] = []
        for clip in clips:
            query = 'DELETE FROM windows WHERE clip = ? RETURNING id'
            gone += [row[0] for row in self.db.execute(query, (clip,)).fetchall()]
        self.db.executemany('INSERT INTO tombstones VALUES (?)', [(x,) for x in gone])
        return gone

    def put_clip(self, row: dict[str, Any], labels: Iterable[str]) -> int:
        """Write a clip, in the place of that with the same key, within a transaction.

        Args:
            row: Column -> value.
            labels: Its labels.

        Returns:
            Its id.
        """
        key = (row['path'], row['sound'], row['start'], row['end'])
        known = self.value(
            'SELECT id FROM clips WHERE path = ? AND sound = ? AND '
            'ifnull(start, -1) = ifnull(?, -1) AND ifnull(end, -1) = ifnull(?, -1)',
            key,
        )
        columns = dict(row, id=known)
        marks = ', '.join('?' * len(columns))
        query = f'INSERT OR REPLACE INTO clips ({", ".join(columns)}) VALUES ({marks})'
        clip: Any = self.db.execute(query, list(columns.values())).lastrowid
        self.put_labels(clip, labels)
        return clip

    def put_labels(self, clip: int, labels: Iterable[str]) -> None:
        """Write a clip's labels, in the place of those that it has.

        Args:
            clip: Its id.
            labels: Its labels.
        """
        self.db.execute('DELETE FROM labels WHERE clip = ?', (clip,))
        rows = [(clip, label) for label in dict.fromkeys(labels)]
        self.db.executemany('INSERT INTO labels VALUES (?, ?)', rows)

    # ------------------------------------------------------------------ the journal
    def begin(self, action: str) -> int:
        """Note that something begins; returns the number of the note.

        Args:
            action: What.
        """
        query = 'INSERT INTO journal (action, begun) VALUES (?, ?)'
        with self.mended():
            number: Any = self.db.execute(query, (action, time.time())).lastrowid
        return number

    def note(self, number: int, clips: int, windows: int) -> None:
        """Add to what was done, within the transaction that does it.

        Args:
            number: From :meth:`begin`.
            clips: So many more.
            windows: So many more.
        """
        query = (
            'UPDATE journal SET clips = clips + ?, windows = windows + ? WHERE id = ?'
        )
        self.db.execute(query, (clips, windows, number))

    def end(self, number: int) -> None:
        """Note that it is done.

        Args:
            number: From :meth:`begin`.
        """
        query = 'UPDATE journal SET ended = ? WHERE id = ?'
        with self.mended():
            self.db.execute(query, (time.time(), number))


def is_read_only(folder: Path) -> bool:
    """Whether a folder lies on a disk that is mounted for reading alone.

    Args:
        folder: Which.
    """
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False
