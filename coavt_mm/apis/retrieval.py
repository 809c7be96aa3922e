"""Clips for texts, and texts for clips."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from coavt_mm.apis.answering import place_of
from coavt_mm.apis.inputs import WINDOWS, as_texts, check_number, is_clip
from coavt_mm.apis.listing import is_strict
from coavt_mm.errors import ClipError, InputError
from coavt_mm.models.similarity import similarity, texts_for, tied_order
from coavt_mm.streams import STREAMS

if TYPE_CHECKING:
    from coavt_mm.apis.inferencer import CoAVTInferencer

LOGIT_TOLERANCE = 1e-5  # the last bits of a logit are worth more than a cosine's


@dataclass
class _Pair:
    """A text and the window of a clip that fits it best."""

    text: int
    clip: int
    similarity: float
    window: dict
    stream: str
    match_logit: float | None = None

    def plain(self) -> dict:
        scores = dict(similarity=self.similarity)
        if self.match_logit is not None:
            scores['match_logit'] = self.match_logit
        return dict(scores, **place_of(self.window), stream=self.stream)


@dataclass
class _Clip:
    """One of the clips: a pair with each text, or why there is none."""

    name: str
    pairs: list[_Pair]
    error: str = ''


def retrieve(
    inferencer: 'CoAVTInferencer',
    query: Any,
    candidates: Any,
    *,
    topk: int = 10,
    stream: str | None = None,
    rerank: int = 0,
    batch_size: int = WINDOWS,
    windows: bool = True,
    on_error: str | None = None,
) -> list[dict]:
    """Find the clips that texts speak of, or the texts that speak of clips.

    Strings are clips where they are existing paths, addresses or end as media files
    do, and texts otherwise.

    Args:
        query: Texts and ``candidates`` clips, or clips and ``candidates`` texts; one or
            several of each, clips also as a folder.
        candidates: See ``query``.
        topk: Hits per query.
        stream: Rank by 'AV', 'A' or 'V'. Default: by the fullest stream that each clip
            has.
        rerank: So many best hits are ranked anew by matching logit + similarity,
            which has the head's ``similarity_weight`` (BLIP-2: 1); 0 leaves the
            similarity alone.
        batch_size, windows, on_error: See :func:`~coavt_mm.apis.tasks.embed`. Of a long
            clip the best window counts.

    Returns:
        For each query ``query`` (text or name) and ``hits``, best first:
        dicts with ``rank`` (from 1), ``candidate`` (name or text), ``index`` among the
        candidates, ``similarity`` (-1 ... 1), ``start``, ``end`` (s), ``stream``, and
        after re-ranking ``match_logit``. Similarities within 1e-6 of each other count
        as tied and go in the order of the candidates, see :func:`tied_order`. A query
        that can't be read has ``error`` and no hits; candidates that can't be read are
        in ``errors``, dicts with ``candidate``, ``index`` and ``error``.

    Raises:
        InputError: Not one side clips and the other texts, or see :func:`embed`.
        ClipError: A clip can't be read, or lacks the ``stream``, and ``on_error`` is
            'raise'.
        ConfigError: The model has no part for this.
    """
    _check(inferencer, topk, stream, rerank)
    with_text = _asks_with_text(query, candidates)
    texts = as_texts(query if with_text else candidates)
    lost = inferencer.texts.lost(texts)
    side = candidates if with_text else query
    answers = inferencer.answers(
        side, None, batch_size, on_error, windows=windows, keep_tokens=bool(rerank)
    )
    strict = is_strict(on_error, side)
    clips = _scored(answers, inferencer.texts.embed(texts), stream, strict)
    names = [clip.name for clip in clips] if with_text else texts

    def hits(pairs: list[_Pair]) -> list[dict]:
        ranked = _ranked(inferencer, pairs, texts, rerank)[:topk]
        places = [pair.clip if with_text else pair.text for pair in ranked]
        return [
            dict(rank=rank, candidate=names[index], index=index, **pair.plain())
            | ({} if with_text else lost[index])
            for rank, (index, pair) in enumerate(zip(places, ranked, strict=True), 1)
        ]

    if with_text:
        return _by_text(texts, lost, clips, hits)
    return [
        dict(query=clip.name, hits=hits(clip.pairs))
        | (dict(error=clip.error) if clip.error else {})
        for clip in clips
    ]


def _check(
    inferencer: 'CoAVTInferencer', topk: int, stream: str | None, rerank: int
) -> None:
    inferencer.require('contrastive_head', 'embed')
    if rerank:
        inferencer.require('matching_head', 're-rank')
    check_number('topk', topk, 1)
    check_number('rerank', rerank, 0)
    if stream not in (None, *STREAMS):
        raise InputError(f"stream must be 'AV', 'A' or 'V', not {stream!r}")


def _by_text(
    texts: Sequence[str],
    lost: Sequence[dict],
    clips: Sequence[_Clip],
    hits: Callable[[list[_Pair]], list[dict]],
) -> list[dict]:
    """A query per text; ``errors`` says which clips it is not compared with."""
    errors = [
        dict(candidate=clip.name, index=index, error=clip.error)
        for index, clip in enumerate(clips)
        if clip.error
    ]
    more = dict(errors=errors) if errors else {}
    return [
        dict(
            query=text,
            hits=hits([c.pairs[i] for c in clips if c.pairs]),
            **more,
            **lost[i],
        )
        for i, text in enumerate(texts)
    ]


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


def _scored(
    answers: Iterable[tuple[dict, list]],
    feats: np.ndarray,
    stream: str | None,
    strict: bool,
) -> list[_Clip]:
    """Score clips as they come; of their features nothing is kept."""
    clips = []
    for index, (found, _) in enumerate(answers):
        windows = [w for w in found['windows'] if stream in (None, *w['streams'])]
        if windows:
            pairs = _pairs(windows, index, feats, stream)
            clips.append(_Clip(found['clip'], pairs))
            continue
        lack = (
            f'{found["clip"]}: has no stream {stream}, only '
            f'{", ".join(found["streams"])}; leave `stream` out to rank each clip by '
            'what it has'
        )
        clips.append(_Clip(found['clip'], [], found.get('error', lack)))
        if strict:
            raise ClipError(clips[-1].error)
    return clips


def _pairs(
    windows: list[dict], index: int, feats: np.ndarray, stream: str | None
) -> list[_Pair]:
    """A clip with each text (P, E) or (P, 3, E), by the window that fits it best."""
    used = [stream or window['streams'][0] for window in windows]
    scores = np.stack([
        similarity(texts_for(feats, s), window.pop('embeddings')[s]).numpy()
        for window, s in zip(windows, used, strict=True)
    ])  # (windows, P)  # fmt: skip
    best = [tied_order(column)[0] for column in scores.T]
    return [
        _Pair(text, index, float(scores[b, text]), windows[b], used[b])
        for text, b in enumerate(best)
    ]


def _ranked(
    inferencer: 'CoAVTInferencer', pairs: list[_Pair], texts: Sequence[str], rerank: int
) -> list[_Pair]:
    """Best first; the ``rerank`` best anew with the matching logit."""
    order = tied_order(np.array([pair.similarity for pair in pairs]))
    if rerank:
        front = np.sort(order[:rerank])  # ties go in the order given again
        _add_logits(inferencer, [pairs[i] for i in front], texts)
        weight = inferencer.model.matching_head.similarity_weight
        logits = np.array([pairs[i].match_logit for i in front])
        scores = logits + weight * np.array([pairs[i].similarity for i in front])
        order[:rerank] = front[tied_order(scores, LOGIT_TOLERANCE)]
    return [pairs[i] for i in order]


def _add_logits(
    inferencer: 'CoAVTInferencer', pairs: Sequence[_Pair], texts: Sequence[str]
) -> None:
    ids = inferencer.texts.tokens(texts)
    for pair in pairs:
        tokens = torch.from_numpy(pair.window['tokens'][pair.stream])
        pair.match_logit = float(inferencer.texts.match(tokens, [ids[pair.text]])[0, 1])
