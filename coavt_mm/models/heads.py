"""Loss heads of pre-training: contrastive, matching, language modelling.

Each head names the streams it works on and their weights; a weight of 0 switches a
stream off, and so does leaving the head out of the model.

Letters used in shapes: B clips of this rank, G clips of all ranks, Q queries,
T text tokens, D width, E projected width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from coavt_mm.errors import ConfigError
from coavt_mm.models.layers import global_mean
from coavt_mm.registry import MODELS
from coavt_mm.streams import STREAMS


def checked_streams(head: str, streams: dict[str, float]) -> dict[str, float]:
    """The streams of positive weight.

    Raises:
        ConfigError: If a name or a weight makes no sense.
    """
    for stream, weight in streams.items():
        if stream not in STREAMS:
            raise ConfigError(
                f"{head}: unknown stream {stream!r}, expected one of 'AV', 'A', 'V'"
            )
        if weight < 0:
            raise ConfigError(f'{head}: the weight of {stream} is negative: {weight}')
    return {s: float(w) for s, w in streams.items() if w > 0}


class Similarity(NamedTuple):
    """Scaled similarities of this rank's items with all ranks' items.

    Attributes:
        clip_to_text (Tensor): (B, G).
        text_to_clip (Tensor): (B, G).
    """

    clip_to_text: Tensor
    text_to_clip: Tensor


def pool_tokens(tokens: Tensor) -> Tensor:
    """(..., N, D) tokens -> their mean (..., D), L2-normalised."""
    return F.normalize(tokens.mean(-2).float(), dim=-1)


def contrastive_loss(
    similarity: Similarity,
    same: Tensor,
    valid: Tensor,
    all_valid: Tensor,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy in both directions, averaged; positives share the target evenly.

    Args:
        similarity (Similarity): Two (B, G) matrices.
        same (Tensor): (B, G) bool, pairs that belong together.
        valid (Tensor): (B,) bool, samples of this rank that take part.
        all_valid (Tensor): (G,) bool, samples of all ranks that take part.
        label_smoothing (float): Share of the target that all samples get.

    Returns:
        Tensor: Scalar.
    """
    positives = (same & all_valid).float()
    target = positives / positives.sum(1, keepdim=True).clamp_min(1)
    even = all_valid.float() / all_valid.sum().clamp_min(1)
    target = (1 - label_smoothing) * target + label_smoothing * even
    losses = []
    for logits in similarity:
        logits = logits.masked_fill(~all_valid, torch.finfo(logits.dtype).min)
        losses.append(-(target * logits.log_softmax(1)).sum(1))
    return global_mean(sum(losses) / 2, valid)


