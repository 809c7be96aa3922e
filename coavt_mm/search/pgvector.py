"""The store on a server: PostgreSQL with pgvector.

A table for each stream. From ``INDEXED`` vectors on a search goes by HNSW, which may
miss a neighbour; among ids that are sent along it is exact.

Letters: n vectors, k hits, E width.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import numpy as np
import psycopg
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql

from coavt_mm.errors import SearchError
from coavt_mm.search.stores import SENT, Hits, VectorStore, in_order, widened
from coavt_mm.streams import STREAMS

INDEXED = 20_000
# The candidates that HNSW keeps; pgvector takes no more than the latter.
EF, MOST_EF = 200, 1000


class PgVectorStore(VectorStore):
    """Vectors of an index in PostgreSQL.

    Args:
        address: Such as 'postgresql://user@host/database'; a password comes from
            PGPASSWORD or ~/.pgpass.
        name: Of the index.
        width: E.

    Raises:
        SearchError: The server can't be reached, or has no pgvector.
    """

    def __init__(self, address: str, name: str, width: int):
        self.width = width
        self.shown = address.rpartition('@')[2]
        self.names = {stream: f'coavt_{name}_{stream.lower()}' for stream in STREAMS}
        self.tables = {s: sql.Identifier(table) for s, table in self.names.items()}
        with self._mended():
            self.db = psycopg.connect(address, autocommit=True, connect_timeout=15)
            self.db.execute('CREATE EXTENSION IF NOT EXISTS vector')
            register_vector(self.db)

    @contextmanager
    def _mended(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            reason = ' '.join(str(error).split())
            raise SearchError(f'PostgreSQL at {self.shown}: {reason}') from error

    def _execute(self, query: str, stream: str, *values: object) -> psycopg.Cursor:
        return self.db.execute(sql.SQL(query).format(self.tables[stream]), values)

    def restore(self, last: int, dead: Collection[int]) -> None:
        """See the base class."""
        with self._mended():
            for stream in STREAMS:
                self._execute(
                    'CREATE TABLE IF NOT EXISTS {} (id bigint PRIMARY KEY, '
                    f'vector halfvec({self.width}) NOT NULL)',
                    stream,
                )
                self._execute('DELETE FROM {} WHERE id > %s', stream, last)
        self.remove(dead)

    def add(self, stream: str, ids: np.ndarray, vectors: np.ndarray) -> None:
        """See the base class."""
        query = sql.SQL('INSERT INTO {} VALUES (%s, %s)').format(self.tables[stream])
        rows = [
            (id_, HalfVector(vector))
            for id_, vector in zip(ids.tolist(), vectors, strict=True)
        ]
        with self._mended(), self.db.transaction(), self.db.cursor() as cursor:
            cursor.executemany(query, rows)

    def remove(self, ids: Collection[int]) -> None:
        """See the base class."""
        with self._mended():
            for stream in STREAMS if ids else ():
                self._execute('DELETE FROM {} WHERE id = ANY(%s)', stream, list(ids))

    def search(
        self,
        stream: str,
        vector: np.ndarray,
        k: int,
        among: np.ndarray | None = None,
    ) -> Hits:
        """See the base class."""
        if among is None:
            return self._ranked('{}', stream, vector, k)
        if len(among) > SENT:
            return widened(lambda n: self._ranked('{}', stream, vector, n), k, among)
        some = (
            '(SELECT * FROM {} WHERE id = ANY(%s) OFFSET 0) AS chosen'  # compares all
        )
        return self._ranked(some, stream, vector, k, among.tolist())

    def _ranked(
        self, table: str, stream: str, vector: np.ndarray, k: int, *values: object
    ) -> Hits:
        query = (
            f'SELECT id, -(vector <#> %s) FROM {table} ORDER BY vector <#> %s LIMIT %s'
        )
        half = HalfVector(vector)
        with self._mended(), self.db.transaction():
            self.db.execute(f'SET LOCAL hnsw.ef_search = {min(MOST_EF, max(EF, k))}')
            self.db.execute("SET LOCAL hnsw.iterative_scan = 'strict_order'")
            found = self._execute(query, stream, half, *values, half, k).fetchall()
        ids = np.array([row[0] for row in found], np.int64)
        return ids, np.array([row[1] for row in found], np.float32)

    def read(self, stream: str, ids: np.ndarray) -> np.ndarray:
        """See the base class."""
        query = 'SELECT id, vector FROM {} WHERE id = ANY(%s)'
        with self._mended():
            rows = self._execute(query, stream, ids.tolist()).fetchall()
        return in_order({id_: vector.to_numpy() for id_, vector in rows}, ids)

    def count(self, stream: str) -> int:
        """See the base class."""
        with self._mended():
            row = self._execute('SELECT count(*) FROM {}', stream).fetchone()
        return row[0] if row else 0

    def compact(self, live: np.ndarray, generation: int) -> None:
        """See the base class."""
        with self._mended():
            for stream in STREAMS:
                self._execute('VACUUM ANALYZE {}', stream)

    def prepare(self) -> None:
        """See the base class."""
        with self._mended():
            for stream in STREAMS:
                if self.count(stream) >= INDEXED:
                    name = sql.Identifier(f'{self.names[stream]}_hnsw')
                    query = sql.SQL(
                        'CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw '
                        '(vector halfvec_ip_ops)'
                    )
                    self.db.execute(query.format(name, self.tables[stream]))

    def drop(self) -> None:
        """See the base class."""
        with self._mended():
            for stream in STREAMS:
                self._execute('DROP TABLE IF EXISTS {}', stream)

    def close(self) -> None:
        """See the base class."""
        self.db.close()
