"""Query encoder: learnable queries that read the audio-visual tokens (BLIP-2)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from mmengine.model import BaseModule
from torch import Tensor, nn

from coavt_mm.errors import ConfigError
from coavt_mm.models.query_layers import KeyValue, QueryLayer
from coavt_mm.registry import MODELS


class QueryState(NamedTuple):
    """What the query pass leaves for the losses.

    Attributes:
        hidden: (B, Q, D) query outputs.
        self_kv: Queries' self-attention keys and values a layer, which the language
            model attends to.
        context: Cross-attention keys and values of the audio-visual tokens a layer
            (None where a layer has no cross-attention); or those tokens (B, N, D).
    """

    hidden: Tensor
    self_kv: list[KeyValue]
    context: list[KeyValue | None] | Tensor


@MODELS.register_module()
class QueryEncoder(BaseModule):
    """Learnable queries and a text branch in one transformer (BLIP-2's Q-Former).

    Queries and text share the self-attention; only queries cross-attend, in every
    ``cross_every``-th layer; each has its own feed-forward layers. The three
    objectives differ only in who may see whom:

    - contrastive: queries see queries, text sees text (two separate passes);
    - matching: everybody sees everybody;
    - language modelling: queries see queries, text sees all queries and the text
      before it.

    Args:
        num_queries: Q. Defaults to 32.
        embed_dims: Width D. Defaults to 768.
        num_heads: Attention heads. Defaults to 12.
        depth: Layers. Defaults to 12.
        hidden_dims: Feed-forward width. Defaults to 3072.
        context_dims: Width of the audio-visual tokens. Defaults to 768.
        cross_every: A cross-attention in layers 0, n, 2n... Defaults to 2.
        vocab_size: Word pieces, [DEC] included. Defaults to 30523.
        max_tokens: Longest text, in tokens. Defaults to 512.
        dropout: Dropout rate. Defaults to 0.1.
        init_std: Spread of the initial weights; BERT's 0.02 suits width 768, a narrow
            encoder wants about 1 / sqrt(D). Defaults to 0.02.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        num_queries: int = 32,
        embed_dims: int = 768,
        num_heads: int = 12,
        depth: int = 12,
        hidden_dims: int = 3072,
        context_dims: int = 768,
        cross_every: int = 2,
        vocab_size: int = 30523,
        max_tokens: int = 512,
        dropout: float = 0.1,
        init_std: float = 0.02,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if num_heads < 1 or embed_dims % num_heads or not 0 <= dropout < 1:
            raise ConfigError(
                f'QueryEncoder: embed_dims {embed_dims} is not a multiple of num_heads '
                f'{num_heads}, or dropout {dropout} no share in [0, 1)'
            )
        self.embed_dims, self.num_queries = embed_dims, num_queries
        self.context_dims, self.vocab_size = context_dims, vocab_size
        self.dropout, self.max_tokens = dropout, max_tokens
        self.query_tokens = nn.Parameter(torch.zeros(1, num_queries, embed_dims))
        self.word_embeddings = nn.Embedding(vocab_size, embed_dims, padding_idx=0)
        self.position_embeddings = nn.Embedding(max_tokens, embed_dims)
        self.norm = nn.LayerNorm(embed_dims, eps=1e-12)
        self.layers: Any = nn.ModuleList(
            QueryLayer(
                embed_dims,
                num_heads,
                hidden_dims,
                context_dims if i % cross_every == 0 else None,
                dropout,
            )
            for i in range(depth)
        )
        self._reset_parameters(init_std)

    def project_context(self, tokens: Tensor) -> list[KeyValue | None]:
        """Cross-attention keys and values of AV tokens (B, N, context_dims).

        They depend on the clip alone: compute them once, use them for every text.
        """
        return [
            layer.cross_attn.keys_values(tokens) if layer.cross_attn else None
            for layer in self.layers
        ]

    def encode_queries(self, tokens: Float[Tensor, 'B N context']) -> QueryState:
        """Let the queries read the audio-visual tokens (B, N, context_dims)."""
        return self.encode_each([tokens])[0]

    def encode_each(self, tokens: Sequence[Tensor]) -> list[QueryState]:
        """Let the queries read several batches of tokens in one pass.

        Args:
            tokens: Such as those of each stream, (B, N, context_dims); B and N differ
                as they like.

        Returns:
            What :meth:`encode_queries` gives for each.
        """
        contexts = [self.project_context(some) for some in tokens]
        sizes = [some.shape[0] for some in tokens]  # len() is a constant to an export
        x = self._embed_queries(sum(sizes))
        kept: list[list[KeyValue]] = [[] for _ in tokens]
        for layer, layer_contexts in zip(
            self.layers, zip(*contexts, strict=True), strict=True
        ):
            x, kv = layer(x, self.num_queries, layer_contexts)
            keys, values = (part.split(sizes) for part in kv)
            for own, *pair in zip(kept, keys, values, strict=True):
                own.append(tuple(pair))
        states = zip(x.split(sizes), kept, contexts, strict=True)
        return [QueryState(*state) for state in states]

    def attention_maps(
        self, tokens: Float[Tensor, 'B N context']
    ) -> Float[Tensor, 'B layers Q N']:
        """Where the queries look: cross-attention weights, mean over the heads.

        For pictures; training and evaluation never compute them, and in evaluation
        mode alone are they those of the pass (dropout draws anew).

        Args:
            tokens: (B, N, context_dims) tokens of any stream.

        Returns:
            (B, layers with cross-attention, Q, N).
        """
        context = self.project_context(tokens)
        x, maps = self._embed_queries(tokens.shape[0]), []
        for layer, layer_context in zip(self.layers, context, strict=True):
            if layer.cross_attn is not None:
                asking = layer.self_attn(x, layer.self_attn.keys_values(x))
                maps.append(layer.cross_attn.weights(asking, layer_context).mean(1))
            x, _ = layer(x, self.num_queries, [layer_context])
        return torch.stack(maps, 1)

    def encode_text(
        self, input_ids: Int[Tensor, 'B T'], attention_mask: Int[Tensor, 'B T']
    ) -> Float[Tensor, 'B T D']:
        """Text alone, in both directions: (B, T) and (B, T) -> (B, T, D)."""
        x = self._embed_text(input_ids)
        mask = attention_mask.bool()[:, None, None]
        for layer in self.layers:
            x, _ = layer(x, 0, mask=mask)
        return x

    def encode_pair(
        self,
        context: list[KeyValue | None],
        input_ids: Int[Tensor, 'B T'],
        attention_mask: Int[Tensor, 'B T'],
    ) -> Float[Tensor, 'B Q D']:
        """Queries and text together, for matching.

        Args:
            context: From :meth:`project_context`, B clips.
            input_ids: (B, T) token ids.
            attention_mask: (B, T), 1 for text and 0 for padding.

        Returns:
            (B, Q, D) query outputs.
        """
        return self.encode_pairs([context], input_ids, attention_mask)

    def encode_pairs(
        self,
        contexts: Sequence[list[KeyValue | None]],
        input_ids: Int[Tensor, 'P T'],
        attention_mask: Int[Tensor, 'P T'],
    ) -> Float[Tensor, 'P Q D']:
        """Queries and text together, for P pairs whose clips lie in several batches.

        Args:
            contexts: From :meth:`project_context`, one behind the other the clips of
                the P pairs. The same may come again.
            input_ids: (P, T) token ids.
            attention_mask: (P, T), 1 for text and 0 for padding.

        Returns:
            (P, Q, D) query outputs.
        """
        queries = self._embed_queries(input_ids.shape[0])
        x = torch.cat([queries, self._embed_text(input_ids)], 1)
        # queries are always visible, text where it is not padding
        mask = F.pad(attention_mask.bool(), (self.num_queries, 0), value=True)
        for layer, layer_contexts in zip(
            self.layers, zip(*contexts, strict=True), strict=True
        ):
            x, _ = layer(
                x,
                self.num_queries,
                layer_contexts,
                mask[:, None, None],
                queries_only=layer is self.layers[-1],
            )
        return x

    def decode_text(
        self,
        input_ids: Int[Tensor, 'B T'],
        attention_mask: Int[Tensor, 'B T'],
        past: list[KeyValue],
    ) -> tuple[Float[Tensor, 'B T D'], list[KeyValue]]:
        """Text that sees the past (all queries, earlier text) and itself, causally.

        Args:
            input_ids: (B, T) the new tokens, [DEC] first of all.
            attention_mask: (B, T), 1 for text and 0 for padding.
            past: A layer's keys and values of the queries, and of the text before
                ``input_ids`` (``QueryState.self_kv`` to start with).

        Returns:
            (B, T, D), and the past for the next call.
        """
        num_past = past[0][0].shape[2]
        x = self._embed_text(input_ids, offset=num_past - self.num_queries)
        num_text = input_ids.shape[1]
        causal = torch.ones(
            num_text, num_text, dtype=torch.bool, device=x.device
        ).tril() & attention_mask.bool().unsqueeze(1)  # (B, T, T)
        mask = F.pad(causal, (num_past, 0), value=True).unsqueeze(1)
        present = []
        for layer, layer_past in zip(self.layers, past, strict=True):
            x, kv = layer(x, 0, mask=mask, past=layer_past)
            present.append(kv)
        return x, present

    def _embed_queries(self, batch: int) -> Tensor:
        x = self.norm(self.query_tokens.expand(batch, -1, -1))
        return F.dropout(x, self.dropout, self.training)

    def _embed_text(self, input_ids: Tensor, offset: int = 0) -> Tensor:
        end = offset + input_ids.shape[1]
        if end > self.max_tokens:
            raise ConfigError(
                f'a text of {end} tokens is longer than max_tokens='
                f'{self.max_tokens} of the query encoder; '
                'shorten the text (max_tokens of TokenizeText, max_new_tokens of '
                'decoding) or raise it there'
            )
        positions = torch.arange(offset, end, device=input_ids.device)
        x = self.word_embeddings(input_ids) + self.position_embeddings(positions)
        return F.dropout(self.norm(x), self.dropout, self.training)

    def _reset_parameters(self, std: float) -> None:
        nn.init.normal_(self.query_tokens, std=0.02)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.word_embeddings.weight[0].zero_()  # [PAD]
        for layer in self.layers:
            layer.query_mlp.load_state_dict(layer.text_mlp.state_dict())
