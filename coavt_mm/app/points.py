"""The map: where the clips of an index lie to each other, in two dimensions.

Letters: c clips, E projected width.
"""

import os
import threading
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from coavt_mm.app.cards import is_picture
from coavt_mm.app.vectors import clip_vectors
from coavt_mm.errors import SearchError, shown
from coavt_mm.search import Index
from coavt_mm.search.questions import Question

MOST = 10_000  # clips that are drawn; of more, so many by chance
NEIGHBOURS = 15  # UMAP's; a map of no more clips is PCA's


def methods() -> list[str]:
    """What maps can be drawn with here."""
    try:
        version('umap-learn')  # there are other packages with a module `umap`
    except PackageNotFoundError:
        return ['PCA']
    return ['PCA', 'UMAP']


def flat(vectors: np.ndarray, method: str = 'PCA') -> np.ndarray:
    """Lay vectors down: (c, 2), each axis from 0 to 1.

    Args:
        vectors: (c, E).
        method: 'PCA', or 'UMAP' where its package is installed.

    Raises:
        SearchError: That package can't be loaded.
    """
    if len(vectors) < 3:
        return np.linspace(0.25, 0.75, 2 * len(vectors)).reshape(-1, 2)
    if method == 'UMAP' and len(vectors) > NEIGHBOURS:
        found = _umap(vectors)
    else:
        centred = vectors - vectors.mean(0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        turned = np.sign(axes[:, np.abs(axes).argmax(1)].diagonal())  # always the same
        found = centred @ (axes * turned[:, None])[:2].T
    low, high = found.min(0), found.max(0)
    return (found - low) / np.maximum(high - low, 1e-9)


def _umap(vectors: np.ndarray) -> np.ndarray:
    try:
        from umap import UMAP
    except (ImportError, AttributeError, OSError) as error:  # numba beside new NumPy
        raise SearchError(f'umap-learn can not be loaded: {error}') from error
    options: Any = dict(n_neighbors=NEIGHBOURS, metric='cosine')
    return UMAP(**options, random_state=0, n_jobs=1).fit_transform(vectors)


@dataclass(frozen=True)
class Clips:
    """What is drawn of a state of an index.

    Args:
        state: Of the index.
        ids: (c,).
        names: Of the clips.
        vectors: (c, E).
        streams: (c,); whose vectors they are.
        kinds: Id -> 'img' or 'audio' of those that are no films.
        all: Clips of the index.
    """

    state: Any
    ids: np.ndarray
    names: list[str]
    vectors: np.ndarray
    streams: np.ndarray
    kinds: dict[int, str]
    all: int


class Map:
    """The points of an index; computed once for each state of it.

    Args:
        index: The index. :meth:`clips` and :meth:`points` ask it, :meth:`places`
            doesn't: it may take a minute, and another thread.
    """

    def __init__(self, index: Index):
        self.index = index
        self.lock = threading.Lock()
        self.seen: Clips | None = None
        self.laid: dict[tuple[Any, str], np.ndarray] = {}

    def clips(self) -> Clips:
        """What is in the index now.

        Raises:
            SearchError: See :func:`coavt_mm.app.vectors.clip_vectors`.
        """
        self.index.refresh()
        state = self.index.version, self.index.generation
        if self.seen is not None and state == self.seen.state:
            return self.seen
        query = "SELECT id, path, name FROM clips WHERE state = 'there' ORDER BY id"
        rows = self.index.catalogue.rows(query)
        all_ = len(rows)
        if len(rows) > MOST:
            drawn = np.random.default_rng(0).choice(len(rows), MOST, replace=False)
            rows = [rows[i] for i in sorted(drawn.tolist())]
        names = {
            i: shown(name or os.path.basename(os.fsdecode(p))) for i, p, name in rows
        }
        ids, vectors, streams = clip_vectors(self.index, [*names])
        known = [names[clip] for clip in ids.tolist()]
        kinds = dict.fromkeys(ids[streams == 'A'].tolist(), 'audio')
        paths = {i: os.fsdecode(path) for i, path, _ in rows}
        kinds |= {i: 'img' for i, path in paths.items() if is_picture(dict(clip=path))}
        self.seen = Clips(state, ids, known, vectors, streams, kinds, all_)
        return self.seen

    def places(self, clips: Clips, method: str = 'PCA') -> np.ndarray:
        """Where they lie: (c, 2), from 0 to 1.

        Args:
            clips: The clips.
            method: See :func:`flat`.
        """
        with self.lock:
            key = clips.state, method
            if key not in self.laid:
                newest = {k: v for k, v in self.laid.items() if k[0] == clips.state}
                self.laid = {**newest, key: flat(clips.vectors, method)}
            return self.laid[key]

    def points(
        self,
        clips: Clips,
        places: np.ndarray,
        label: str = '',
        question: Question | None = None,
    ) -> dict[str, Any]:
        """What is drawn.

        Args:
            clips: The clips.
            places: Theirs.
            label: Clips that have it stand out.
            question: Clips that fit it stand out, where there is no label.

        Returns:
            ``ids``, ``names``, ``x``, ``y`` (0 ... 1), ``shade`` (0 ... 1; None: all
            alike), ``kinds`` (of what is no film), ``legend``, ``all`` (clips of the
            index).
        """
        x, y = places.T.round(4).tolist()
        shade, legend = self._shade(clips, label, question)
        return dict(
            ids=clips.ids.tolist(), names=clips.names, x=x, y=y, shade=shade,
            kinds={str(i): kind for i, kind in clips.kinds.items()}, legend=legend,
            all=clips.all,
        )  # fmt: skip

    def _shade(
        self, clips: Clips, label: str, question: Question | None
    ) -> tuple[list[float] | None, str]:
        if label:
            query = 'SELECT clip FROM labels WHERE label = ?'
            having = self.index.catalogue.ids(query, (label,))
            shade = np.isin(clips.ids, having).astype(float)
            told = f'{int(shade.sum()):,} clips are labelled “{label}”'
            return shade.tolist(), told
        if question is None or not len(clips.ids):
            return None, ''
        scores = np.zeros(len(clips.ids))
        for stream in {*clips.streams}:
            own = clips.streams == stream
            scores[own] = clips.vectors[own] @ question.vector(stream)
        low, high = np.quantile(scores, (0.5, 1.0))  # the half that fits least is alike
        shade = np.clip((scores - low) / max(float(high - low), 1e-9), 0, 1)
        asked = ' + '.join(question.words) or 'the file'
        told = f'the better a clip fits “{asked}”, the more orange it is'
        return shade.round(3).tolist(), told
