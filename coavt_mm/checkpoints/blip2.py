"""BLIP-2 stage 1 -> CoAVT without encoders: queries, text branch and heads."""

from collections.abc import Mapping

import torch
from torch import Tensor

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
_OLD, _NEW = r'Qformer\.bert\.encoder\.layer\.(\d+)', r'query_encoder.layers.\1'
_WORDS = 'Qformer.bert.embeddings.word_embeddings.weight'
_BIAS = 'Qformer.cls.predictions.bias'


def layer_rules(old: str, new: str) -> list[Rule]:
    """BERT's names of one layer -> the query encoder's, text branch and attention."""
    rules = []
    for theirs, ours in (('attention', 'self_attn'), ('crossattention', 'cross_attn')):
        rules += [
            Rule(rf'{old}\.{theirs}\.self\.(query|key|value)\.{_WB}',
                 [rf'{new}.{ours}.\2.\3']),
            Rule(rf'{old}\.{theirs}\.output\.dense\.{_WB}', [rf'{new}.{ours}.out.\2']),
            Rule(rf'{old}\.{theirs}\.output\.LayerNorm\.{_WB}',
                 [rf'{new}.{ours}.norm.\2']),
        ]  # fmt: skip
    return rules


def mlp_rules(old: str, new: str, suffix: str, mlps: list[str]) -> list[Rule]:
    """One feed-forward of BERT -> one or both of the query encoder's."""
    return [
        Rule(rf'{old}\.intermediate{suffix}\.dense\.{_WB}',
             [rf'{new}.{mlp}.fc1.\2' for mlp in mlps]),
        Rule(rf'{old}\.output{suffix}\.dense\.{_WB}',
             [rf'{new}.{mlp}.fc2.\2' for mlp in mlps]),
        Rule(rf'{old}\.output{suffix}\.LayerNorm\.{_WB}',
             [rf'{new}.{mlp}.norm.\2' for mlp in mlps]),
    ]  # fmt: skip


TABLE = [
    Rule(r'query_tokens', ['query_encoder.query_tokens']),
    Rule(r'Qformer\.bert\.embeddings\.(word|position)_embeddings\.weight',
         [r'query_encoder.\1_embeddings.weight']),
    Rule(rf'Qformer\.bert\.embeddings\.LayerNorm\.{_WB}', [r'query_encoder.norm.\1']),
    Rule(r'Qformer\.bert\.embeddings\.position_ids', reason='a constant: 0, 1, 2, ...'),
    *layer_rules(_OLD, _NEW),
    *mlp_rules(_OLD, _NEW, '', ['text_mlp']),
    *mlp_rules(_OLD, _NEW, '_query', ['query_mlp']),
    Rule(rf'Qformer\.cls\.predictions\.transform\.dense\.{_WB}', [r'lm_head.dense.\1']),
    Rule(rf'Qformer\.cls\.predictions\.transform\.LayerNorm\.{_WB}',
         [r'lm_head.norm.\1']),
    Rule(r'Qformer\.cls\.predictions\.bias', ['lm_head.bias']),
    Rule(r'Qformer\.cls\.predictions\.decoder\.\w+',
         reason='tied: equal to the word embeddings and the bias (checked)'),
    Rule(rf'vision_proj\.{_WB}', [r'contrastive_head.query_proj.\1']),
    Rule(rf'text_proj\.{_WB}', [r'contrastive_head.text_proj.\1']),
    Rule(rf'itm_head\.{_WB}', [r'matching_head.fc.\1']),
    Rule(r'temp', ['contrastive_head.temperature']),
    Rule(r'ln_vision\.\w+', reason="norm of BLIP-2's picture encoder; the joint "
         'audio-visual encoder ends with norms of its own'),
    Rule(r'visual_encoder\..*', reason="BLIP-2's picture encoder; the joint "
         'audio-visual encoder takes its place'),
]  # fmt: skip


