"""Vectors of an index's clips.

Letters: n windows, c clips, F frames, Q queries, E projected width.
"""

from collections.abc import Sequence

import numpy as np

from coavt_mm.errors import SearchError
from coavt_mm.search import Index
from coavt_mm.search.rows import RowFile
from coavt_mm.search.stores import EMBEDDED
from coavt_mm.search.writing import first_vector
from coavt_mm.streams import STREAMS

CHUNK = 1024  # windows that are read at once


def window_vectors(index: Index, stream: str, ids: Sequence[int]) -> np.ndarray:
    """The one vector of each window: (n, E) float32.

    Args:
        index: The index.
        stream: That all of them have.
        ids: Of the windows.

    Raises:
        SearchError: They lie on a server alone, which gives none back.
    """
    if index.settings['store'] == EMBEDDED:
        path = index.folder / f'{stream}.{index.generation}.vectors'
        found = RowFile(path, (index.width,)).read(np.array(ids, np.int64))
        return found.astype(np.float32)
    file = index.features(stream)
    if file is None:
        raise SearchError('this index keeps its vectors on a server, out of reach')
    parts = [np.array(ids[i : i + CHUNK]) for i in range(0, len(ids), CHUNK)]
    return np.array([first_vector(each) for part in parts for each in file.read(part)])


def queries(index: Index, stream: str, window: int) -> np.ndarray:
    """All vectors of a window: (F, Q, E) float32.

    Args:
        index: The index.
        stream: That it has.
        window: Its id.

    Raises:
        SearchError: See :func:`window_vectors`.
    """
    file = index.features(stream)
    if file is None:
        return window_vectors(index, stream, [window])[:, None]
    return file.read(np.array([window]))[0].astype(np.float32)


def fullest(streams: int) -> str:
    """The fullest stream of a window.

    Args:
        streams: As the catalogue has it.
    """
    return next(s for i, s in enumerate(STREAMS) if streams & 1 << i)


def clip_vectors(
    index: Index, clips: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The one vector of each clip, over its windows: ids (c,), (c, E) float32 and the
    stream (c,) of its first window.

    Args:
        index: The index.
        clips: Theirs; those without windows are left out.

    Raises:
        SearchError: See :func:`window_vectors`.
    """
    wanted = set(clips)
    rows = index.catalogue.rows('SELECT id, clip, streams FROM windows ORDER BY id')
    by_stream: dict[str, list[tuple[int, int]]] = {}
    first: dict[int, str] = {}
    for window, clip, streams in rows:
        if clip in wanted:
            first.setdefault(clip, fullest(streams))
            by_stream.setdefault(fullest(streams), []).append((window, clip))
    sums: dict[int, np.ndarray] = {}
    for stream, pairs in by_stream.items():
        found = window_vectors(index, stream, [window for window, _ in pairs])
        for (_, clip), vector in zip(pairs, found, strict=True):
            sums[clip] = sums[clip] + vector if clip in sums else vector
    ids = np.array(sorted(sums), np.int64)
    vectors = np.array([sums[clip] for clip in ids.tolist()], np.float32)
    vectors = vectors.reshape(-1, index.width)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    used = np.array([first[clip] for clip in ids.tolist()], object)
    return ids, vectors / np.maximum(length, 1e-12), used