@MODELS.register_module()
class ContrastiveHead(BaseModule):
    """Clip-text contrastive loss; similarity is the best of the queries (BLIP-2).

    AV-T is the foundation of CoAVT, A-T and V-T are added on top of it; the three
    share the projections and the temperature.

    Clips with the same id and clips that carry the same caption are positives of
    each other and share the target evenly; with no duplicates in the batch this is
    BLIP-2's loss to the digit.

    Args:
        embed_dims (int): Width D of the query outputs. Defaults to 768.
        text_dims (int, optional): Width of the text states. Defaults to D.
        proj_dims (int): Projected width E. Defaults to 256.
        temperature (float): Initial temperature, learnable; it divides. Defaults to
            0.07.
        label_smoothing (float): Defaults to 0.1.
        streams (dict[str, float]): Weight of each alignment. Defaults to
            ``dict(AV=1, A=1, V=1)``.
        init_cfg (dict, optional): mmengine's initialisation config.
    """

    def __init__(
        self,
        embed_dims: int = 768,
        text_dims: int | None = None,
        proj_dims: int = 256,
        temperature: float = 0.07,
        label_smoothing: float = 0.1,
        streams: dict[str, float] | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        streams = dict.fromkeys(STREAMS, 1.0) if streams is None else streams
        self.streams = checked_streams('ContrastiveHead', streams)
        self.label_smoothing = label_smoothing
        self.query_proj = nn.Linear(embed_dims, proj_dims)
        self.text_proj = nn.Linear(text_dims or embed_dims, proj_dims)
        self.temperature = nn.Parameter(torch.tensor(float(temperature)))

    def project_queries(self, hidden: Tensor) -> Tensor:
        """(B, Q, D) -> (B, Q, E), L2-normalised."""
        return F.normalize(self.query_proj(hidden).float(), dim=-1)

    def project_text(self, text_hidden: Tensor) -> Tensor:
        """Text states (B, T, text_dims) -> the [CLS] feature (B, E), L2-normalised."""
        return F.normalize(self.text_proj(text_hidden[:, 0]).float(), dim=-1)

    def similarity(
        self,
        query_feats: Tensor,
        text_feats: Tensor,
        all_query_feats: Tensor,
        all_text_feats: Tensor,
    ) -> Similarity:
        """Similarities divided by the temperature.

        Args:
            query_feats (Tensor): (B, Q, E) of this rank.
            text_feats (Tensor): (B, E) of this rank.
            all_query_feats (Tensor): (G, Q, E) of all ranks.
            all_text_feats (Tensor): (G, E) of all ranks.

        Returns:
            Similarity: Two (B, G) matrices.
        """
        clip_to_text = torch.einsum('bqe,ge->bgq', query_feats, all_text_feats)
        text_to_clip = torch.einsum('be,gqe->bgq', text_feats, all_query_feats)
        # the floor keeps a run-away temperature from turning into inf
        scale = 1 / self.temperature.float().clamp_min(1e-3)
        return Similarity(clip_to_text.amax(-1) * scale, text_to_clip.amax(-1) * scale)

    def loss(
        self, similarity: Similarity, same: Tensor, valid: Tensor, all_valid: Tensor
    ) -> Tensor:
        """Smoothed cross-entropy in both directions; see :func:`contrastive_loss`."""
        return contrastive_loss(
            similarity, same, valid, all_valid, self.label_smoothing
        )


@MODELS.register_module()
class AVContrastiveHead(BaseModule):
    """Contrast of sound and picture on the encoder's mean tokens (CAV-MAE).

    It has no parameters: a checkpoint fits whether or not it was trained with it.

    Args:
        weight (float): Of the loss; 0 switches it off. Defaults to 0.
        temperature (float): Divides the cosines. Defaults to 0.05, CAV-MAE's.
        init_cfg (dict, optional): mmengine's initialisation config.
    """

    def __init__(
        self,
        weight: float = 0.0,
        temperature: float = 0.05,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if temperature <= 0:
            raise ConfigError(
                f'AVContrastiveHead: temperature must be above 0, got {temperature}'
            )
        self.weight, self.temperature = weight, temperature
        self.streams = checked_streams('AVContrastiveHead', dict(A=weight, V=weight))

    def similarity(
        self, audio: Tensor, visual: Tensor, all_audio: Tensor, all_visual: Tensor
    ) -> Similarity:
        """Cosines of mean tokens divided by the temperature.

        Args:
            audio (Tensor): (B, D) of this rank.
            visual (Tensor): (B, D) of this rank.
            all_audio (Tensor): (G, D) of all ranks.
            all_visual (Tensor): (G, D) of all ranks.

        Returns:
            Similarity: Two (B, G) matrices, sound to picture and picture to sound.
        """
        return Similarity(
            audio @ all_visual.T / self.temperature,
            visual @ all_audio.T / self.temperature,
        )

    def loss(
        self, similarity: Similarity, same: Tensor, valid: Tensor, all_valid: Tensor
    ) -> Tensor:
        """Cross-entropy in both directions, averaged; see :func:`contrastive_loss`."""
        return contrastive_loss(similarity, same, valid, all_valid)


@MODELS.register_module()
class MatchingHead(BaseModule):
    """Does the text belong to the clip? Two logits a query, averaged (BLIP-2).

    Args:
        embed_dims (int): Width D of the query outputs. Defaults to 768.
        streams (dict[str, float]): Weight of each stream. Defaults to
            ``dict(AV=1)``.
        hardness (float): Negatives are drawn with softmax(hardness * similarity / its
            temperature) as probabilities: 1 is BLIP-2, 0 draws evenly. Without
            pre-trained text weights hard negatives alone teach nothing for long.
            Defaults to 1.
        mine (Sequence[str], optional): Streams whose similarities negatives are drawn
            by, one at random for each. With ``('AV', 'A', 'V')`` some negatives sound
            alike and some look alike, so that neither sense suffices to tell them
            apart. Streams that the contrastive head does not train are left out.
            None is the stream itself (BLIP-2).
        init_cfg (dict, optional): mmengine's initialisation config.
    """

    def __init__(
        self,
        embed_dims: int = 768,
        streams: dict[str, float] | None = None,
        hardness: float = 1.0,
        mine: Sequence[str] | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if hardness < 0:
            raise ConfigError(f'MatchingHead: hardness is negative: {hardness}')
        streams = {'AV': 1.0} if streams is None else streams
        self.streams = checked_streams('MatchingHead', streams)
        unknown = set(mine or ()) - set(STREAMS)
        if unknown:
            raise ConfigError(
                f'MatchingHead: mine names {", ".join(sorted(unknown))}; streams are '
                f'{", ".join(STREAMS)}'
            )
        self.hardness, self.mine = hardness, mine
        self.fc = nn.Linear(embed_dims, 2)

    def mining(
        self, stream: str, similarity: dict[str, Similarity]
    ) -> Similarity | None:
        """Logits by which the negatives of a stream are drawn.

        Args:
            stream (str): The stream that is matched.
            similarity (dict[str, Similarity]): Those of the contrastive head.

        Returns:
            Similarity: Two (B, G) matrices, in which each row is that of one stream
            to mine; None where the contrastive head trains none of them.
        """
        names = [s for s in self.mine or (stream,) if s in similarity]
        if not names:
            return None
        rows = []
        for direction in zip(*(similarity[name] for name in names), strict=True):
            every = torch.stack(direction)  # (streams, B, G)
            picked = torch.randint(len(names), every.shape[1:2], device=every.device)
            own = torch.arange(every.shape[1], device=every.device)
            rows.append(self.hardness * every[picked, own])
        return Similarity(*rows)

    def forward(self, hidden: Tensor) -> Tensor:
        """Query outputs of pairs (P, Q, D) -> logits (P, 2); column 1 is 'match'."""
        return self.fc(hidden).float().mean(1)

    def loss(
        self, logits: Tensor, labels: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy and accuracy over the pairs that count.

        Args:
            logits (Tensor): (P, 2).
            labels (Tensor): (P,) 1 for a match, 0 for a mismatch.
            valid (Tensor): (P,) bool.

        Returns:
            tuple[Tensor, Tensor]: Loss and accuracy, scalars.
        """
        loss = F.cross_entropy(logits, labels, reduction='none')
        correct = (logits.argmax(1) == labels).float()
        return global_mean(loss, valid), global_mean(correct, valid)


@MODELS.register_module()
class LanguageModelingHead(BaseModule):
    """Next-token prediction with tied word embeddings (BERT's head, BLIP-2's loss).

    Args:
        embed_dims (int): Width D. Defaults to 768.
        vocab_size (int): Word pieces, [DEC] included. Defaults to 30523.
        dec_token_id (int): [DEC], put in the place of the first token. Defaults to
            30522.
        end_token_id (int): [SEP], which ends a caption. Defaults to 102.
        label_smoothing (float): Defaults to 0.1.
        streams (dict[str, float]): Weight of each stream. Defaults to
            ``dict(AV=1)``.
        init_cfg (dict, optional): mmengine's initialisation config.
    """

    def __init__(
        self,
        embed_dims: int = 768,
        vocab_size: int = 30523,
        dec_token_id: int = 30522,
        end_token_id: int = 102,
        label_smoothing: float = 0.1,
        streams: dict[str, float] | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        streams = {'AV': 1.0} if streams is None else streams
        self.streams = checked_streams('LanguageModelingHead', streams)
        self.dec_token_id, self.end_token_id = dec_token_id, end_token_id
        self.label_smoothing = label_smoothing
        self.dense = nn.Linear(embed_dims, embed_dims)
        self.norm = nn.LayerNorm(embed_dims, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def start(self, input_ids: Tensor) -> Tensor:
        """Token ids (B, T) with [DEC] in the first place."""
        input_ids = input_ids.clone()
        input_ids[:, 0] = self.dec_token_id
        return input_ids

    def forward(self, hidden: Tensor, word_embeddings: Tensor) -> Tensor:
        """Text states to logits of the next token.

        Args:
            hidden (Tensor): (B, T, D).
            word_embeddings (Tensor): (vocab_size, D), the query encoder's.

        Returns:
            Tensor: (B, T, vocab_size).
        """
        hidden = self.norm(F.gelu(self.dense(hidden)))
        return F.linear(hidden, word_embeddings, self.bias)

    def loss(
        self, logits: Tensor, input_ids: Tensor, attention_mask: Tensor, valid: Tensor
    ) -> Tensor:
        """Smoothed cross-entropy a token, padding and left-out clips not counted.

        Args:
            logits (Tensor): (B, T, vocab_size).
            input_ids (Tensor): (B, T).
            attention_mask (Tensor): (B, T), 1 for text and 0 for padding.
            valid (Tensor): (B,) bool.

        Returns:
            Tensor: Scalar, nats per token.
        """
        losses = F.cross_entropy(
            logits[:, :-1].float().flatten(0, 1),
            input_ids[:, 1:].flatten(),
            reduction='none',
            label_smoothing=self.label_smoothing,
        )
        counted = attention_mask[:, 1:].bool() & valid[:, None]
        return global_mean(losses, counted.flatten())
