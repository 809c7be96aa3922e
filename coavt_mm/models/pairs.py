"""The pairs that matching learns from: each clip with its text, and hard wrong ones."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from coavt_mm.models.heads import Similarity
from coavt_mm.models.layers import draw_negatives, gather_padded, gather_with_grad
from coavt_mm.models.query_encoder import KeyValue, QueryEncoder, QueryState


class MatchingPairs(NamedTuple):
    """Right pairs, then wrong clips, then wrong texts: P of 3 B, those that count.

    Attributes:
        context (list[KeyValue | None]): Keys and values of the clips, a layer.
        input_ids (Tensor): (P, T).
        attention_mask (Tensor): (P, T).
        labels (Tensor): (P,) 1 for a match, 0 for a mismatch.
    """

    context: list[KeyValue | None]
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def matching_pairs(
    encoder: QueryEncoder,
    tokens: Tensor,
    state: QueryState,
    text: tuple[Tensor, Tensor],
    mining: Similarity | None,
    same: Tensor,
    valid: Tensor,
) -> MatchingPairs:
    """One positive and two hard negatives a sample, drawn from all ranks (BLIP-2).

    Args:
        encoder (QueryEncoder): Projects the tokens of the drawn clips.
        tokens (Tensor): (B, N, D) of one stream.
        state (QueryState): Of the same tokens; its keys and values are reused.
        text (tuple[Tensor, Tensor]): Token ids and mask, each (B, T).
        mining (Similarity, optional): Logits to draw by; None draws evenly.
        same (Tensor): (B, G) bool, pairs that belong together.
        valid (Tensor): (B,) bool, samples of this rank that take part.

    Returns:
        MatchingPairs: The pairs.
    """
    allowed = ~same & gather_with_grad(valid)
    to_text, to_clip = (None, None) if mining is None else mining
    clip_index, found = draw_negatives(to_clip, allowed)
    text_index, _ = draw_negatives(to_text, allowed)
    usable = valid & found
    wrong_text = [gather_padded(part)[text_index[usable]] for part in text]
    negatives = encoder.project_context(gather_with_grad(tokens)[clip_index[usable]])
    context = [
        tuple(
            torch.cat([p[valid], n, p[usable]]) for p, n in zip(pos, neg, strict=True)
        )
        if pos is not None
        else None
        for pos, neg in zip(state.context, negatives, strict=True)
    ]
    ids, mask = (
        torch.cat([_widen(part[valid], wrong), _widen(part[usable], wrong), wrong])
        for part, wrong in zip(text, wrong_text, strict=True)
    )
    labels = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
    labels[: len(ids) - 2 * len(wrong_text[0])] = 1
    return MatchingPairs(context, ids, mask, labels)


def _widen(short: Tensor, like: Tensor) -> Tensor:
    """Pad (B, T) with zeros to the width of another."""
    return pad(short, (0, like.shape[1] - short.shape[1]))
