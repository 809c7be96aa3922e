"""The language-modelling loss: captions written from what the queries read (BLIP-2).

Letters used in shapes: B clips of this rank, T text tokens, D width.
"""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn

from coavt_mm.errors import ConfigError
from coavt_mm.models.chunks import in_chunks
from coavt_mm.models.layers import global_mean
from coavt_mm.models.losses import LossHead, LossInputs, checked_streams
from coavt_mm.registry import MODELS

#: Captions times word pieces whose logits are kept at once. Those of a large batch
#: would be gigabytes, at the moment when all else is kept.
KEPT_LOGITS = 2**21


@MODELS.register_module()
class LanguageModelingHead(LossHead):
    """Next-token prediction with tied word embeddings (BERT's head, BLIP-2's loss).

    Args:
        embed_dims: Width D. In a CoAVT the query encoder's unless given, else 768.
        vocab_size: Word pieces, [DEC] included. In a CoAVT the query encoder's unless
            given, else 30523.
        dec_token_id: [DEC], put in the place of the first token.
        end_token_id: [SEP], which ends a caption.
        label_smoothing: Share of the target that all word pieces get.
        streams: Weight of each stream. Defaults to ``dict(AV=1)``.
        init_cfg: mmengine's initialisation config.
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
        self.embed_dims, self.vocab_size = embed_dims, vocab_size
        self.dec_token_id, self.end_token_id = dec_token_id, end_token_id
        self.label_smoothing = label_smoothing
        self.dense = nn.Linear(embed_dims, embed_dims)
        self.norm = nn.LayerNorm(embed_dims, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def start(self, input_ids: Int[Tensor, 'B T']) -> Int[Tensor, 'B T']:
        """Token ids (B, T) with [DEC] in the first place."""
        input_ids = input_ids.clone()
        input_ids[:, 0] = self.dec_token_id
        return input_ids

    def check_ids(self, tokenizer: Tokenizer, path: str) -> None:
        """Refuse a tokenizer whose tokens begin or end captions otherwise.

        Raises:
            ConfigError: The message names the setting.
        """
        for name, piece in dict(dec_token_id='[DEC]', end_token_id='[SEP]').items():
            given, wanted = getattr(self, name), tokenizer.token_to_id(piece)
            if given != wanted:
                raise ConfigError(
                    f'lm_head.{name} is {given}, but {piece} has id {wanted} in the '
                    f'tokenizer {path}'
                )

    def forward(
        self,
        hidden: Float[Tensor, '*B D'],
        word_embeddings: Float[Tensor, 'vocab D'],
    ) -> Float[Tensor, '*B vocab']:
        """Text states to logits of the next token.

        Args:
            hidden: (B, T, D).
            word_embeddings: (vocab_size, D), the query encoder's.

        Returns:
            (B, T, vocab_size).
        """
        hidden = self.norm(F.gelu(self.dense(hidden)))
        weight: Tensor = word_embeddings
        bias: Tensor = self.bias
        if self.training:  # in writing it would be copied for each word
            weight, bias = in_eights(weight, bias)
        return F.linear(hidden, weight, bias)[..., : self.vocab_size]

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """``loss_lm_*`` of each stream: its captions, written by what queries saw."""
        encoder, losses = batch.model.query_encoder, {}

        def each(ids: Tensor, mask: Tensor, *past: Tensor) -> Tensor:
            pairs = [*zip(past[::2], past[1::2], strict=True)]
            hidden, _ = encoder.decode_text(self.start(ids), mask, pairs)
            # whatever the length of captions, by which batches and graphs would differ
            rows = max(1, KEPT_LOGITS // self.vocab_size)
            return in_chunks(from_states, rows, hidden, ids)

        def from_states(hidden: Tensor, ids: Tensor) -> Tensor:
            return self.token_losses(self(hidden, encoder.word_embeddings.weight), ids)

        for stream, weight in self.streams.items():
            ids, mask, valid = (
                batch.take(stream, x)
                for x in (batch.input_ids, batch.attention_mask, batch.valid[stream])
            )
            # the queries' keys and values are reused
            past = itertools.chain(*batch.states[stream].self_kv)
            every = in_chunks(each, batch.model.grad_cache, ids, mask, *past)
            loss = global_mean(every, (mask * valid[:, None])[:, 1:].bool())
            losses[f'loss_lm_{stream}'] = weight * loss
        return losses

    def loss(
        self,
        logits: Float[Tensor, 'B T vocab'],
        input_ids: Int[Tensor, 'B T'],
        attention_mask: Int[Tensor, 'B T'],
    ) -> Float[Tensor, '']:
        """Smoothed cross-entropy per token, padding not counted.

        Args:
            logits: (B, T, vocab_size).
            input_ids: (B, T).
            attention_mask: (B, T), 1 for text and 0 for padding.

        Returns:
            Scalar, nats per token.
        """
        losses = self.token_losses(logits, input_ids)
        return global_mean(losses, attention_mask[:, 1:].bool())

    def token_losses(self, logits: Tensor, input_ids: Tensor) -> Tensor:
        """(B, T, vocab) and (B, T) -> (B, T - 1) nats of each token but the first."""
        losses = F.cross_entropy(
            logits[:, :-1].float().flatten(0, 1),
            input_ids[:, 1:].flatten(),
            reduction='none',
            label_smoothing=self.label_smoothing,
        )
        return losses.view_as(input_ids[:, 1:])


def in_eights(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Pad the V rows of a linear layer with zeros to a multiple of 8.

    Devices multiply matrices of half precision slowly whose sides are odd, as is the
    number of BERT's word pieces with [DEC].

    Args:
        weight: (V, D).
        bias: (V,).
    """
    extra = -len(bias) % 8
    if not extra:
        return weight, bias
    return F.pad(weight, (0, 0, 0, extra)), F.pad(bias, (0, extra))
