"""The plain baseline: a CoAVT's losses computed as the reference implementations do.

The weights are those of the model, and so are losses and gradients, to rounding. What
differs is the way, which is the one of the published code:

- From CAV-MAE (on timm 0.4): attention of the encoder is written out as a product, a
  softmax, dropout and a second product; each trunk runs once, and the joint block once
  for each stream.
- From LAVIS' BLIP-2 Q-Former: attention of queries and text likewise, with an additive
  mask; matching concatenates the tokens of right pairs, wrong clips and wrong texts to
  a batch of three times the size, whose keys and values are all projected anew, and
  updates the text in the last layer, too; texts are padded to the longest length that
  is allowed, and logits of the language model are computed for the padding as well;
  each stream's queries are a pass of their own.
- From BERT in transformers of that time: attention written out.
- The optimiser is ``torch.optim.AdamW`` with its defaults, with one group of parameters
  that decay and one of those that don't, as LAVIS has it.

Where the references do more than that, the baseline does not: negatives are drawn in
one call rather than in a loop over clips that waits for the device at each, the (clips,
texts, queries) similarities are one product that copies nothing, and masks that hide
nothing are left out. It computes all tokens, also where the recipe drops some at
random. Clips without sound or picture, which the references don't know,
are computed like the others and not counted.

Letters: B clips, P pairs, N tokens, Q queries, T text tokens, D width.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coavt_mm.errors import ConfigError
from coavt_mm.models import CoAVT, ContrastiveHead
from coavt_mm.models.layers import MIN_TEMPERATURE, draw_negatives
from coavt_mm.models.losses import Similarity
from coavt_mm.streams import STREAMS, available

#: What is added to the scores of hidden positions, as BERT does.
HIDDEN = -10000.0


class Text(NamedTuple):
    """Captions: (B, T) token ids, and 1 where they are no padding."""

    ids: Tensor
    mask: Tensor


class Past(NamedTuple):
    """Self-attention keys and values of a layer, each (B, heads, N, D / heads)."""

    keys: Tensor
    values: Tensor


def plain_losses(
    model: CoAVT, inputs: dict[str, Tensor], text_length: int
) -> dict[str, Tensor]:
    """Compute the losses of a model on a batch the plain way, in one process.

    Args:
        model: In training mode dropout is on.
        inputs: The preprocessor's output, see ``CoAVT.loss``.
        text_length: Tokens that captions are padded to.

    Returns:
        The losses by name, as ``CoAVT.loss`` gives them.

    Raises:
        ConfigError: If the model has parts that the baseline has no plain form of.
    """
    _check(model)
    streams = [s for s in STREAMS if any(s in h.streams for h in model.heads.values())]
    text = _padded(inputs, text_length)
    valid = _valid(inputs)
    tokens = encode(model.av_encoder, inputs)
    hidden, past = {}, {}
    for stream in streams:
        hidden[stream], past[stream] = read(model.query_encoder, tokens[stream])
    keys = torch.stack([inputs['clip_key'], inputs['caption_key']], 1)
    same = (keys[:, None] == keys[None]).any(-1)  # (B, B)
    losses, similarity = {}, {}
    if model.contrastive_head is not None:
        similarity = similarities(model, hidden, text)
        losses.update(contrast(model, similarity, same, valid))
    if model.matching_head is not None:
        for stream in model.matching_head.streams:
            loss = match(model, stream, tokens[stream], text, similarity, same, valid)
            losses[f'loss_matching_{stream}'] = loss
    if model.lm_head is not None:
        for stream, weight in model.lm_head.streams.items():
            loss = write(model, past[stream], text, valid[stream])
            losses[f'loss_lm_{stream}'] = weight * loss
    return losses


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """LAVIS' two groups: vectors, scalars and the rest, of which the rest decays."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        dict(params=[p for p in trained if p.ndim >= 2], weight_decay=weight_decay),
        dict(params=[p for p in trained if p.ndim < 2], weight_decay=0.0),
    ]


def _check(model: CoAVT) -> None:
    encoder, more = model.av_encoder, [model.av_head, *model.extra_heads.values()]
    if any(head is not None and head.streams for head in more):
        raise ConfigError('the plain baseline knows no av_head and no extra_heads')
    head = model.contrastive_head
    if head is not None and (type(head) is not ContrastiveHead or head.nested_dims):
        raise ConfigError(
            'the plain baseline knows ContrastiveHead without nested_dims'
        )
    if encoder.one_pass:
        raise ConfigError('the plain baseline has no one_pass')


