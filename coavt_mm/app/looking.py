"""A single clip: what is known of it, what the model says, what is near.

Letters: P texts, E projected width.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.apis.listing import is_manifest
from coavt_mm.app.finding import describe, described_hits, senses
from coavt_mm.app.vectors import fullest, queries
from coavt_mm.datasets.manifest import iter_manifest
from coavt_mm.errors import CoAVTError, SearchError
from coavt_mm.models.similarity import similarity, tied_order
from coavt_mm.search import Index
from coavt_mm.search.asking import FULLEST, Searcher, clip_of
from coavt_mm.search.questions import Question

CAPTIONS = 4  # windows that are captioned, from the moment on
NEAR = 6  # clips and texts shown
MOST_TEXTS = 2000  # that clips are compared with


def facts(index: Index, clip: int, question: Question | None = None) -> dict[str, Any]:
    """What the index knows of a clip.

    Args:
        index: The index.
        clip: Number of the clip.
        question: What was asked; the time line shows how well it is answered.

    Returns:
        As a hit: ``clip``, ``id``, ``seconds``, ``has_sound``, ``has_picture``, and as
        far as there are ``name``, ``sound``, ``line``; and ``labels``, ``place`` (path
        from where its folder lies), and ``window`` (s), the length that the model
        takes.

    Raises:
        SearchError: It is gone.
    """
    index.refresh()
    query = "SELECT seconds, place FROM clips WHERE id = ? AND state = 'there'"
    rows = index.catalogue.rows(query, (clip,))
    if not rows:
        raise SearchError('this clip is no longer in the index')
    found = dict(clip_of(index, clip), window=index.settings['seconds'])
    above = os.path.dirname(os.fsdecode(rows[0][1]))
    found['place'] = os.path.relpath(found['clip'], above)
    query = 'SELECT label FROM labels WHERE clip = ? ORDER BY label'
    found['labels'] = [row[0] for row in index.catalogue.rows(query, (clip,))]
    if question is None:
        return dict(found, **senses(index, clip), seconds=rows[0][0])
    describe(Searcher(index, question, FULLEST, None), found)
    return found


def window_at(index: Index, clip: int, start: float) -> tuple[int, str]:
    """The window of a clip that a moment lies in, or comes after: id, fullest stream.

    Args:
        index: The index.
        clip: Number of the clip.
        start: The moment, in s.

    Raises:
        SearchError: The clip is gone.
    """
    query = 'SELECT id, start, streams FROM windows WHERE clip = ? ORDER BY start'
    rows = index.catalogue.rows(query, (clip,))
    if not rows:
        raise SearchError('this clip is no longer in the index')
    before = [row for row in rows if (row[1] or 0.0) <= start + 0.01]
    id_, _, streams = (before or rows)[-1 if before else 0]
    return id_, fullest(streams)


def near(index: Index, clip: int, start: float, number: int = NEAR) -> list[dict]:
    """The clips most like a moment of a clip, without itself.

    Args:
        index: The index.
        clip: Number of the clip.
        start: The moment, in s.
        number: At most so many.
    """
    window, stream = window_at(index, clip, start)
    question = Question(clips=[*index.store.read(stream, np.array([window]))])
    searcher = Searcher(index, question, FULLEST, None)
    hits = described_hits(searcher, number + 1)
    return [hit for hit in hits if hit['id'] != clip][:number]


def spans(index: Index, clip: int, start: float) -> list[dict[str, Any]]:
    """Windows of a clip from a moment on, each as the model takes it.

    Args:
        index: The index.
        clip: Number of the clip.
        start: The moment, in s.
    """
    found = clip_of(index, clip)
    window, _ = window_at(index, clip, start)
    query = (
        'SELECT start, end FROM windows WHERE clip = ? AND start >= '
        '(SELECT start FROM windows WHERE id = ?) ORDER BY start'
    )
    chosen: list[tuple] = []
    for begin, end in index.catalogue.rows(query, (clip, window)):
        if not chosen or chosen[-1][1] is None or begin >= chosen[-1][1] - 0.01:
            chosen.append((begin, end))  # none that overlaps the one before
    return [
        dict(name=found['clip'], video=found['clip'], audio=found.get('sound'),
             start=begin, end=end)
        for begin, end in chosen[:CAPTIONS]
    ]  # fmt: skip


def captions(
    index: Index, model: CoAVTInferencer, clip: int, start: float
) -> list[dict[str, Any]]:
    """What the model says of a clip from a moment on; nothing if it writes nothing.

    Args:
        index: The index.
        model: Its model.
        clip: Number of the clip.
        start: The moment, in s.

    Returns:
        For each window ``text``, ``start``, ``end`` (s).

    Raises:
        ClipError: The clip can't be read.
    """
    if getattr(model.model, 'lm_head', None) is None:
        return []
    wanted = spans(index, clip, start)
    answers = model.caption(wanted, on_error='raise')
    return [caption for answer in answers for caption in answer['captions'][:1]]


def drawing(
    index: Index,
    model: CoAVTInferencer,
    clip: int,
    start: float,
    texts: Sequence[str] | None,
) -> bytes:
    """Frames, spectrogram, and where the queries look, as a PNG.

    Args:
        index: The index.
        model: Its model.
        clip: Number of the clip.
        start: The moment, in s.
        texts: That are compared with it; the map is of the query that fits the best.

    Raises:
        ClipError: The clip can't be read.
    """
    with TemporaryDirectory(prefix='coavt_drawing_') as folder:
        window = spans(index, clip, start)[0]
        options: Any = dict(out_dir=folder, texts=texts or None, on_error='raise')
        ((_, (path,)),) = model.answers(window, **options)
        return Path(path).read_bytes()


class Texts:
    """What clips are compared with: texts that are given, or the index's own.

    Args:
        index: The index; its labels, and the captions of its manifests.
        given: Texts; empty: the index's.
    """

    def __init__(self, index: Index, given: Sequence[str] = ()):
        self.index, self.given = index, list(given)
        self.known: list[str] | None = None
        self.vectors = np.empty((0, index.width), np.float32)

    def nearest(
        self, model: CoAVTInferencer, clip: int, start: float
    ) -> list[tuple[str, float]]:
        """The texts that fit a moment best, with their scores.

        Args:
            model: The index's.
            clip: Number of the clip.
            start: The moment, in s.
        """
        if self.known is None:
            self.known = self.given or self._own()
            if self.known:
                self.vectors = model.texts.embed(self.known)
        if not self.known:
            return []
        window, stream = window_at(self.index, clip, start)
        features = queries(self.index, stream, window)
        scores = similarity(self.vectors, features[None]).numpy()[:, 0]
        order = tied_order(scores)[:NEAR]
        return [(self.known[i], float(scores[i])) for i in order]

    def _own(self) -> list[str]:
        catalogue = self.index.catalogue
        query = 'SELECT label FROM labels GROUP BY label ORDER BY count(*) DESC'
        found = [row[0] for row in catalogue.rows(query)]
        for (place,) in catalogue.rows('SELECT DISTINCT place FROM clips'):
            manifest = Path(os.fsdecode(place))
            if is_manifest(manifest) and manifest.is_file():
                found += _captions(manifest)
        return list(dict.fromkeys(found))[:MOST_TEXTS]


def _captions(manifest: Path) -> list[str]:
    """Of a manifest that may have changed since it was indexed."""
    found: list[str] = []
    try:
        for row in iter_manifest(manifest, manifest.parent):
            found += row['captions'][:1]
            if len(found) >= MOST_TEXTS:
                break
    except (CoAVTError, OSError):
        return found
    return found
