"""Search as the page shows it: hits with what their cards need."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.search import Filters, Index
from coavt_mm.search.asking import FULLEST, Searcher
from coavt_mm.search.questions import Question, make_question
from coavt_mm.search.reranking import reranked
from coavt_mm.streams import STREAMS

SAMPLE = 400  # windows that tell what a stream's scores usually are
CLEARLY = 0.5  # by so many standard deviations one stream found more than another

Usual = dict[str, tuple[float, float]]  # stream -> mean and deviation of its scores


@dataclass
class Found:
    """Hits, and what they answer.

    Args:
        hits: As :func:`coavt_mm.search.asking.ask` gives them, described by
            :func:`describe`, with ``found_by``: 'A', 'V' or '' (both, or one only).
        question: What was asked.
        notes: What of the words the model doesn't read.
    """

    hits: list[dict]
    question: Question
    notes: list[str] = field(default_factory=list)


def find(
    index: Index,
    model: CoAVTInferencer,
    text: str | None = None,
    stream: str = FULLEST,
    topk: int = 12,
    filters: Filters | None = None,
    moments: bool = False,
    rerank: int = 0,
    **clips: Any,
) -> Found:
    """Search.

    Args:
        index: The index.
        model: That it was made with.
        text: Words.
        stream: By what to rank, as :func:`coavt_mm.search.asking.ask` has it.
        topk: Hits wanted.
        filters: Which clips are asked.
        moments: Whether hits are spans of time.
        rerank: So many best hits are read again, and ranked anew by matching with the
            words.
        **clips: ``sound``, ``picture``, ``clip``: files.

    Raises:
        InputError, ClipError, SearchError: See there.
        ConfigError: The model can't match.
    """
    question = make_question(model, text, **clips)
    searcher = Searcher(index, question, stream, filters)
    notes = []
    if unknown := question.lost.get('unknown_words'):
        notes.append(f'The model does not know: {", ".join(unknown)}.')
    if cut := question.lost.get('cut_off'):
        notes.append(f'Longer than the model reads; it left out “{cut}”.')
    hits = described_hits(searcher, topk, moments)
    if rerank and text is None:
        notes.append(
            'Not re-ranked: that compares clips with words, and none are given.'
        )
    elif rerank:
        hits = reranked(model, question.words[0], hits, rerank)
    return Found(hits, question, notes)


def described_hits(searcher: Searcher, topk: int, moments: bool = False) -> list[dict]:
    """Hits with what cards show.

    Args:
        searcher: With the question.
        topk: Hits wanted.
        moments: Whether they are spans of time.
    """
    hits = searcher.hits(topk, moments)
    usual = _usual(searcher) if hits else {}
    for hit in hits:
        hit['found_by'] = _found_by(hit['scores'], usual)
        describe(searcher, hit)
    return hits


def describe(searcher: Searcher, hit: dict) -> None:
    """Add what a card shows of a clip.

    Args:
        searcher: With the question.
        hit: With ``id``. Gets ``seconds`` (length; None: not known), ``has_sound``,
            ``has_picture``, and where there are several windows ``line``: begin in s
            and score of each.
    """
    catalogue = searcher.index.catalogue
    query = 'SELECT seconds FROM clips WHERE id = ?'
    hit['seconds'] = catalogue.value(query, (hit['id'],))
    hit.update(senses(searcher.index, hit['id']))
    count = 'SELECT count(*) FROM windows WHERE clip = ?'
    if 'line' not in hit and catalogue.value(count, (hit['id'],)) > 1:
        windows = searcher.windows_of(hit['id'])
        hit['line'] = [[w.start, w.similarity] for w in windows]


def senses(index: Index, clip: int) -> dict[str, bool]:
    """``has_sound`` and ``has_picture``.

    Args:
        index: The index.
        clip: Number of the clip.
    """
    query = 'SELECT DISTINCT streams FROM windows WHERE clip = ?'
    bits = [row[0] for row in index.catalogue.rows(query, (clip,))]
    sound, picture = (1 << STREAMS.index(stream) for stream in 'AV')
    return dict(
        has_sound=any(each & sound for each in bits),
        has_picture=any(each & picture for each in bits),
    )


def _usual(searcher: Searcher) -> Usual:
    """What windows score that have nothing to do with the question."""
    drawn = searcher.drawn(SAMPLE)
    found = {}
    for stream in 'AV':
        scores = [w.scores[stream] for w in drawn if stream in w.scores]
        if scores:
            found[stream] = float(np.mean(scores)), float(np.std(scores))
    return found


def _found_by(scores: dict[str, float], usual: Usual) -> str:
    """The stream that stands out more from its usual scores; '' where none does."""
    if 'A' not in scores or 'V' not in scores:
        return ''
    heard, seen = (
        (scores[stream] - usual[stream][0]) / max(usual[stream][1], 1e-9)
        for stream in 'AV'
    )
    if abs(heard - seen) < CLEARLY:
        return ''
    return 'A' if heard > seen else 'V'
