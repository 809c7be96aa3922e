"""What tells whether a pre-training is well: spread of features, similarities, answers.

A step only keeps what its losses were made of; the numbers are computed when somebody
asks, on the device. Letters: B clips of this rank, G of all ranks, Q queries,
E projected width, P pairs.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coavt_mm.models.layers import MIN_TEMPERATURE, gather_with_grad

if TYPE_CHECKING:
    from coavt_mm.models.losses import LossInputs

#: Kinds of pairs in the order in which the matching head gets them.
PAIRS = ('positive', 'negative_clip', 'negative_text')


@dataclass(frozen=True, eq=False)
class Watched:
    """What the losses of a step were made of, without gradients.

    Attributes:
        texts: (B, E), or None without a contrastive head.
        clips: Stream -> (B, Q, E).
        similarity: Stream -> (B, G), divided by the temperature.
        temperature: A scalar, or None without a contrastive head.
        same: (B, G) bool, pairs that belong together.
        valid: Stream -> (B,) bool, the clips that count.
        all_valid: Stream -> (G,) bool.
        answers: Stream -> (2, P) bool, see ``LossInputs``.
    """

    texts: Tensor | None
    clips: dict[str, Tensor]
    similarity: dict[str, Tensor]
    temperature: Tensor | None
    same: Any
    valid: dict[str, Tensor]
    all_valid: dict[str, Tensor]
    answers: dict[str, Tensor]


def watched(batch: 'LossInputs') -> Watched:
    """Keep what there is to look at, of what the losses have computed anyway.

    Args:
        batch: Of a step, its losses computed.
    """
    known = batch.computed
    features, similar = known.get('features'), known.get('similarity', {})
    temperature = getattr(batch.model.contrastive_head, 'temperature', None)
    return Watched(
        texts=None if features is None else features.texts.detach(),
        clips={s: x.detach() for s, x in features.clips.items()} if features else {},
        similarity={s: x.a_to_b.detach() for s, x in similar.items()},
        temperature=None if temperature is None else temperature.detach().clone(),
        same=known.get('same'),
        valid=dict(batch.valid),
        all_valid=dict(known.get('all_valid', {})),
        answers={s: x.detach() for s, x in batch.answers.items()},
    )


def spread(features: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """How far, and in how many directions, features vary over a batch.

    Args:
        features: (G, E), L2-normalised.
        counted: (G,) bool.

    Returns:
        Variance: the mean squared distance from the mean feature, from 0 (all are
        equal) to 1. Effective rank: the participation ratio of the covariance's
        eigenvalues, sum squared over sum of squares, from 1 to the lower one of E and
        G - 1; 0 where nothing varies. Both NaN where less than two features count.
    """
    weight = counted.to(features.dtype)[:, None]
    number = weight.sum()
    number = number.where(number > 1, torch.nan)
    centred = (features - (features * weight).sum(0) / number) * weight
    total = centred.square().sum()
    squares = (centred.T @ centred).square().sum()
    return total / number, total.square() / squares.clamp_min(1e-20)


def spreads(seen: Watched) -> dict[str, Tensor]:
    """:func:`spread` of texts and of each stream's clips, of all ranks.

    All ranks must call it.

    Args:
        seen: Of a step.

    Returns:
        Scalars: ``variance/text``, ``rank/text``, ``variance/AV`` and so on.
    """
    if seen.texts is None:
        return {}
    parts = {'text': (seen.texts, torch.ones_like(seen.texts[:, 0]))}
    for stream, feats in seen.clips.items():
        parts[stream] = normalize(feats.mean(1), dim=-1), seen.valid[stream]
    columns = [x for feats, valid in parts.values() for x in (feats, valid[:, None])]
    every = gather_with_grad(torch.cat([x.float() for x in columns], 1))
    every = every.split([x.shape[1] for x in columns], 1)
    found = {}
    for i, name in enumerate(parts):
        pair = spread(every[2 * i], every[2 * i + 1][:, 0] > 0)
        found[f'variance/{name}'], found[f'rank/{name}'] = pair
    return found


def similarity_sums(seen: Watched) -> dict[str, Tensor]:
    """Cosines of pairs that belong together and that don't, this rank's clips first.

    Args:
        seen: Of a step.

    Returns:
        ``similarity/AV/positive``, ``.../negative`` and so on -> (2,): sum and number.
    """
    sums: dict[str, Tensor] = {}
    if seen.temperature is None:
        return sums
    temperature = seen.temperature.float().clamp_min(MIN_TEMPERATURE)
    for stream, logits in seen.similarity.items():
        counted = seen.valid[stream][:, None] & seen.all_valid[stream]
        cosines = logits.float() * temperature
        for name, pairs in (('positive', seen.same), ('negative', ~seen.same)):
            chosen = (counted & pairs).float()
            sums[f'similarity/{stream}/{name}'] = torch.stack(
                [(cosines * chosen).sum(), chosen.sum()]
            )
    return sums


def answer_sums(stream: str, answers: Tensor) -> dict[str, Tensor]:
    """Right answers of the matching head by kind of pair.

    Args:
        stream: That was matched.
        answers: (2, P) bool, see ``LossInputs.answers``.

    Returns:
        ``matching/AV/positive`` and so on -> (2,): right answers, and all.
    """
    right, counted = answers.unflatten(1, (len(PAIRS), -1))
    sums = torch.stack([(right & counted).sum(1), counted.sum(1)], 1).float()
    return {f'matching/{stream}/{k}': x for k, x in zip(PAIRS, sums, strict=True)}
