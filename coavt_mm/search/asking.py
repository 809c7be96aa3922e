"""Ask an index: first by one vector for each window, then by all queries of the best.

Letters: n windows, F frames, Q queries, E projected width.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.apis.inputs import check_number
from coavt_mm.errors import InputError, SearchError
from coavt_mm.models.similarity import tied_order
from coavt_mm.search.filters import Filters
from coavt_mm.search.index import Index
from coavt_mm.search.questions import Question, make_question
from coavt_mm.search.stores import merged
from coavt_mm.streams import STREAMS

# Windows that the first stage hands to the second, and per hit wanted. The mean of the
# queries ranks nearly as the best query does: `docs/search.md` has what is lost.
CANDIDATES, PER_HIT = 500, 50

FULLEST, BEST = 'fullest', 'best'


def ask(
    index: Index,
    model: CoAVTInferencer,
    text: str | None = None,
    *,
    sound: Any = None,
    picture: Any = None,
    clip: Any = None,
    stream: str = FULLEST,
    topk: int = 10,
    filters: Filters | None = None,
    rerank: int = 0,
    moments: bool = False,
    candidates: int | None = None,
) -> dict:
    """Search an index by words, sound, picture, clip, or several of these at once.

    Args:
        index: The index.
        model: That it was made with.
        text: Words.
        sound: A clip whose sound is meant, see :func:`make_question`.
        picture: A picture, or a clip whose picture is meant.
        clip: A clip; the score is the mean over all that is given.
        stream: Rank by 'AV', 'A' or 'V'; by the 'best' of those that a window has; or
            by the 'fullest'.
        topk: Hits wanted.
        filters: Which clips are asked.
        rerank: So many best hits are read again, and ranked anew by matching logit +
            similarity; needs a text.
        moments: Whether to say when: hits are spans of neighbouring windows that
            answer, and a clip may have several.
        candidates: Windows that the second stage compares. Default: 500, or 50 for
            each hit.

    Returns:
        ``query`` (str), and ``hits``, best first: dicts with ``rank``, ``clip`` (path),
        ``id`` (in the index), ``name`` (in its manifest, where it has one), ``start``,
        ``end`` (s) of the best window or of the moment, ``stream``, ``similarity`` (the
        model's cosine), ``scores`` (stream -> similarity, of that window), and after
        re-ranking ``match_logit``, or ``error`` where the clip can't be read any more.
        What of a text the model doesn't read is in ``unknown_words`` and ``cut_off``.

    Raises:
        InputError: An option is wrong.
        SearchError: The index is of another model, or damaged.
        ClipError: What is asked with can't be read.
    """
    check_number('topk', topk, 1)
    check_number('rerank', rerank, 0)
    if stream not in (FULLEST, BEST, *STREAMS):
        raise InputError(f"stream must be AV, A, V, 'best' or 'fullest', not {stream}")
    if rerank and text is None:
        raise InputError('rerank compares clips with a text, and none is given')
    index.check_model(model)
    question = make_question(model, text, sound, picture, clip)
    searcher = Searcher(index, question, stream, filters)
    hits = searcher.hits(topk, moments, candidates)
    if rerank:
        from coavt_mm.search.reranking import reranked

        hits = reranked(model, question.words[0], hits, rerank)
    for rank, hit in enumerate(hits, 1):
        hit.update(rank=rank)
    given = [*question.words, *(str(x) for x in (sound, picture, clip) if x)]
    return dict(query=' + '.join(given), hits=hits, **question.lost)


def _fresh(index: Index, search: Callable[[], list[dict]]) -> list[dict]:
    """Search what is there now; once more, if it was compacted meanwhile."""
    index.refresh()
    generation = index.generation
    try:
        return search()
    except SearchError:
        index.refresh()
        if index.generation == generation:
            raise
        return search()


@dataclass
class Scored:
    """A window that may answer."""

    id: int
    clip: int
    start: float
    end: float | None
    stream: str
    similarity: float
    scores: dict[str, float]


class Searcher:
    """One question to one index.

    Args:
        index: The index.
        question: The question.
        stream: By what to rank.
        filters: Which clips are asked.
    """

    def __init__(
        self, index: Index, question: Question, stream: str, filters: Filters | None
    ):
        self.index, self.question = index, question
        self.stream, self.filters = stream, filters

    def hits(
        self, topk: int, moments: bool = False, candidates: int | None = None
    ) -> list[dict]:
        """Answers, best first, without ``rank``: see :func:`ask`.

        Args:
            topk: Hits wanted.
            moments: Whether to say when.
            candidates: Windows that the second stage compares.
        """
        number = candidates or max(CANDIDATES, PER_HIT * topk)

        def search() -> list[dict]:
            windows = self.best_of_clips(topk, number)
            if not moments:
                return [self.hit(window) for window in windows]
            from coavt_mm.search.moments import moments_of

            return moments_of(self, windows)[:topk]

        return _fresh(self.index, search)

    def windows_of(self, clip: int) -> list[Scored]:
        """All windows of a clip, compared, in the order of time.

        Args:
            clip: The clip's id.
        """
        query = 'SELECT id FROM windows WHERE clip = ?'
        ids = self.index.catalogue.ids(query, (clip,)).tolist()
        return sorted(self.scored(ids), key=lambda window: window.start)

    def drawn(self, number: int) -> list[Scored]:
        """Windows drawn at random, compared: what those score that don't answer.

        Args:
            number: At most so many.
        """
        last = self.index.catalogue.last_window
        ids = np.arange(1, last + 1)
        if last > number:
            ids = np.unique(np.random.default_rng(0).integers(1, last + 1, number))
        return self.scored(ids.tolist())

    def best_of_clips(self, topk: int, candidates: int) -> list[Scored]:
        """The best window of each clip, best first.

        Args:
            topk: Clips wanted.
            candidates: Windows that are compared; more, where they are of few clips.
        """
        choices = self._choices()
        while True:
            first = {
                stream: self.index.store.search(
                    stream, self.question.vector(stream), candidates, among
                )
                for stream, among in choices.items()
            }
            rows = merged(first, candidates)
            scored = self.scored(list({id_ for _, id_, _ in rows}))
            best: dict[int, Scored] = {}
            for window in scored:
                best.setdefault(window.clip, window)
            if len(best) >= topk or len(rows) < candidates:
                return list(best.values())[:topk]
            candidates *= 4

    def _choices(self) -> dict[str, np.ndarray | None]:
        """Stream -> ids of the windows that are ranked by it; None: all it has."""
        if self.stream in STREAMS:
            return {self.stream: self._among(self.stream, f'& {_bit(self.stream)}')}
        if self.stream == BEST:
            return {s: self._among(s, f'& {_bit(s)}') for s in self.index.shapes}
        found = {}
        for stream in self.index.shapes:
            if stream == 'AV':
                found[stream] = self._among(stream, f'& {_bit(stream)}')
            else:  # only where there is none other
                found[stream] = self.index.window_ids(self.filters, f'= {_bit(stream)}')
        return found

    def _among(self, stream: str, streams: str) -> np.ndarray | None:
        if self.filters is None or not self.filters.sql()[0]:
            return None
        return self.index.window_ids(self.filters, streams)

    def scored(self, ids: Sequence[int]) -> list[Scored]:
        """Compare windows with all queries; those that are no more are left out.

        Args:
            ids: Theirs.

        Returns:
            Best first.
        """
        rows = []
        for part in (ids[i : i + 900] for i in range(0, len(ids), 900)):
            marks = ','.join('?' * len(part))
            query = 'SELECT id, clip, start, end, streams FROM windows WHERE id IN'
            rows += self.index.catalogue.rows(f'{query} ({marks})', part)
        rows.sort()
        scores = self.stream_scores(rows)
        found = []
        for id_, clip, start, end, _ in rows:
            own = {s: scores[s][id_] for s in STREAMS if id_ in scores.get(s, ())}
            used = self._used(own)
            if used is not None:
                found.append(Scored(id_, clip, start, end, used, own[used], own))
        order = tied_order(np.array([window.similarity for window in found]))
        return [found[i] for i in order]

    def _used(self, own: dict[str, float]) -> str | None:
        """The stream that a window is ranked by."""
        if self.stream == BEST:
            return max(own, key=lambda s: own[s])
        if self.stream == FULLEST:
            return next(iter(own))
        return self.stream if self.stream in own else None

    def stream_scores(self, rows: Sequence[tuple]) -> dict[str, dict[int, float]]:
        """Stream -> id -> similarity.

        Args:
            rows: (id, ..., streams) of the windows.
        """
        found: dict[str, dict[int, float]] = {}
        for stream in self.index.shapes:
            ids = [row[0] for row in rows if row[-1] & _bit(stream)]
            if ids:
                scores = self._exact(stream, np.array(ids, np.int64))
                found[stream] = dict(zip(ids, scores.tolist(), strict=True))
        return found

    def _exact(self, stream: str, ids: np.ndarray) -> np.ndarray:
        file = self.index.features(stream)
        if file is not None:
            parts = [
                self.question.scores(
                    file.read(ids[i : i + 4096]).astype(np.float32), stream
                )
                for i in range(0, len(ids), 4096)
            ]
            return np.concatenate(parts)
        # of one vector the first stage is exact
        vector = self.question.vector(stream)
        found, scores = self.index.store.search(stream, vector, len(ids), ids)
        place = dict(zip(found.tolist(), scores, strict=True))
        return np.array([place[id_] for id_ in ids.tolist()])

    def hit(self, window: Scored) -> dict:
        """A window as an answer.

        Args:
            window: The window.
        """
        return dict(
            clip_of(self.index, window.clip),
            start=window.start,
            end=window.end,
            stream=window.stream,
            similarity=window.similarity,
            scores=window.scores,
        )


def clip_of(index: Index, clip: int) -> dict:
    """``clip`` (path), ``id``, and as far as it has them ``name`` and ``sound``.

    Args:
        index: The index.
        clip: The clip's id.
    """
    query = 'SELECT path, sound, name FROM clips WHERE id = ?'
    ((path, sound, name),) = index.catalogue.rows(query, (clip,))
    found: dict[str, Any] = dict(clip=os.fsdecode(path), id=clip)
    if sound:
        found['sound'] = os.fsdecode(sound)
    if name:
        found['name'] = name
    return found


def _bit(stream: str) -> int:
    return 1 << STREAMS.index(stream)
