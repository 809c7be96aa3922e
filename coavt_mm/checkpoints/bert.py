"""BERT -> TextEncoder or QueryEncoder."""

import json
import re
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coavt_mm.checkpoints.blip2 import layer_rules, mlp_rules
from coavt_mm.checkpoints.conversion import (
    Converted,
    Report,
    Rule,
    Source,
    checked_heads,
    count_layers,
    finish,
    read_state_dict,
    rename,
    require,
)
from coavt_mm.errors import CheckpointError

_WB = r'(weight|bias)'
_DROPPED = [
    Rule(r'embeddings\.position_ids', reason='a constant: 0, 1, 2, ...'),
    Rule(r'pooler\..*', reason='only [CLS] states are used, without the pooler'),
    Rule(r'cls\..*', reason="the heads of BERT's own pre-training"),
]
TEXT_TABLE = [*_DROPPED, Rule(r'((?:embeddings|encoder)\..*)', [r'bert.\1'])]

_OLD, _NEW = r'encoder\.layer\.(\d+)', r'layers.\1'
QUERY_TABLE = [
    *_DROPPED,
    Rule(r'embeddings\.token_type_embeddings\.weight',
         reason="BLIP-2's query transformer has no token types"),
    Rule(r'embeddings\.(word|position)_embeddings\.weight', [r'\1_embeddings.weight']),
    Rule(rf'embeddings\.LayerNorm\.{_WB}', [r'norm.\1']),
    *layer_rules(_OLD, _NEW),
    *mlp_rules(_OLD, _NEW, '', ['text_mlp', 'query_mlp']),
]  # fmt: skip
_WORDS = 'embeddings.word_embeddings.weight'


def convert_bert(
    source: Source,
    target: str = 'TextEncoder',
    num_heads: int | None = None,
    vocab_size: int | None = None,
    num_queries: int = 32,
    context_dims: int = 768,
    cross_every: int = 2,
    seed: int = 0,
) -> Converted:
    """Convert BERT weights of any size.

    Rows of the vocabulary beyond BERT's, such as [DEC], are drawn from N(0, 0.02), as
    BLIP-2's ``resize_token_embeddings`` did when it was trained (newer releases of
    transformers draw around the mean of the old rows).

    Args:
        source: transformers directory, file or state dict; with or without ``bert.``
            before the names.
        target: 'TextEncoder' or 'QueryEncoder'. Defaults to 'TextEncoder'.
        num_heads: Attention heads. Defaults to those of the directory's config.json,
            else 12.
        vocab_size: Word pieces wanted. Defaults to BERT's, for 'QueryEncoder' one more
            ([DEC]).
        num_queries: Queries of a 'QueryEncoder'. Defaults to 32.
        context_dims: Width of the audio-visual tokens. Defaults to 768.
        cross_every: A cross-attention in layers 0, n, 2n... Defaults to 2.
        seed: For what BERT doesn't have.

    Returns:
        A ``TextEncoder`` or ``QueryEncoder``.

    Raises:
        CheckpointError: If it is no BERT checkpoint.
    """
    if target not in ('TextEncoder', 'QueryEncoder'):
        raise CheckpointError(
            f"convert_bert: target must be 'TextEncoder' or 'QueryEncoder', got "
            f'{target!r}'
        )
    raw, config = _read(source)
    state, report = _modern_names(raw), Report(f'BERT ({target})')
    sizes = _sizes(state, config, num_heads, report)
    extra = 1 if target == 'QueryEncoder' else 0
    generator = torch.Generator().manual_seed(seed)
    sizes['vocab_size'] = vocab_size or sizes['vocab_size'] + extra
    state[_WORDS] = _grow(state[_WORDS], sizes['vocab_size'], report, generator)
    if target == 'TextEncoder':
        text_cfg = dict(type=target, config={**sizes, **_behaviour(config)})
        return finish(rename(state, TEXT_TABLE, report), text_cfg, report)
    cfg: dict[str, Any] = _query_cfg(sizes, config)
    cfg.update(
        num_queries=num_queries, context_dims=context_dims, cross_every=cross_every
    )
    renamed = rename(state, QUERY_TABLE, report)
    renamed.update(_query_parts(cfg, report, generator))
    return finish(renamed, cfg, report)


