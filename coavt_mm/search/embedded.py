"""The store in files of the index's own folder, searched with faiss.

Up to ``EXACT`` vectors a search compares with each of them; beyond, with those of the
nearest of some thousand lists (IVF). The lists' centres and which vector is in which
list are a cache beside the vectors, made anew where it is missing.

Letters: n vectors, k hits, E width, L lists.
"""

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import faiss
import numpy as np

from coavt_mm.search.rows import RowFile
from coavt_mm.search.stores import Hits, VectorStore
from coavt_mm.streams import STREAMS

EXACT = 200_000  # vectors that are compared one by one
FEW = 20_000  # so many to choose from are, too, whatever the size of the index
SAMPLES = 48  # vectors per list that its centre is learnt from
PROBED = 32  # one list of so many is looked into
GROWTH = 2  # from so many times the vectors on, centres are learnt anew
LARGEST = np.iinfo(np.uint16).max  # number of a list

EMPTY: Hits = (np.empty(0, np.int64), np.empty(0, np.float32))


class EmbeddedStore(VectorStore):
    """Vectors of an index in its folder.

    Args:
        folder: The index's.
        width: E.
        generation: How often it was compacted; files are named by it.
    """

    def __init__(self, folder: Path, width: int, generation: int):
        self.folder, self.width = folder, width
        self.dead: set[int] = set()
        self.last: int | None = None  # no limit
        self._open(generation)

    def _open(self, generation: int) -> None:
        self.generation = generation
        self.files = {stream: self._file(stream, generation) for stream in STREAMS}
        self.indexes = {s: StreamIndex(file) for s, file in self.files.items()}

    def _file(self, stream: str, generation: int) -> RowFile:
        path = self.folder / f'{stream}.{generation}.vectors'
        return RowFile(path, (self.width,))

    def restore(self, last: int, dead: Collection[int]) -> None:
        """See the base class."""
        for stream, file in self.files.items():
            file.cut(last)
            if self.indexes[stream].seen > file.count:
                self.indexes[stream] = StreamIndex(file)
        self.last, self.dead = None, set(dead)

    def see(self, last: int, dead: Collection[int]) -> None:
        """See the base class."""
        self.last, self.dead = last, set(dead)

    def add(self, stream: str, ids: np.ndarray, vectors: np.ndarray) -> None:
        """See the base class."""
        self.files[stream].append(ids, vectors)

    def remove(self, ids: Collection[int]) -> None:
        """See the base class; the records stay until :meth:`compact`."""
        self.dead.update(ids)

    def search(
        self,
        stream: str,
        vector: np.ndarray,
        k: int,
        among: np.ndarray | None = None,
    ) -> Hits:
        """See the base class."""
        if among is not None and len(among) <= FEW:
            return self._compared(stream, vector, k, among)
        self.indexes[stream].refresh(self.last)
        return self.indexes[stream].search(vector, k, among, self.dead)

    def _compared(
        self, stream: str, vector: np.ndarray, k: int, among: np.ndarray
    ) -> Hits:
        """The best of a few windows, each of which is compared."""
        if not len(among):
            return EMPTY
        scores = self.read(stream, among) @ vector
        best = np.argsort(-scores, kind='stable')[:k]
        return among[best], scores[best]

    def read(self, stream: str, ids: np.ndarray) -> np.ndarray:
        """See the base class."""
        return self.files[stream].read(ids).astype(np.float32)

    def count(self, stream: str) -> int:
        """See the base class."""
        return self.files[stream].count

    def compact(self, live: np.ndarray, generation: int) -> None:
        """See the base class."""
        for stream, file in self.files.items():
            file.rewrite(self._file(stream, generation).path, live)
        self.dead = set()
        self._open(generation)

    def prepare(self) -> None:
        """See the base class."""
        for index in self.indexes.values():
            index.refresh(self.last)


