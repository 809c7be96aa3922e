"""Clips for texts, and texts for clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coavt_mm.errors import ClipError, InputError
from coavt_mm.models.layers import STREAMS

from .inferencer import CoAVTInferencer
from .inputs import as_texts, check_number, is_clip
from .session import Model, get_model


@dataclass
class _Pair:
    """A text and the window of a clip that fits it best."""

    text: int
    clip: int
    similarity: float
    window: dict
    stream: str
    match_logit: float | None = None

    @property
    def score(self) -> float:
        return self.similarity + (self.match_logit or 0.0)

    def plain(self) -> dict:
        place = dict(start=self.window['start'], end=self.window['end'])
        scores = dict(similarity=self.similarity)
        if self.match_logit is not None:
            scores['match_logit'] = self.match_logit
        return dict(scores, **place, stream=self.stream)


def retrieve(
    query: Any,
    candidates: Any,
    *,
    topk: int = 10,
    stream: str | None = None,
    rerank: int = 0,
    model: Model | None = None,
    batch_size: int = 8,
    windows: bool = True,
) -> list[dict]:
    """Find the clips that texts speak of, or the texts that speak of clips.

    Strings are clips where they are existing paths, addresses or end as media files
    do, and texts otherwise.

    Args:
        query: Texts and ``candidates`` clips, or clips and ``candidates`` texts; one or
            several of each, clips also as a folder.
        candidates: See ``query``.
        topk (int): Hits a query.
        stream (str, optional): Rank by 'AV', 'A' or 'V'. Default: by the fullest stream
            that each clip has.
        rerank (int): So many best hits are ranked anew by matching logit + similarity
            (BLIP-2); 0 leaves the similarity alone.
        model, batch_size, windows: See :func:`embed`. Of a long clip the best window
            counts.

    Returns:
        list[dict]: For each query ``query`` (text or name) and ``hits``, best first:
        dicts with ``rank`` (from 1), ``candidate`` (name or text), ``index`` among the
        candidates, ``similarity`` (-1 ... 1), ``start``, ``end`` (s), ``stream``, and
        after re-ranking ``match_logit``.

    Raises:
        InputError: Not one side clips and the other texts, or see :func:`embed`.
        ClipError: A clip can't be read, or lacks the ``stream``.
        ConfigError: The model has no part for this.
    """
    inferencer = get_model(model)
    inferencer.require('contrastive_head', 'embed')
    if rerank:
        inferencer.require('matching_head', 're-rank')
    check_number('topk', topk, 1)
    check_number('rerank', rerank, 0)
    if stream not in (None, *STREAMS):
        raise InputError(f"stream must be 'AV', 'A' or 'V', not {stream!r}")
    with_text = _asks_with_text(query, candidates)
    texts = as_texts(query if with_text else candidates)
    options = dict(batch_size=batch_size, windows=windows, keep_tokens=bool(rerank))
    clips = inferencer(candidates if with_text else query, **options)['predictions']
    table = _pairs(inferencer, clips, texts, stream)
    names = [clip['clip'] for clip in clips]
    if not with_text:
        table = [list(row) for row in zip(*table, strict=True)]
    answers = []
    for name, pairs in zip(texts if with_text else names, table, strict=True):
        pairs = sorted(pairs, key=lambda pair: -pair.score)
        if rerank:
            _add_logits(inferencer, pairs[:rerank], texts)
            best = sorted(pairs[:rerank], key=lambda pair: -pair.score)
            pairs = best + pairs[rerank:]
        hits = []
        for rank, pair in enumerate(pairs[:topk], 1):
            index = pair.clip if with_text else pair.text
            candidate = names[index] if with_text else texts[index]
            hits.append(
                dict(rank=rank, candidate=candidate, index=index, **pair.plain())
            )
        answers.append(dict(query=name, hits=hits))
    return answers


def _asks_with_text(query: Any, candidates: Any) -> bool:
    """Whether the query is the side with the texts; one side must be."""
    found = _is_text(query, 'query'), _is_text(candidates, 'candidates')
    if found[0] == found[1]:
        kind = 'texts' if found[0] else 'clips'
        raise InputError(
            f'query and candidates are both {kind}; one side must be clips (existing '
            'paths, addresses, arrays), the other texts'
        )
    return found[0]


def _is_text(value: Any, what: str) -> bool:
    """Whether one side is texts; a mixture is refused."""
    if value is None or isinstance(value, int | float):
        raise InputError(f'{what} must be clips or texts, not a {type(value).__name__}')
    if not isinstance(value, list | tuple):
        return not is_clip(value)
    if not value:
        raise InputError(f'{what}: the list is empty')
    kinds = {is_clip(item) for item in value}
    if len(kinds) > 1:
        text = next(item for item in value if not is_clip(item))
        raise InputError(f'{what} mixes clips and texts; {text!r} is no existing clip')
    return not kinds.pop()


def _pairs(
    inferencer: CoAVTInferencer,
    clips: list[dict],
    texts: Sequence[str],
    stream: str | None,
) -> list[list[_Pair]]:
    """Each text (rows) with each clip (columns), by the clip's best window."""
    feats = inferencer.texts.embed(texts)
    columns = []
    for index, clip in enumerate(clips):
        usable = [w for w in clip['windows'] if stream in (None, *w['streams'])]
        if not usable:
            raise ClipError(
                f'{clip["clip"]}: has no stream {stream}, only '
                f'{", ".join(clip["streams"])}; leave `stream` out to rank each clip '
                'by what it has'
            )
        used = [stream or window['streams'][0] for window in usable]
        scores = np.stack([
            (window['embeddings'][s] @ feats.T).max(1).mean(0)
            for window, s in zip(usable, used, strict=True)
        ])  # (windows, P)  # fmt: skip
        best = scores.argmax(0)
        columns.append([
            _Pair(t, index, float(scores[b, t]), usable[b], used[b])
            for t, b in enumerate(best)
        ])  # fmt: skip
    return [list(row) for row in zip(*columns, strict=True)]


def _add_logits(
    inferencer: CoAVTInferencer, pairs: Sequence[_Pair], texts: Sequence[str]
) -> None:
    ids = inferencer.texts.tokens(texts)
    for pair in pairs:
        tokens = pair.window['tokens'][pair.stream]
        pair.match_logit = float(inferencer.texts.match(tokens, [ids[pair.text]])[0, 1])
