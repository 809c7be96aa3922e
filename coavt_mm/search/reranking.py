"""The best hits are read again, and the matching head compares them with the text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.apis.retrieval import LOGIT_TOLERANCE
from coavt_mm.models.similarity import tied_order


def reranked(
    model: CoAVTInferencer, text: str, hits: Sequence[dict], number: int
) -> list[dict]:
    """Rank the first hits anew by matching logit + similarity, each of the best window.

    The similarity has the head's ``similarity_weight``.

    Args:
        model: With a matching head.
        text: What was asked.
        hits: Best first.
        number: So many of them; those that can't be read any more get ``error``, and
            come behind the others.

    Raises:
        ConfigError: The model has no matching head.
    """
    model.require('matching_head', 're-rank')
    front, rest = list(hits[:number]), list(hits[number:])
    ids = model.texts.tokens([text])
    answers = model.answers(
        [_clip(hit) for hit in front], on_error='keep', keep_tokens=True
    )
    for hit, (answer, _) in zip(front, answers, strict=True):
        found = [w for w in answer['windows'] if hit['stream'] in w['tokens']]
        if not found:
            hit['error'] = answer.get('error', f'has no stream {hit["stream"]} now')
            continue
        tokens = [torch.from_numpy(w['tokens'][hit['stream']]) for w in found]
        hit['match_logit'] = max(
            float(model.texts.match(each, ids)[0, 1]) for each in tokens
        )
    good = [hit for hit in front if 'match_logit' in hit]
    weight = model.model.matching_head.similarity_weight
    scores = np.array([hit['match_logit'] + weight * hit['similarity'] for hit in good])
    order = tied_order(scores, LOGIT_TOLERANCE)
    return [good[i] for i in order] + [h for h in front if 'error' in h] + rest


def _clip(hit: dict) -> dict[str, Any]:
    span = dict(start=hit['start'], end=hit['end'])
    return dict(name=hit['clip'], video=hit['clip'], audio=hit.get('sound'), **span)
