"""Layers of the query encoder: BERT's, with cross-attention of queries (BLIP-2).

Letters: B batch, Q queries, T text tokens, N tokens of any kind, D width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Keys and values of one attention layer, each (B, heads, N, D / heads).
KeyValue = tuple[Tensor, Tensor]


class PostNormAttention(nn.Module):
    """BERT's attention: residual, then LayerNorm.

    Args:
        embed_dims: Width D of the queries.
        num_heads: Number of heads.
        kv_dims: Width of what is attended to.
        dropout: On attention weights and output.
    """

    def __init__(self, embed_dims: int, num_heads: int, kv_dims: int, dropout: float):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.query = nn.Linear(embed_dims, embed_dims)
        self.key = nn.Linear(kv_dims, embed_dims)
        self.value = nn.Linear(kv_dims, embed_dims)
        self.out = nn.Linear(embed_dims, embed_dims)
        self.norm = nn.LayerNorm(embed_dims, eps=1e-12)

    def keys_values(self, x: Tensor) -> KeyValue:
        """(B, N, kv_dims) -> keys and values, each (B, heads, N, D / heads)."""
        return self._heads(self.key(x)), self._heads(self.value(x))

    def forward(
        self, x: Tensor, *sources: KeyValue, mask: Tensor | None = None
    ) -> Tensor:
        """Attend from x (B, N, D) to keys and values.

        Args:
            x: (B, N, D).
            sources: Keys and values over N_kv positions. Of several, each serves as
                many rows of x as it has itself, so that what differs in N_kv, or serves
                twice, need not be copied into one tensor.
            mask: bool, broadcastable to (B, heads, N, N_kv); True where attention is
                allowed.

        Returns:
            (B, N, D).
        """
        dropout = self.dropout if self.training else 0.0
        rows = self._heads(self.query(x)).split([keys.shape[0] for keys, _ in sources])
        parts = [
            F.scaled_dot_product_attention(q, *kv, attn_mask=mask, dropout_p=dropout)
            for q, kv in zip(rows, sources, strict=True)
        ]
        attended = parts[0] if len(parts) == 1 else torch.cat(parts)
        update = self.out(attended.transpose(1, 2).flatten(2))
        return self.norm(x + F.dropout(update, self.dropout, self.training))

    def weights(self, x: Tensor, kv: KeyValue) -> Tensor:
        """Attention weights of x (B, N, D), which ``forward`` doesn't keep.

        Returns:
            (B, heads, N, N_kv), each row sums to 1.
        """
        query, key = self._heads(self.query(x)), kv[0]
        return (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class PostNormMLP(nn.Module):
    """BERT's feed-forward: residual, then LayerNorm."""

    def __init__(self, embed_dims: int, hidden_dims: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, embed_dims)
        self.norm = nn.LayerNorm(embed_dims, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        update = self.fc2(F.gelu(self.fc1(x)))
        return self.norm(x + F.dropout(update, self.dropout, self.training))


class QueryLayer(nn.Module):
    """Shared self-attention, cross-attention of the queries, own feed-forwards.

    Args:
        embed_dims: Width D.
        num_heads: Number of heads.
        hidden_dims: Width of the feed-forward layers.
        context_dims: Width of the audio-visual tokens; None for a layer without
            cross-attention.
        dropout: Dropout rate.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        hidden_dims: int,
        context_dims: int | None,
        dropout: float,
    ):
        super().__init__()
        self.self_attn = PostNormAttention(embed_dims, num_heads, embed_dims, dropout)
        self.cross_attn = None
        if context_dims is not None:
            self.cross_attn = PostNormAttention(
                embed_dims, num_heads, context_dims, dropout
            )
        self.text_mlp = PostNormMLP(embed_dims, hidden_dims, dropout)
        self.query_mlp = PostNormMLP(embed_dims, hidden_dims, dropout)

    def forward(
        self,
        x: Tensor,
        num_queries: int,
        contexts: Sequence[KeyValue] = (),
        mask: Tensor | None = None,
        past: KeyValue | None = None,
        queries_only: bool = False,
    ) -> tuple[Tensor, KeyValue]:
        """Run [queries; text], either of which may be empty.

        Args:
            x: (B, Q + T, D), queries first.
            num_queries: Q, 0 for text alone.
            contexts: Keys and values of the AV tokens, each of as many rows of x.
            mask: bool self-attention mask.
            past: Self-attention keys and values put in front.
            queries_only: Whether the text is only seen by the queries and not updated
                itself, as a last layer may do. Defaults to False.

        Returns:
            (B, Q + T, D), or (B, Q, D) with ``queries_only``, and the self-attention
            keys and values used.
        """
        kv = self.self_attn.keys_values(x)
        if past is not None:
            keys, values = (torch.cat(pair, 2) for pair in zip(past, kv, strict=True))
            kv = keys, values
        if queries_only:
            x = x[:, :num_queries]
        x = self.self_attn(x, kv, mask=mask)
        if num_queries == 0:
            return self.text_mlp(x), kv
        queries, text = x[:, :num_queries], x[:, num_queries:]
        if self.cross_attn is not None:
            queries = self.cross_attn(queries, *contexts)
        queries = self.query_mlp(queries)
        if text.shape[1] == 0:
            return queries, kv
        return torch.cat([queries, self.text_mlp(text)], 1), kv
