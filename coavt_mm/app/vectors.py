"""Vectors of an index's clips, wherever they lie.

Letters: c clips, n windows, F frames, Q queries, E projected width.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter

import numpy as np

from coavt_mm.search import Index
from coavt_mm.streams import STREAMS

CHUNK = 1024  # windows, or half a thousand clips, that are asked for at once
MOST_WINDOWS = 64  # of a clip that count for its one vector; of more, each so-manieth


def queries(index: Index, stream: str, window: int) -> np.ndarray:
    """All vectors of a window: (F, Q, E) float32.

    Args:
        index: The index.
        stream: That it has.
        window: Its id.
    """
    file, ids = index.features(stream), np.array([window])
    if file is None:
        return index.store.read(stream, ids)[:, None]
    return file.read(ids)[0].astype(np.float32)


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
        SearchError: The store lacks some, or can't be reached.
    """
    rows = list(_windows(index, clips))
    ids = np.unique(np.array([clip for clip, _, _ in rows], np.int64))
    places = np.searchsorted(ids, [clip for clip, _, _ in rows])
    windows = np.array([window for _, window, _ in rows], np.int64)
    streams = np.array([fullest(bits) for _, _, bits in rows], object)
    vectors = np.zeros((len(ids), index.width), np.float32)
    for stream in {*streams}:
        own = np.flatnonzero(streams == stream)
        for part in np.split(own, range(CHUNK, len(own), CHUNK)):
            np.add.at(vectors, places[part], index.store.read(stream, windows[part]))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    first = np.unique(places, return_index=True)[1]
    return ids, vectors / np.maximum(length, 1e-12), streams[first]


def _windows(index: Index, clips: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Clip, id and streams of the windows that count."""
    left = iter(sorted(clips))
    while part := list(islice(left, CHUNK // 2)):
        marks = ','.join('?' * len(part))
        rows = index.catalogue.rows(
            f'SELECT clip, id, streams FROM windows WHERE clip IN ({marks}) '
            'ORDER BY clip, id',
            part,
        )
        for _, group in groupby(rows, itemgetter(0)):
            own = list(group)
            step = max(1.0, len(own) / MOST_WINDOWS)
            yield from (own[int(i * step)] for i in range(min(len(own), MOST_WINDOWS)))
