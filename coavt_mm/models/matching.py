"""The matching loss: each clip with its text, against hard wrong ones (BLIP-2).

Letters used in shapes: B clips of this rank, G clips of all ranks, P pairs, Q queries,
T text tokens, D width.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from mmengine.dist import get_world_size
from torch import Tensor, nn

from coavt_mm.compat import renamed
from coavt_mm.errors import ConfigError
from coavt_mm.models.chunks import in_chunks
from coavt_mm.models.exchange import fetch_rows
from coavt_mm.models.layers import draw_negatives, gather_padded, global_mean
from coavt_mm.models.losses import LossHead, LossInputs, Similarity, checked_streams
from coavt_mm.models.query_encoder import KeyValue
from coavt_mm.registry import MODELS
from coavt_mm.streams import STREAMS


class MatchingPairs(NamedTuple):
    """Right pairs, then wrong clips, then wrong texts: P = 3 R of the stream's rows.

    Attributes:
        contexts: Keys and values of the clips of each third, one pair per layer; with
            the model's ``grad_cache`` the tokens of the clips (R, N, D).
        input_ids: (P, T).
        attention_mask: (P, T).
        labels: (P,) 1 for a match, 0 for a mismatch.
        counted: (P,) bool, whether the caption is about the clip, and another clip or
            text was there to draw.
        similarity: (P,) cosine of the best query, without gradient; None where it has
            no say.
    """

    contexts: list[list[KeyValue | None] | Tensor]
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    counted: Tensor
    similarity: Tensor | None


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
        similarity_weight: Of the similarity when the best by it are ranked again, by
            matching logit + weight * similarity. 1 is BLIP-2; one over the contrastive
            temperature gives both the scale of logits.
        similarity_offset: The similarity that speaks neither for nor against a match.
            With it, a pair is judged as it is ranked: ``similarity_weight *
            (similarity - similarity_offset)`` is added to the log odds, in the loss as
            well, so that the head learns what the similarity leaves open; its bias
            learns how far the offset is off. None judges by the head alone, as BLIP-2
            does.
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
        similarity_weight: float = 1.0,
        similarity_offset: float | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if not 0 <= similarity_weight < math.inf:
            raise ConfigError(
                f'MatchingHead: similarity_weight={similarity_weight} is no weight'
            )
        if similarity_offset is not None and not -1 <= similarity_offset <= 1:
            raise ConfigError(
                f'MatchingHead: similarity_offset={similarity_offset} is no cosine, '
                'from -1 to 1'
            )
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
        self.similarity_weight = similarity_weight
        self.similarity_offset = similarity_offset
        self.embed_dims = embed_dims
        self.fc = nn.Linear(embed_dims, 2)

    def forward(self, hidden: Float[Tensor, 'P Q D']) -> Float[Tensor, 'P 2']:
        """Query outputs of pairs (P, Q, D) -> logits (P, 2); column 1 is 'match'."""
        return self.fc(hidden).float().mean(1)

    def with_similarity(
        self, logits: Float[Tensor, 'P 2'], similarity: Float[Tensor, ' P'] | None
    ) -> Float[Tensor, 'P 2']:
        """Logits that judge pairs: the head's, and what the similarity says.

        Args:
            logits: (P, 2), mean over the frames.
            similarity: (P,) cosine of the best query, mean over the frames; needed
                where there is a ``similarity_offset``.

        Raises:
            ConfigError: It is needed and not given.
        """
        if self.similarity_offset is None:
            return logits
        if similarity is None:
            raise ConfigError(
                f'similarity_offset={self.similarity_offset} of the matching_head: '
                'pairs are judged by tokens and similarity, and tokens alone were '
                'given; `texts.pairs` of the inferencer makes both'
            )
        more = self.similarity_weight * (similarity - self.similarity_offset)
        return torch.stack([logits[:, 0], logits[:, 1] + more], 1)

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """``loss_matching_*`` of each stream; ``matching_acc_*`` to watch."""
        losses = {}
        for stream, weight in self.streams.items():
            contexts, ids, mask, labels, counted, similarity = self.pairs(batch, stream)
            logits = self._logits(batch.model, contexts, ids, mask)
            logits = self.with_similarity(logits, similarity)
            loss, accuracy = self.loss(logits, labels, counted)
            losses[f'loss_matching_{stream}'] = weight * loss
            losses[f'matching_acc_{stream}'] = accuracy
            right = logits.argmax(1) == labels
            batch.answers[stream] = torch.stack([right, counted])
        return losses

    def _logits(
        self, model: Any, contexts: Any, ids: Tensor, mask: Tensor
    ) -> Float[Tensor, 'P 2']:
        """Logits of :class:`MatchingPairs`."""
        encoder = model.query_encoder
        if model.grad_cache is None:
            return self(encoder.encode_pairs(contexts, ids, mask))

        def some(right: Tensor, wrong: Tensor, *text: Tensor) -> Tensor:
            text = tuple(x.transpose(0, 1).flatten(0, 1) for x in text)  # (3 R, T)
            own, other = map(encoder.project_context, (right, wrong))
            logits = self(encoder.encode_pairs([own, other, own], *text))
            return logits.unflatten(0, (3, -1)).transpose(0, 1)  # (R, 3, 2)

        text = (x.unflatten(0, (3, -1)).transpose(0, 1) for x in (ids, mask))
        logits = in_chunks(some, model.grad_cache, *contexts[:2], *text)
        return logits.transpose(0, 1).flatten(0, 1)

    def loss(
        self,
        logits: Float[Tensor, 'P 2'],
        labels: Int[Tensor, ' P'],
        counted: Bool[Tensor, ' P'] | None = None,
    ) -> tuple[Float[Tensor, ''], Float[Tensor, '']]:
        """Cross-entropy and accuracy over the pairs of all ranks.

        Args:
            logits: (P, 2).
            labels: (P,) 1 for a match, 0 for a mismatch.
            counted: (P,) bool, the pairs that count. All when not given.

        Returns:
            Loss and accuracy, scalars.
        """
        losses = F.cross_entropy(logits, labels, reduction='none')
        correct = (logits.argmax(1) == labels).float()
        return global_mean(losses, counted), global_mean(correct, counted)

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
        logits = self.negative_logits(stream, batch.similarity)
        to_text, to_clip = logits or (None, None)
        allowed = ~batch.same & batch.all_valid[stream]
        clip_index, found = draw_negatives(to_clip, allowed)
        text_index, _ = draw_negatives(to_text, allowed)
        clip_index, text_index, valid, usable = (
            batch.take(stream, x)
            for x in (clip_index, text_index, batch.valid[stream], found)
        )
        text = batch.input_ids, batch.attention_mask
        wrong_text = [gather_padded(part)[text_index] for part in text]
        right = batch.states[stream].context
        wrong = self._wrong_context(batch, stream, clip_index)
        ids, mask = (
            torch.cat([own, own, other])
            for part, other in zip(text, wrong_text, strict=True)
            for own in [_widen(batch.take(stream, part), other)]
        )
        labels = valid.new_zeros(len(ids), dtype=torch.long)
        labels[: len(valid)] = 1
        counted = torch.cat([valid, valid & usable, valid & usable])
        similarity = self._similarity(batch, stream, clip_index, text_index)
        return MatchingPairs(
            [right, wrong, right], ids, mask, labels, counted, similarity
        )

    def _similarity(
        self, batch: LossInputs, stream: str, clip_index: Tensor, text_index: Tensor
    ) -> Tensor | None:
        """That of :class:`MatchingPairs`; the indices (R,) are among all ranks."""
        if self.similarity_offset is None:
            return None
        own = batch.features.clips[stream], batch.features.texts
        clip, text = (batch.take(stream, x.detach()) for x in own)
        wrong_clip = batch.all_clips[stream].detach().index_select(0, clip_index)
        wrong_text = batch.all_texts.detach().index_select(0, text_index)
        clips = torch.cat([clip, wrong_clip, clip])
        texts = torch.cat([text, text, wrong_text])
        with torch.autocast(clips.device.type, enabled=False):
            return torch.einsum('pqe,pe->pq', clips, texts).amax(-1)

    @staticmethod
    def _wrong_context(
        batch: LossInputs, stream: str, index: Tensor
    ) -> list[KeyValue | None] | Tensor:
        """Keys and values, or tokens, of the drawn clips (R,) of all ranks."""
        context = batch.states[stream].context
        if get_world_size() > 1:
            tokens = fetch_rows(batch.tokens[stream], index)
            if isinstance(context, Tensor):
                return tokens
            return batch.model.query_encoder.project_context(tokens)
        rows = batch.rows.get(stream)
        if rows is not None:  # where among the rows that were read
            place = torch.arange(len(rows), device=index.device)
            index = batch.spread(stream, place).index_select(0, index)
        if isinstance(context, Tensor):
            return context.index_select(0, index)
        return [  # they were computed for the queries
            kv and (kv[0].index_select(0, index), kv[1].index_select(0, index))
            for kv in context
        ]


def _widen(short: Tensor, like: Tensor) -> Tensor:
    """Pad (B, T) with zeros to the width of another."""
    return F.pad(short, (0, like.shape[1] - short.shape[1]))