def _query_cfg(sizes: dict, config: dict) -> dict[str, Any]:
    """What a ``QueryEncoder`` takes from BERT."""
    if config.get('hidden_act', 'gelu') != 'gelu':
        raise CheckpointError(
            f'QueryEncoder computes with gelu, this BERT with {config["hidden_act"]}'
        )
    return dict(
        type='QueryEncoder',
        embed_dims=sizes['hidden_size'],
        num_heads=sizes['num_attention_heads'],
        depth=sizes['num_hidden_layers'],
        hidden_dims=sizes['intermediate_size'],
        vocab_size=sizes['vocab_size'],
        max_tokens=sizes['max_position_embeddings'],
    )


def _read(source: Source) -> tuple[dict[str, Tensor], dict]:
    """State dict, and config.json where a directory has one."""
    if isinstance(source, Mapping) or not Path(fspath(source)).is_dir():
        return read_state_dict(source), {}
    folder = Path(fspath(source))
    for name in ('model.safetensors', 'pytorch_model.bin'):
        if (folder / name).is_file():
            return read_state_dict(folder / name), _read_config(folder)
    raise CheckpointError(
        f'{folder}: neither model.safetensors nor pytorch_model.bin; give a directory '
        'as save_pretrained() writes it'
    )


def _read_config(folder: str | PathLike) -> dict:
    path = Path(folder) / 'config.json'
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding='utf-8-sig'))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{path}: no valid JSON ({error})') from error


def _modern_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """No ``bert.`` in front, and weight and bias for TensorFlow's gamma and beta."""
    new = {}
    for name, tensor in state.items():
        name = re.sub(r'^bert\.', '', name)
        name = re.sub(r'\.gamma$', '.weight', name)
        new[re.sub(r'\.beta$', '.bias', name)] = tensor
    return new


def _sizes(
    state: Mapping[str, Tensor], config: dict, num_heads: int | None, report: Report
) -> dict:
    """BertConfig's sizes."""
    positions = 'embeddings.position_embeddings.weight'
    types = 'embeddings.token_type_embeddings.weight'
    hidden = 'encoder.layer.0.intermediate.dense.weight'
    require(state, [_WORDS, positions, types, hidden], 'BERT')
    if num_heads is None:
        num_heads = config.get('num_attention_heads', 12)
        if 'num_attention_heads' not in config:
            report.notes.append('12 attention heads are assumed: no tensor tells')
    vocab, width = state[_WORDS].shape
    return dict(
        vocab_size=vocab,
        hidden_size=width,
        num_hidden_layers=count_layers(state, r'encoder\.layer\.(\d+)\.'),
        num_attention_heads=checked_heads(num_heads, width),
        intermediate_size=state[hidden].shape[0],
        max_position_embeddings=state[positions].shape[0],
        type_vocab_size=state[types].shape[0],
    )


def _behaviour(config: dict) -> dict:
    """What config.json says beyond sizes."""
    names = ('hidden_act', 'layer_norm_eps', 'hidden_dropout_prob', 'pad_token_id',
             'attention_probs_dropout_prob')  # fmt: skip
    return {name: config[name] for name in names if name in config}


def _grow(
    words: Tensor, vocab: int, report: Report, generator: torch.Generator
) -> Tensor:
    old, width = words.shape
    if vocab < old:
        raise CheckpointError(
            f'vocab_size {vocab} is smaller than the {old} pieces of the checkpoint'
        )
    if vocab == old:
        return words
    new = torch.zeros(vocab - old, width, dtype=words.dtype)
    report.changed['word_embeddings.weight'] = (
        f'{old} -> {vocab} pieces, the new ones drawn from N(0, 0.02)'
    )
    return torch.cat([words, new.normal_(std=0.02, generator=generator)])


def _query_parts(
    cfg: dict, report: Report, generator: torch.Generator
) -> dict[str, Tensor]:
    """Queries and cross-attention, drawn as BLIP-2 draws them."""
    width, context = cfg['embed_dims'], cfg['context_dims']

    def draw(*shape: int) -> Tensor:
        return torch.zeros(shape).normal_(std=0.02, generator=generator)

    new = {'query_tokens': draw(1, cfg['num_queries'], width)}
    for i in range(0, cfg['depth'], cfg['cross_every']):
        part = f'layers.{i}.cross_attn'
        for name, dims in dict(
            query=width, key=context, value=context, out=width
        ).items():
            new[f'{part}.{name}.weight'] = draw(width, dims)
            new[f'{part}.{name}.bias'] = torch.zeros(width)
        new[f'{part}.norm.weight'] = torch.ones(width)
        new[f'{part}.norm.bias'] = torch.zeros(width)
    how = 'N(0, 0.02), biases 0, norms 1: BERT has no queries and no cross-attention'
    report.initialised.update(dict.fromkeys(new, how))
    return new
