"""What keeps the vectors that are searched first: in files, or on a server.

Letters: n windows, k hits, E width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pathlib import Path

import numpy as np

from coavt_mm.errors import InputError, SearchError

Hits = tuple[np.ndarray, np.ndarray]  # ids (k,) int64, scores (k,) float32; best first

EMBEDDED = 'embedded'
# A server is sent at most so many ids to choose from; of more it is asked for further
# hits until enough are among them.
SENT = 50_000


class VectorStore(ABC):
    """A vector for each window and stream, found by its inner product.

    Ids ascend and are never used twice, so that all stores forget in the same way what
    a stopped process added but the catalogue does not know: what is above the last id.
    """

    @abstractmethod
    def restore(self, last: int, dead: Collection[int]) -> None:
        """Forget what the catalogue does not know; a writer's first call.

        Args:
            last: The highest id that counts.
            dead: Ids up to it that do not count.
        """

    @abstractmethod
    def add(self, stream: str, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Keep vectors; when this returns, they outlive the process.

        Args:
            stream: 'AV', 'A' or 'V'.
            ids: (n,) int64, ascending, above those that are there.
            vectors: (n, E) float32, L2-normalised.
        """

    @abstractmethod
    def remove(self, ids: Collection[int]) -> None:
        """Forget windows, in all streams."""

    @abstractmethod
    def search(
        self,
        stream: str,
        vector: np.ndarray,
        k: int,
        among: np.ndarray | None = None,
    ) -> Hits:
        """Find the k vectors with the greatest inner products.

        Args:
            stream: 'AV', 'A' or 'V'.
            vector: (E,) float32.
            k: Hits wanted.
            among: Ids (n,) int64 to choose from; None: all.
        """

    @abstractmethod
    def read(self, stream: str, ids: np.ndarray) -> np.ndarray:
        """Read vectors back: (n, E) float32, as far as halves hold them.

        Args:
            stream: 'AV', 'A' or 'V'.
            ids: (n,) int64, in any order.

        Raises:
            SearchError: One of them isn't there.
        """

    @abstractmethod
    def count(self, stream: str) -> int:
        """How many vectors a stream has."""

    @abstractmethod
    def compact(self, live: np.ndarray, generation: int) -> None:
        """Give back the room of what was removed, and bring the index up to date.

        Args:
            live: Ids (n,) int64 that count, ascending.
            generation: Number of this compaction.
        """

    def see(self, last: int, dead: Collection[int]) -> None:  # noqa: B027
        """Find only what counts now, though more may be there.

        Args:
            last: The highest id that counts.
            dead: Ids up to it that do not count.
        """

    def prepare(self) -> None:  # noqa: B027
        """Make ready what the first search would wait for."""

    def drop(self) -> None:  # noqa: B027
        """Remove everything of this index from a server."""

    def close(self) -> None:  # noqa: B027
        """Let go of files and connections."""


def open_store(
    address: str, folder: Path, name: str, width: int, generation: int
) -> VectorStore:
    """Open the store of an index.

    Args:
        address: 'embedded', 'postgresql://...', or for Milvus 'http://...' or a
            file '....db'.
        folder: Of the index.
        name: Unlike that of any other index; servers name tables by it.
        width: E.
        generation: How often the index was compacted.

    Raises:
        SearchError: A package is missing, or the server can't be reached.
        InputError: The address is none of these.
    """
    if address == EMBEDDED:
        return _class('embedded', 'EmbeddedStore')(folder, width, generation)
    if address.startswith(('postgresql://', 'postgres://')):
        return _class('pgvector', 'PgVectorStore')(address, name, width)
    if address.startswith(('http://', 'https://')) or address.endswith('.db'):
        return _class('milvus', 'MilvusStore')(address, name, width)
    raise InputError(
        f"store must be '{EMBEDDED}', 'postgresql://...', or for Milvus 'http://...' "
        f'or a file *.db; not {address!r}'
    )


EXTRAS = {'embedded': 'search', 'pgvector': 'pgvector', 'milvus': 'milvus'}


def _class(module: str, name: str) -> Callable[..., VectorStore]:
    try:
        return getattr(import_module(f'coavt_mm.search.{module}'), name)
    except ImportError as error:
        extra = EXTRAS[module]
        raise SearchError(
            f'this index needs a package that is not installed ({error}): '
            f"pip install 'coavt-mm[{extra}]'"
        ) from error


def in_order(found: Mapping[int, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """The vectors (n, E) float32 that a server gave in an order of its own.

    Args:
        found: Id -> vector (E,).
        ids: (n,), as they are wanted.

    Raises:
        SearchError: One of them isn't there.
    """
    try:
        return np.array([found[id_] for id_ in ids.tolist()], np.float32)
    except KeyError as error:
        raise SearchError(
            'the server lacks vectors that the catalogue lists; make the index anew'
        ) from error


def widened(search: Callable[[int], Hits], k: int, among: np.ndarray) -> Hits:
    """Search without a filter, ever further, until k hits are among those wanted.

    Args:
        search: Gives so many hits, or all there are.
        k: Hits wanted.
        among: Ids (n,) to choose from.
    """
    wanted = k
    while True:
        wanted *= 8
        ids, scores = search(wanted)
        good = np.isin(ids, among)
        if good.sum() >= min(k, len(among)) or len(ids) < wanted:
            return ids[good][:k], scores[good][:k]


def merged(found: Mapping[str, Hits], k: int) -> list[tuple[str, int, float]]:
    """Put the hits of several streams in one order: (stream, id, score).

    Args:
        found: Stream -> hits.
        k: How many are kept.
    """
    rows = [
        (stream, int(id_), float(score))
        for stream, (ids, scores) in found.items()
        for id_, score in zip(ids, scores, strict=True)
    ]
    return sorted(rows, key=lambda row: -row[2])[:k]
