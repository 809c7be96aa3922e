"""The store on a Milvus cluster, or in a file of Milvus Lite.

A collection for each stream. How a search without a filter goes, and what it misses, is
up to the server's AUTOINDEX.

Letters: n vectors, k hits, E width.
"""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException

from coavt_mm.errors import SearchError
from coavt_mm.search.stores import Hits, VectorStore, in_order, widened
from coavt_mm.streams import STREAMS

MOST = 16_384  # hits of one search, and ids of one filter


class MilvusStore(VectorStore):
    """Vectors of an index in Milvus.

    Args:
        address: Of a cluster, such as 'http://host:19530', or a file '....db'. A token
            comes from MILVUS_TOKEN.
        name: Of the index.
        width: E.

    Raises:
        SearchError: It can't be reached.
    """

    def __init__(self, address: str, name: str, width: int):
        self.address, self.width = address, width
        self.names = {stream: f'coavt_{name}_{stream.lower()}' for stream in STREAMS}
        self.loaded: set[str] = set()
        logging.getLogger('pymilvus').setLevel(logging.CRITICAL)  # errors are raised
        with self._mended():
            token = os.environ.get('MILVUS_TOKEN', '')
            self.client = MilvusClient(address, token=token, timeout=15)

    @contextmanager
    def _mended(self) -> Iterator[None]:
        try:
            yield
        except (MilvusException, OSError) as error:
            reason = ' '.join(str(error).split())
            raise SearchError(f'Milvus at {self.address}: {reason}') from error

    def restore(self, last: int, dead: Collection[int]) -> None:
        """See the base class."""
        with self._mended():
            for name in self.names.values():
                if not self.client.has_collection(name):
                    self._create(name)
                self._load(name)
                self.client.delete(name, filter=f'id > {last}')
        self.remove(dead)

    def _create(self, name: str) -> None:
        schema = self.client.create_schema(auto_id=False)
        schema.add_field('id', DataType.INT64, is_primary=True)
        schema.add_field('vector', DataType.FLOAT_VECTOR, dim=self.width)
        index = self.client.prepare_index_params()
        index.add_index('vector', index_type='AUTOINDEX', metric_type='IP')
        options: dict[str, Any] = dict(index_params=index, consistency_level='Strong')
        self.client.create_collection(name, schema=schema, **options)

    def _load(self, name: str) -> None:
        if name not in self.loaded:
            self.client.load_collection(name)
            self.loaded.add(name)

    def add(self, stream: str, ids: np.ndarray, vectors: np.ndarray) -> None:
        """See the base class."""
        rows = [
            dict(id=id_, vector=vector)
            for id_, vector in zip(ids.tolist(), vectors.tolist(), strict=True)
        ]
        with self._mended():
            self.client.upsert(self.names[stream], rows)

    def remove(self, ids: Collection[int]) -> None:
        """See the base class."""
        wanted = list(ids)
        with self._mended():
            for i in range(0, len(wanted), MOST):
                for name in self.names.values():
                    self.client.delete(name, ids=wanted[i : i + MOST])

    def search(
        self,
        stream: str,
        vector: np.ndarray,
        k: int,
        among: np.ndarray | None = None,
    ) -> Hits:
        """See the base class."""
        if among is None:
            return self._ranked(stream, vector, k)
        if len(among) > MOST:
            return widened(lambda n: self._ranked(stream, vector, n), k, among)
        chosen = f'id in {among.tolist()}'
        return self._ranked(stream, vector, min(k, max(1, len(among))), chosen)

    def _ranked(
        self, stream: str, vector: np.ndarray, k: int, chosen: str = ''
    ) -> Hits:
        name = self.names[stream]
        query = dict(data=[vector.tolist()], limit=min(k, MOST), filter=chosen)
        with self._mended():
            self._load(name)
            (hits,) = self.client.search(name, **query)
        ids = np.array([hit['id'] for hit in hits], np.int64)
        return ids, np.array([hit['distance'] for hit in hits], np.float32)

    def read(self, stream: str, ids: np.ndarray) -> np.ndarray:
        """See the base class."""
        name = self.names[stream]
        with self._mended():
            self._load(name)
            rows = self.client.get(name, ids.tolist(), output_fields=['vector'])
        return in_order({row['id']: row['vector'] for row in rows}, ids)

    def count(self, stream: str) -> int:
        """See the base class."""
        name = self.names[stream]
        with self._mended():
            self._load(name)
            rows = self.client.query(name, filter='', output_fields=['count(*)'])
        return rows[0]['count(*)']

    def compact(self, live: np.ndarray, generation: int) -> None:
        """See the base class."""
        with self._mended():
            for name in self.names.values():
                self.client.flush(name)
                self.client.compact(name)

    def drop(self) -> None:
        """See the base class."""
        with self._mended():
            for name in self.names.values():
                self.client.drop_collection(name)

    def close(self) -> None:
        """See the base class."""
        self.client.close()
