"""BERT, computed and named as transformers' ``BertModel``, whose weights it takes.

transformers' own takes longer to import than torch, and its insides change with its
releases.

Letters: B batch, T text tokens, D width.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coavt_mm.errors import ConfigError


@dataclass(frozen=True)
class BertSettings:
    """What makes a BERT, by the names and with the defaults of ``BertConfig``.

    Args:
        vocab_size: Word pieces.
        hidden_size: Width D.
        num_hidden_layers: Layers.
        num_attention_heads: Attention heads.
        intermediate_size: Feed-forward width.
        max_position_embeddings: Longest text, in tokens.
        type_vocab_size: Token types, of which texts alone are the first.
        hidden_act: Activation of the feed-forward layers, 'gelu' or another name that
            transformers knows.
        hidden_dropout_prob: Dropout rate of outputs.
        attention_probs_dropout_prob: Dropout rate of attention weights.
        initializer_range: Spread of the initial weights.
        layer_norm_eps: Added to variances.
        pad_token_id: Word piece whose embedding begins as 0.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_act: str = 'gelu'
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0


class Bert(nn.Module):
    """BERT without its pooler, initialised with N(0, ``initializer_range``).

    Args:
        settings: Its sizes.
    """

    def __init__(self, settings: BertSettings):
        super().__init__()
        self.config = settings
        self.embeddings = Embeddings(settings)
        layers = [BertLayer(settings) for _ in range(settings.num_hidden_layers)]
        self.encoder = nn.ModuleDict(dict(layer=nn.ModuleList(layers)))
        self.apply(self._reset_parameters)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Encode text.

        Args:
            input_ids: (B, T).
            mask: Added to the attention logits, broadcastable to (B, heads, T, T).

        Returns:
            (B, T, D).
        """
        x = self.embeddings(input_ids)
        for layer in self.layers:
            x = layer(x, mask)
        return x

    @property
    def layers(self) -> Any:
        """Its layers, whose weights lie under ``encoder.layer``."""
        return self.encoder['layer']

    def _reset_parameters(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])


class Embeddings(nn.Module):
    """Word pieces with their places, all of token type 0."""

    def __init__(self, settings: BertSettings):
        super().__init__()
        width = settings.hidden_size
        self.word_embeddings = nn.Embedding(
            settings.vocab_size, width, padding_idx=settings.pad_token_id
        )
        self.position_embeddings = nn.Embedding(settings.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(settings.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=settings.layer_norm_eps)
        self.dropout = nn.Dropout(settings.hidden_dropout_prob)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, D)."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.word_embeddings(input_ids)
        x = x + self.token_type_embeddings(torch.zeros_like(input_ids))
        x = x + self.position_embeddings(places)
        return self.dropout(self.LayerNorm(x))


class BertLayer(nn.Module):
    """Self-attention and feed-forward, each with residual, then LayerNorm."""

    def __init__(self, settings: BertSettings):
        super().__init__()
        width, hidden = settings.hidden_size, settings.intermediate_size
        parts = dict(self=SelfAttention(settings), output=Output(settings, width))
        self.attention = nn.ModuleDict(parts)
        self.intermediate = Intermediate(settings)
        self.output = Output(settings, hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = self.attention['output'](self.attention['self'](x, mask), x)
        return self.output(self.intermediate(x), x)


class SelfAttention(nn.Module):
    """Queries, keys and values of all heads."""

    def __init__(self, settings: BertSettings):
        super().__init__()
        width = settings.hidden_size
        self.num_heads = settings.num_attention_heads
        self.dropout = settings.attention_probs_dropout_prob
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        query, key, value = (
            part(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, mask, dropout)
        return seen.transpose(1, 2).flatten(2)


class Intermediate(nn.Module):
    """The first half of the feed-forward."""

    def __init__(self, settings: BertSettings):
        super().__init__()
        self.dense = nn.Linear(settings.hidden_size, settings.intermediate_size)
        self.act = _activation(settings.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, hidden)."""
        return self.act(self.dense(x))


class Output(nn.Module):
    """The end of attention and of feed-forward: dropout, residual, LayerNorm."""

    def __init__(self, settings: BertSettings, in_dims: int):
        super().__init__()
        width = settings.hidden_size
        self.dense = nn.Linear(in_dims, width)
        self.LayerNorm = nn.LayerNorm(width, eps=settings.layer_norm_eps)
        self.dropout = nn.Dropout(settings.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """(B, T, in_dims) and (B, T, D) -> (B, T, D)."""
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


def _activation(name: str) -> nn.Module:
    if name == 'gelu':
        return nn.GELU()
    from transformers.activations import ACT2FN

    if name not in ACT2FN:
        raise ConfigError(f'BERT: transformers has no activation {name!r:.60}')
    return ACT2FN[name]
