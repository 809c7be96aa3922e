"""The matching loss: each clip with its text, against hard wrong ones (BLIP-2).

Letters used in shapes: B clips of this rank, G clips of all ranks, P pairs, Q queries,
T text tokens, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from coavt_mm.compat import renamed
from coavt_mm.errors import ConfigError
from coavt_mm.models.layers import (
    draw_negatives,
    gather_padded,
    gather_with_grad,
    global_mean,
)
from coavt_mm.models.losses import LossHead, LossInputs, Similarity, checked_streams
from coavt_mm.models.query_encoder import KeyValue
from coavt_mm.registry import MODELS
from coavt_mm.streams import STREAMS


class MatchingPairs(NamedTuple):
    """Right pairs, then wrong clips, then wrong texts: P of 3 B, those that count.

    Attributes:
        context: Keys and values of the clips, one pair per layer.
        input_ids: (P, T).
        attention_mask: (P, T).
        labels: (P,) 1 for a match, 0 for a mismatch.
    """

    context: list[KeyValue | None]
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


@MODELS.register_module()
class MatchingHead(LossHead):
    """Do the text belong to the clip? Two logits per query, averaged (BLIP-2).

    Args:
        embed_dims: Width D of the query outputs. In a CoAVT the query encoder's
            unless given, else 768.
        streams: Weight of each stream. Defaults to ``dict(AV=1)``.
        hardness: The inverse temperature of negative sampling: negatives are drawn
            with softmax(hardness * similarity) as probabilities, similarity being the
            contrastive head's, already divided by its own temperature. 1 is BLIP-2, 0
            draws evenly. Without pre-trained text weights hard negatives alone give no
            useful gradient for a long time.
        negative_streams: Streams whose similarities negatives are drawn by, one at
            random for each. With ``('AV', 'A', 'V')`` some negatives sound
            alike and some look alike, so that neither modality suffices to tell them
            apart. Streams that the contrastive head does not train are left out.
            None is the stream itself (BLIP-2).
        init_cfg: mmengine's initialisation config.
    """

    needs_negatives = True

    @renamed(mine='negative_streams')
    def __init__(
        self,
        embed_dims: int = 768,
        streams: dict[str, float] | None = None,
        hardness: float = 1.0,
        negative_streams: Sequence[str] | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if hardness < 0:
            raise ConfigError(f'MatchingHead: hardness is negative: {hardness}')
        streams = {'AV': 1.0} if streams is None else streams
        self.streams = checked_streams('MatchingHead', streams)
        unknown = set(negative_streams or ()) - set(STREAMS)
        if unknown:
            raise ConfigError(
                f'MatchingHead: negative_streams names {", ".join(sorted(unknown))}; '
                f'streams are {", ".join(STREAMS)}'
            )
        self.hardness, self.negative_streams = hardness, negative_streams
        self.embed_dims = embed_dims
        self.fc = nn.Linear(embed_dims, 2)

    def forward(self, hidden: Float[Tensor, 'P Q D']) -> Float[Tensor, 'P 2']:
        """Query outputs of pairs (P, Q, D) -> logits (P, 2); column 1 is 'match'."""
        return self.fc(hidden).float().mean(1)

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """``loss_matching_*`` of each stream; ``matching_acc_*`` to watch."""
        losses = {}
        for stream, weight in self.streams.items():
            *pair, labels = self.pairs(batch, stream)
            logits = self(batch.model.query_encoder.encode_pair(*pair))
            loss, accuracy = self.loss(logits, labels)
            losses[f'loss_matching_{stream}'] = weight * loss
            losses[f'matching_acc_{stream}'] = accuracy
        return losses

    def loss(
        self, logits: Float[Tensor, 'P 2'], labels: Int[Tensor, ' P']
    ) -> tuple[Float[Tensor, ''], Float[Tensor, '']]:
        """Cross-entropy and accuracy over the pairs of all ranks.

        Args:
            logits: (P, 2).
            labels: (P,) 1 for a match, 0 for a mismatch.

        Returns:
            Loss and accuracy, scalars.
        """
        losses = F.cross_entropy(logits, labels, reduction='none')
        correct = (logits.argmax(1) == labels).float()
        return global_mean(losses), global_mean(correct)

    def negative_logits(
        self, stream: str, similarity: dict[str, Similarity]
    ) -> Similarity | None:
        """Logits by which the negatives of a stream are drawn.

        Args:
            stream: The stream that is matched.
            similarity: Those of the contrastive head.

        Returns:
            Two (B, G) matrices, in which each row is that of one stream; None
            where the contrastive head trains none of them.
        """
        names = [s for s in self.negative_streams or (stream,) if s in similarity]
        if not names:
            return None
        rows = []
        for direction in zip(*(similarity[name] for name in names), strict=True):
            every = torch.stack(direction)  # (streams, B, G)
            picked = torch.randint(len(names), every.shape[1:2], device=every.device)
            own = torch.arange(every.shape[1], device=every.device)
            rows.append(self.hardness * every[picked, own])
        return Similarity(*rows)

    def pairs(self, batch: LossInputs, stream: str) -> MatchingPairs:
        """One positive and two hard negatives per clip, drawn from all ranks."""
        encoder, state = batch.model.query_encoder, batch.states[stream]
        text, valid = (batch.input_ids, batch.attention_mask), batch.valid[stream]
        logits = self.negative_logits(stream, batch.similarity)
        to_text, to_clip = logits or (None, None)
        allowed = ~batch.same & batch.all_valid[stream]
        clip_index, found = draw_negatives(to_clip, allowed)
        text_index, _ = draw_negatives(to_text, allowed)
        usable = valid & found
        wrong_text = [gather_padded(part)[text_index[usable]] for part in text]
        wrong_clips = gather_with_grad(batch.tokens[stream])[clip_index[usable]]
        wrong = encoder.project_context(wrong_clips)
        context = [
            _with_negatives(pos, neg, valid, usable)
            for pos, neg in zip(state.context, wrong, strict=True)
        ]
        ids, mask = (
            torch.cat([_widen(part[valid], wrong), _widen(part[usable], wrong), wrong])
            for part, wrong in zip(text, wrong_text, strict=True)
        )
        labels = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
        labels[: len(ids) - 2 * len(wrong_text[0])] = 1
        return MatchingPairs(context, ids, mask, labels)


def _with_negatives(
    right: KeyValue | None, wrong: KeyValue | None, valid: Tensor, usable: Tensor
) -> KeyValue | None:
    """A layer's keys and values of right clips, wrong ones, right ones once more."""
    if right is None or wrong is None:
        return None
    keys, values = (
        torch.cat([r[valid], w, r[usable]]) for r, w in zip(right, wrong, strict=True)
    )
    return keys, values


def _widen(short: Tensor, like: Tensor) -> Tensor:
    """Pad (B, T) with zeros to the width of another."""
    return F.pad(short, (0, like.shape[1] - short.shape[1]))
