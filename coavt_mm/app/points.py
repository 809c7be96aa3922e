"""The map: where the clips of an index lie to each other, in two dimensions.

Letters: c clips, E projected width.
"""

import os
from importlib.util import find_spec
from typing import Any

import numpy as np

from coavt_mm.app.vectors import clip_vectors
from coavt_mm.search import Index
from coavt_mm.search.questions import Question

MOST = 10_000  # clips that are drawn; of more, so many by chance


def methods() -> list[str]:
    """What maps can be drawn with here."""
    return ['PCA', 'UMAP'] if find_spec('umap') else ['PCA']


def flat(vectors: np.ndarray, method: str = 'PCA') -> np.ndarray:
    """Lay vectors down: (c, 2), each axis from 0 to 1.

    Args:
        vectors: (c, E).
        method: 'PCA', or 'UMAP' where its package is installed.
    """
    if len(vectors) < 3:
        return np.linspace(0.25, 0.75, 2 * len(vectors)).reshape(-1, 2)
    if method == 'UMAP' and len(vectors) > 15:  # its neighbours
        from umap import UMAP

        found = UMAP(metric='cosine', random_state=0).fit_transform(vectors)
    else:
        centred = vectors - vectors.mean(0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        turned = np.sign(axes[:, np.abs(axes).argmax(1)].diagonal())  # always the same
        found = centred @ (axes * turned[:, None])[:2].T
    low, high = found.min(0), found.max(0)
    return (found - low) / np.maximum(high - low, 1e-9)


class Map:
    """The points of an index; computed once for each state of it.

    Args:
        index: The index.
    """

    def __init__(self, index: Index):
        self.index = index
        self.state: Any = None
        self.places: dict[str, np.ndarray] = {}

    def points(
        self, method: str = 'PCA', label: str = '', question: Question | None = None
    ) -> dict[str, Any]:
        """What is drawn.

        Args:
            method: See :func:`flat`.
            label: Clips that have it stand out.
            question: Clips that fit it stand out, where there is no label.

        Returns:
            ``ids``, ``names``, ``x``, ``y`` (0 ... 1), ``shade`` (0 ... 1; None: all
            alike), ``legend``, ``all`` (clips of the index).

        Raises:
            SearchError: See :func:`coavt_mm.app.vectors.window_vectors`.
        """
        self._look()
        if method not in self.places:
            self.places[method] = flat(self.vectors, method)
        x, y = self.places[method].T.round(4).tolist()
        shade, legend = self._shade(label, question)
        return dict(
            ids=self.ids.tolist(), names=self.names, x=x, y=y, shade=shade,
            legend=legend, all=self.all,
        )  # fmt: skip

    def _look(self) -> None:
        """Read what is in the index now."""
        self.index.refresh()
        state = self.index.version, self.index.generation
        if state == self.state:
            return
        catalogue = self.index.catalogue
        query = "SELECT id, path, name FROM clips WHERE state = 'there' ORDER BY id"
        rows = catalogue.rows(query)
        self.all = len(rows)
        if len(rows) > MOST:
            drawn = np.random.default_rng(0).choice(len(rows), MOST, replace=False)
            rows = [rows[i] for i in sorted(drawn.tolist())]
        names = {i: name or os.path.basename(os.fsdecode(p)) for i, p, name in rows}
        self.ids, self.vectors, self.streams = clip_vectors(self.index, [*names])
        self.names = [names[clip] for clip in self.ids.tolist()]
        self.state, self.places = state, {}

    def _shade(
        self, label: str, question: Question | None
    ) -> tuple[list[float] | None, str]:
        if label:
            query = 'SELECT clip FROM labels WHERE label = ?'
            having = self.index.catalogue.ids(query, (label,))
            shade = np.isin(self.ids, having).astype(float)
            told = f'{int(shade.sum()):,} clips are labelled “{label}”'
            return shade.tolist(), told
        if question is None or not len(self.ids):
            return None, ''
        scores = np.zeros(len(self.ids))
        for stream in {*self.streams}:
            own = self.streams == stream
            scores[own] = self.vectors[own] @ question.vector(stream)
        low, high = np.quantile(scores, (0.5, 1.0))  # the half that fits least is alike
        shade = np.clip((scores - low) / max(float(high - low), 1e-9), 0, 1)
        asked = ' + '.join(question.words) or 'the file'
        told = f'the better a clip fits “{asked}”, the more orange it is'
        return shade.round(3).tolist(), told