class StreamIndex:
    """What faiss holds of a stream, brought up to date with its file.

    Args:
        file: The stream's vectors.
    """

    def __init__(self, file: RowFile):
        self.file = file
        self.width = file.dtype['values'].shape[0]
        self.index: Any = None
        self.seen = 0  # records that it holds

    def search(
        self, vector: np.ndarray, k: int, among: np.ndarray | None, dead: set[int]
    ) -> Hits:
        """See :meth:`VectorStore.search`."""
        if not self.seen:
            return EMPTY
        options: dict[str, Any] = {}
        if among is not None:
            options['sel'] = faiss.IDSelectorBatch(among)
        elif dead:
            batch = faiss.IDSelectorBatch(np.fromiter(dead, np.int64))
            options['sel'] = faiss.IDSelectorNot(batch)
        kind = faiss.SearchParameters
        if hasattr(self.index, 'nprobe'):
            share = 1.0 if among is None else len(among) / self.seen
            kind, probes = faiss.SearchParametersIVF, self.index.nlist / PROBED / share
            options['nprobe'] = min(self.index.nlist, max(32, round(probes)))
        params = kind(**options)
        query = np.ascontiguousarray(vector[None], np.float32)
        scores, ids = self.index.search(query, min(k, self.seen), params=params)
        found = ids[0] >= 0
        return ids[0][found], scores[0][found]

    def refresh(self, last: int | None) -> None:
        """Take in what was written since.

        Args:
            last: The highest id that counts; None: all do.
        """
        count = self.file.count if last is None else self.file.up_to(last)
        if count == self.seen and self.index is not None:
            return
        if count <= EXACT:
            if self.index is None:
                coded = faiss.IndexScalarQuantizer(self.width, *_HALVES)
                self.index = faiss.IndexIDMap(coded)
            self._add(count)
            return
        if not hasattr(self.index, 'nprobe') or count > GROWTH * self.learnt_from:
            self._load(count)
        if self.seen < count:
            self._add(count)
            self._save()

    def _add(self, count: int) -> None:
        """The records up to ``count``."""
        for part in self.file.chunks(self.seen):
            part = part[: count - self.seen]
            values, ids = part['values'].astype(np.float32), part['id'].copy()
            if hasattr(self.index, 'nprobe'):
                self._fill(values, ids, self._lists(values))
            else:
                self.index.add_with_ids(values, ids)
            self.seen += len(part)

    # ------------------------------------------------------------------ many vectors
    @property
    def _cache(self) -> Path:
        return self.file.path.with_suffix('.lists.npz')

    def _load(self, count: int) -> None:
        """Start with the lists that the cache knows, or learn them."""
        self.index, self.seen = None, 0
        cached = self._cached(count)
        if cached is None:
            centres, self.learnt_from = self._learn(count), count
            self.assigned = np.empty(0, np.uint16)
        else:
            centres, self.assigned, self.learnt_from = cached
        flat = faiss.IndexFlatIP(self.width)
        flat.add(centres)
        self.centres = flat
        make: Any = faiss.IndexIVFScalarQuantizer  # its annotations lack the last one
        self.index = make(flat, self.width, len(centres), *_HALVES, False)
        self.index.is_trained = True
        known = self.assigned
        sizes = np.bincount(known, minlength=len(centres))
        for number, size in enumerate(sizes.tolist()):  # rooms of the right size
            self.index.invlists.resize(number, size)
            self.index.invlists.resize(number, 0)
        for part in self.file.chunks() if len(known) else ():
            lists = known[self.seen : self.seen + len(part)].astype(np.int64)
            part = part[: len(lists)]
            if not len(part):
                break
            values = part['values'].astype(np.float32)
            self._fill(values, part['id'].copy(), lists, is_new=False)
            self.seen += len(part)

    def _cached(self, count: int) -> tuple[np.ndarray, np.ndarray, int] | None:
        try:
            with np.load(self._cache) as cache:
                centres, assigned = cache['centres'], cache['assigned']
                learnt_from = int(cache['learnt_from'])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None  # none is there, or a damaged one
        fits = centres.shape[1] == self.width and len(assigned) <= count
        is_old = count > GROWTH * learnt_from
        return (centres, assigned, learnt_from) if fits and not is_old else None

    def _learn(self, count: int) -> np.ndarray:
        """Centres (L, E) float32 of vectors drawn at random."""
        number = min(LARGEST, 1 << round(np.log2(2 * count**0.5)))
        rng = np.random.default_rng(0)
        drawn = np.sort(rng.choice(count, min(count, SAMPLES * number), replace=False))
        values = np.asarray(self.file.records())['values'][drawn].astype(np.float32)
        kmeans = faiss.Kmeans(
            self.width, number, niter=8, spherical=True, seed=1,
            min_points_per_centroid=1,
        )  # fmt: skip
        kmeans.train(values)
        return np.asarray(kmeans.centroids)

    def _lists(self, values: np.ndarray) -> np.ndarray:
        _, lists = self.centres.search(values, 1)
        return lists[:, 0]

    def _fill(
        self,
        values: np.ndarray,
        ids: np.ndarray,
        lists: np.ndarray,
        is_new: bool = True,
    ) -> None:
        pointers = map(faiss.swig_ptr, (values, ids, lists))
        self.index.add_core(len(ids), *pointers)
        if is_new:
            self.assigned = np.concatenate([self.assigned, lists.astype(np.uint16)])

    def _save(self) -> None:
        """Keep the lists; where the folder is read-only, they are made anew."""
        centres = self.centres.reconstruct_n(0, self.centres.ntotal)
        part = self._cache.with_suffix(f'.{os.getpid()}.part')
        with suppress(OSError):
            with open(part, 'wb') as file:
                np.savez(
                    file,
                    centres=centres,
                    assigned=self.assigned,
                    learnt_from=self.learnt_from,
                )
            os.replace(part, self._cache)


_HALVES = (faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