def _valid(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stream -> (B,) bool, whether a clip has it and its caption is about it."""
    there = available(inputs['has_audio'], inputs['has_visual'])
    about = inputs['caption_streams']
    return {s: there[s] & about[:, i] for i, s in enumerate(STREAMS)}


def _padded(inputs: dict[str, Tensor], length: int) -> Text:
    ids, mask = inputs['input_ids'], inputs['attention_mask']
    more = max(length - ids.shape[1], 0)
    return Text(F.pad(ids, (0, more)), F.pad(mask, (0, more)))


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention with its weights written out.

    Args:
        query: (B, heads, N, D / heads).
        key: (B, heads, M, D / heads).
        value: (B, heads, M, D / heads).
        mask: Added to the scores; broadcastable to (B, heads, N, M).
        dropout: Rate at which weights are dropped.

    Returns:
        (B, N, D).
    """
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask
    weights = F.dropout(scores.softmax(-1), dropout)
    return (weights @ value).transpose(1, 2).flatten(2)


def _additive(mask: Tensor) -> Tensor:
    return (1.0 - mask.float()) * HIDDEN


def _heads(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


# ---------------------------------------------------------------- encoders
def encode(encoder: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Spectrograms and frames -> stream -> tokens (B, N, D), as CAV-MAE does."""
    spectrogram, frames = encoder.training_inputs(inputs)
    audio = encoder.audio_embed(spectrogram.transpose(1, 2).unsqueeze(1))
    for block in encoder.audio_blocks:
        audio = _block(block, audio, 'A')
    visual = encoder.visual_embed(frames)
    for block in encoder.visual_blocks:
        visual = _block(block, visual, 'V')
    tokens = dict(AV=torch.cat([audio, visual], 1), A=audio, V=visual)
    for stream in tokens:
        for block in encoder.joint_blocks:
            tokens[stream] = _block(block, tokens[stream], stream)
        tokens[stream] = encoder.norm[stream](tokens[stream])
    return tokens


def _block(block: Any, x: Tensor, stream: str) -> Tensor:
    attn = block.attn
    qkv = attn.qkv(block.norm1[stream](x)).unflatten(-1, (3, attn.num_heads, -1))
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    x = x + attn.proj(attention(query, key, value))
    return x + block.mlp(block.norm2[stream](x))


def encode_text(model: CoAVT, text: Text) -> Tensor:
    """Captions -> text states (B, T, D) of the text encoder."""
    if model.text_encoder is None:
        queries = model.query_encoder
        x = queries._embed_text(text.ids)
        mask = _additive(text.mask)[:, None, None]
        for layer in queries.layers:
            x, _ = _query_layer(layer, x, 0, mask=mask)
        return x
    bert = model.text_encoder.bert
    x, mask = bert.embeddings(text.ids), _additive(text.mask)[:, None, None]
    heads = bert.config.num_attention_heads
    dropout = bert.config.attention_probs_dropout_prob if bert.training else 0.0
    for layer in bert.layers:
        own = layer.attention.self
        query, key, value = (
            _heads(part(x), heads) for part in (own.query, own.key, own.value)
        )
        seen = attention(query, key, value, mask, dropout)
        x = layer.attention.output(seen, x)
        x = layer.output(layer.intermediate(x), x)
    return x


# ----------------------------------------------------------------- queries
def read(queries: Any, tokens: Tensor) -> tuple[Tensor, list[Past]]:
    """Let the queries read tokens (B, N, D): their outputs, and keys and values."""
    x, past = queries._embed_queries(len(tokens)), []
    for layer in queries.layers:
        x, own = _query_layer(layer, x, queries.num_queries, tokens)
        past.append(own)
    return x, past


def _query_layer(
    layer: Any,
    x: Tensor,
    num_queries: int,
    tokens: Tensor | None = None,
    mask: Tensor | None = None,
    past: Past | None = None,
) -> tuple[Tensor, Past]:
    """Run [queries; text] (B, Q + T, D) through a layer of the Q-Former."""
    own = Past(*_keys_values(layer.self_attn, x))
    if past is not None:
        own = Past(*(torch.cat(pair, 2) for pair in zip(past, own, strict=True)))
    x = _attend(layer.self_attn, x, own, mask)
    queries, text = x[:, :num_queries], x[:, num_queries:]
    parts = []
    if num_queries:
        if layer.cross_attn is not None:
            # keys and values of the tokens are projected at every pass
            queries = _attend(
                layer.cross_attn, queries, _keys_values(layer.cross_attn, tokens)
            )
        parts.append(layer.query_mlp(queries))
    if text.shape[1]:
        parts.append(layer.text_mlp(text))
    return (torch.cat(parts, 1) if len(parts) > 1 else parts[0]), own


def _keys_values(attn: Any, x: Any) -> tuple[Tensor, Tensor]:
    return _heads(attn.key(x), attn.num_heads), _heads(attn.value(x), attn.num_heads)


def _attend(
    attn: Any, x: Tensor, kv: tuple[Tensor, Tensor], mask: Tensor | None = None
) -> Tensor:
    dropout = attn.dropout if attn.training else 0.0
    query = _heads(attn.query(x), attn.num_heads)
    update = attn.out(attention(query, kv[0], kv[1], mask, dropout))
    return attn.norm(x + F.dropout(update, dropout))


# ------------------------------------------------------------------ losses
def similarities(
    model: CoAVT, hidden: dict[str, Tensor], text: Text
) -> dict[str, Similarity]:
    """Stream -> (B, B) similarities of clips and texts, over the temperature."""
    head = model.contrastive_head
    texts = F.normalize(head.text_proj(encode_text(model, text)[:, 0]).float(), dim=-1)
    temperature = head.temperature.reshape(()).clamp_min(MIN_TEMPERATURE)
    result = {}
    for stream in head.streams:
        clips = F.normalize(head.query_proj(hidden[stream]).float(), dim=-1)
        to_text = torch.einsum('bqe,ge->bgq', clips, texts).amax(-1)
        result[stream] = Similarity(to_text / temperature, to_text.T / temperature)
    return result


def contrast(
    model: CoAVT,
    similarity: dict[str, Similarity],
    same: Tensor,
    valid: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Cross-entropy in both directions of each stream, smoothed; by name."""
    head, losses = model.contrastive_head, {}
    for stream, weight in head.streams.items():
        counted = valid[stream]
        positives = (same & counted).float()
        target = positives / positives.sum(1, keepdim=True).clamp_min(1)
        even = counted.float() / counted.sum().clamp_min(1)
        smoothing = head.label_smoothing
        target = (1 - smoothing) * target + smoothing * even
        both = torch.zeros_like(target[0])
        for logits in similarity[stream]:
            logits = logits.masked_fill(~counted, torch.finfo(logits.dtype).min)
            both = both - (target * logits.log_softmax(1)).sum(1) / 2
        losses[f'loss_contrastive_{stream}'] = weight * _mean(both, counted)
    return losses


def match(
    model: CoAVT,
    stream: str,
    tokens: Tensor,
    text: Text,
    similarity: dict[str, Similarity],
    same: Tensor,
    valid: dict[str, Tensor],
) -> Tensor:
    """Matching loss of a stream, weighted: three times B pairs, tokens concatenated."""
    head, queries = model.matching_head, model.query_encoder
    to_text, to_clip = head.negative_logits(stream, similarity) or (None, None)
    allowed = ~same & valid[stream]
    clip, found = draw_negatives(to_clip, allowed)
    other, _ = draw_negatives(to_text, allowed)
    usable = valid[stream] & found
    tokens = torch.cat([tokens, tokens[clip], tokens])
    ids = torch.cat([text.ids, text.ids, text.ids[other]])
    mask = torch.cat([text.mask, text.mask, text.mask[other]])
    x = torch.cat([queries._embed_queries(len(ids)), queries._embed_text(ids)], 1)
    seen = _additive(F.pad(mask, (queries.num_queries, 0), value=1))[:, None, None]
    for layer in queries.layers:
        x, _ = _query_layer(layer, x, queries.num_queries, tokens, seen)
    logits = head.fc(x[:, : queries.num_queries]).mean(1)
    if head.similarity_offset is not None:
        own = torch.arange(len(same), device=same.device)
        table = _cosines(model, similarity[stream])
        cosines = [table[own, own], table[clip, own], table[own, other]]
        logits = head.with_similarity(logits.float(), torch.cat(cosines))
    labels = torch.arange(len(ids), device=ids.device) < len(text.ids)
    losses = F.cross_entropy(logits.float(), labels.long(), reduction='none')
    counted = torch.cat([valid[stream], usable, usable])
    return head.streams[stream] * _mean(losses, counted)


def _cosines(model: CoAVT, similarity: Similarity) -> Tensor:
    """(B, B) of clips with texts, without gradient."""
    temperature = model.contrastive_head.temperature.reshape(())
    return (similarity.a_to_b * temperature.clamp_min(MIN_TEMPERATURE)).detach()


def write(model: CoAVT, past: list[Past], text: Text, valid: Tensor) -> Tensor:
    """Language-model loss of the captions, which see what the queries read."""
    head, queries = model.lm_head, model.query_encoder
    ids = text.ids.clone()
    ids[:, 0] = head.dec_token_id
    length, x = ids.shape[1], queries._embed_text(ids)
    causal = torch.ones(length, length, device=ids.device).tril() * text.mask[:, None]
    mask = _additive(F.pad(causal, (queries.num_queries, 0), value=1)).unsqueeze(1)
    for layer, before in zip(queries.layers, past, strict=True):
        x, _ = _query_layer(layer, x, 0, mask=mask, past=before)
    x = head.norm(F.gelu(head.dense(x)))
    logits = F.linear(x, queries.word_embeddings.weight, head.bias)
    losses = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1),
        text.ids[:, 1:].flatten(),
        reduction='none',
        label_smoothing=head.label_smoothing,
    )
    counted = text.mask[:, 1:].bool() & valid[:, None]
    return _mean(losses, counted.flatten())


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    total = torch.where(counted, values, torch.zeros_like(values)).sum()
    return total / counted.sum().clamp_min(1)