def convert_blip2(
    source: Source,
    num_heads: int = 12,
    dec_token_id: int | None = None,
    end_token_id: int = 102,
) -> Converted:
    """Convert a BLIP-2 stage-1 checkpoint, all sizes but the heads inferred.

    Args:
        source: File or state dict, ``{'model': ...}`` or bare.
        num_heads: Attention heads; no tensor tells. Defaults to 12.
        dec_token_id: [DEC]. Defaults to the last piece, which is where BLIP-2 appends
            it (30,522).
        end_token_id: [SEP]. Defaults to BERT's, 102.

    Returns:
        A ``CoAVT`` without ``av_encoder`` and ``text_encoder``.

    Raises:
        CheckpointError: If it is no BLIP-2 stage-1 checkpoint.
    """
    state, report = read_state_dict(source), Report('BLIP-2 stage-1')
    require(
        state,
        [
            'query_tokens',
            _WORDS,
            'Qformer.bert.embeddings.position_embeddings.weight',
            'Qformer.bert.encoder.layer.0.crossattention.self.key.weight',
            'Qformer.bert.encoder.layer.0.intermediate.dense.weight',
            'vision_proj.weight',
            'text_proj.weight',
            'itm_head.weight',
            _BIAS,
        ],
        report.kind,
    )
    _check_tied(state)
    model_cfg = _model_cfg(state, num_heads, dec_token_id, end_token_id)
    return finish(rename(state, TABLE, report), model_cfg, report)


def _check_tied(state: Mapping[str, Tensor]) -> None:
    for decoder, source in (('weight', _WORDS), ('bias', _BIAS)):
        name = f'Qformer.cls.predictions.decoder.{decoder}'
        if name in state and not torch.equal(state[name], state[source]):
            raise CheckpointError(
                f'BLIP-2: {name} differs from {source}; BLIP-2 ties the two, and so '
                'does the language-modelling head'
            )


def _model_cfg(
    state: Mapping[str, Tensor], num_heads: int, dec_id: int | None, end_id: int
) -> dict:
    vocab, dims = state[_WORDS].shape
    layer = 'Qformer.bert.encoder.layer.0'
    dec_id = vocab - 1 if dec_id is None else dec_id
    if not 0 <= dec_id < vocab:
        raise CheckpointError(
            f'dec_token_id {dec_id} is outside the vocabulary of {vocab} pieces'
        )
    query_encoder = dict(
        type='QueryEncoder',
        num_queries=state['query_tokens'].shape[1],
        embed_dims=dims,
        num_heads=checked_heads(num_heads, dims),
        depth=count_layers(state, r'Qformer\.bert\.encoder\.layer\.(\d+)\.'),
        hidden_dims=state[f'{layer}.intermediate.dense.weight'].shape[0],
        context_dims=state[f'{layer}.crossattention.self.key.weight'].shape[1],
        cross_every=_cross_every(state),
        vocab_size=vocab,
        max_tokens=state['Qformer.bert.embeddings.position_embeddings.weight'].shape[0],
    )
    proj_dims = state['vision_proj.weight'].shape[0]
    return dict(
        type='CoAVT',
        query_encoder=query_encoder,
        contrastive_head=dict(
            type='ContrastiveHead', embed_dims=dims, proj_dims=proj_dims
        ),
        matching_head=dict(type='MatchingHead', embed_dims=dims),
        lm_head=dict(
            type='LanguageModelingHead',
            embed_dims=dims,
            vocab_size=vocab,
            dec_token_id=dec_id,
            end_token_id=end_id,
        ),
    )


def _cross_every(state: Mapping[str, Tensor]) -> int:
    """n, where layers 0, n, 2n... cross-attend."""
    depth = count_layers(state, r'Qformer\.bert\.encoder\.layer\.(\d+)\.')
    name = 'Qformer.bert.encoder.layer.{}.crossattention.self.key.weight'
    crossing = [i for i in range(depth) if name.format(i) in state]
    every = crossing[1] if len(crossing) > 1 else depth
    if crossing != list(range(0, depth, every)):
        raise CheckpointError(
            f'BLIP-2: cross-attention in layers {crossing} of {depth} is no regular '
            'step from layer 0'
        )
    return every
