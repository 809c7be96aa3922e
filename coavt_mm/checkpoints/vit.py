"""A vision MAE or timm ViT -> both branches and the joint block of JointAVEncoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from coavt_mm.checkpoints.cavmae import picture_side
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
    skeleton,
)
from coavt_mm.checkpoints.positions import find_grid, resize_positions
from coavt_mm.errors import CheckpointError
from coavt_mm.models.layers import sincos_table
from coavt_mm.streams import STREAMS

_WB = r'(weight|bias)'


def _sum_over_rgb(kernel: Tensor) -> Tensor:
    return kernel.sum(1, keepdim=True)


def _table(depth: int, joint_depth: int) -> list[Rule]:
    """Layer i -> the same layer of both branches; the last ones -> the joint block."""
    rules = [
        Rule(r'cls_token', reason='the encoder averages its tokens, without a [CLS]'),
        Rule(r'(decoder_.*|mask_token)',
             reason='the decoder serves masked reconstruction only'),
        Rule(r'(head|fc|pre_logits)\..*', reason='classes of another data set'),
        Rule(r'patch_embed\.proj\.weight', ['visual_embed.proj.weight']),
        Rule(r'patch_embed\.proj\.bias',
             ['visual_embed.proj.bias', 'audio_embed.proj.bias']),
        # timm calls it fc_norm where tokens are averaged
        Rule(rf'(?:fc_)?norm\.{_WB}', [rf'norm.{s}.\1' for s in STREAMS]),
        Rule(r'pos_embed', ['visual_embed.position']),
        Rule(r'audio_kernel', ['audio_embed.proj.weight'], 'sum over RGB',
             _sum_over_rgb),
    ]  # fmt: skip
    for i in range(depth):
        joint = i - (depth - joint_depth)
        stages: list[tuple[str, Sequence[str]]] = [(f'joint_blocks.{joint}', STREAMS)]
        if joint < 0:
            stages = [(f'audio_blocks.{i}', 'A'), (f'visual_blocks.{i}', 'V')]
        rules += _layer_rules(i, stages)
    return rules


def _layer_rules(index: int, stages: Sequence[tuple[str, Sequence[str]]]) -> list[Rule]:
    old = rf'blocks\.{index}'
    names = [stage for stage, _ in stages]
    norms = [f'{stage}.{{}}.{s}' for stage, streams in stages for s in streams]
    return [
        Rule(rf'{old}\.attn\.(qkv|proj)\.{_WB}', [rf'{n}.attn.\1.\2' for n in names]),
        Rule(rf'{old}\.mlp\.fc1\.{_WB}', [rf'{n}.mlp.0.\1' for n in names]),
        Rule(rf'{old}\.mlp\.fc2\.{_WB}', [rf'{n}.mlp.2.\1' for n in names]),
        Rule(rf'{old}\.(norm[12])\.{_WB}', [n.format(r'\1') + r'.\2' for n in norms]),
    ]


def convert_vit(
    source: Source,
    num_heads: int = 12,
    spec_size: Sequence[int] = (1024, 128),
    img_size: int | None = None,
    joint_depth: int = 1,
    seed: int = 0,
) -> Converted:
    """Start all three stages from one vision transformer, as CAV-MAE does.

    Args:
        source: MAE's ``{'model': ...}``, timm's state dict or a file of either.
        num_heads: Attention heads; no tensor tells. Defaults to 12.
        spec_size: Spectrogram frames (10 ms each) and mel bins. Defaults to (1024,
            128).
        img_size: Side of the picture in pixels. Defaults to the checkpoint's.
        joint_depth: How many of the last layers become joint. Defaults to 1.
        seed: For the modality vectors, which a ViT doesn't have.

    Returns:
        A ``JointAVEncoder``.

    Raises:
        CheckpointError: If it is no plain ViT.
    """
    state, report = read_state_dict(source), Report('ViT')
    kernel = 'patch_embed.proj.weight'
    require(state, [kernel, 'pos_embed', 'blocks.0.mlp.fc1.weight'], 'ViT')
    dims, channels, patch, _ = state[kernel].shape
    if channels != 3:
        raise CheckpointError(f'ViT: expected RGB patches, got {channels} channels')
    depth = count_layers(state, r'blocks\.(\d+)\.')
    if not 0 < joint_depth < depth:
        raise CheckpointError(
            f'ViT: joint_depth must lie between 1 and {depth - 1}, got {joint_depth}'
        )
    state = dict(state, pos_embed=_patch_positions(state, report))
    own_size = picture_side(state['pos_embed'].shape[1], patch)
    model_cfg = dict(
        type='JointAVEncoder',
        embed_dims=dims,
        num_heads=checked_heads(num_heads, dims),
        depths=(depth - joint_depth, depth - joint_depth, joint_depth),
        mlp_ratio=state['blocks.0.mlp.fc1.weight'].shape[0] / dims,
        spec_size=tuple(spec_size),
        img_size=img_size or own_size,
        patch_size=patch,
    )
    state['audio_kernel'] = state[kernel]
    renamed = rename(state, _table(depth, joint_depth), report)
    report.matched['audio_embed.proj.weight'] = kernel
    model = skeleton(model_cfg)
    renamed, changed = resize_positions(renamed, model)
    report.changed.update(changed)
    renamed.update(_new_tensors(model, report, seed))
    return finish(renamed, model_cfg, report)


def _patch_positions(state: Mapping[str, Tensor], report: Report) -> Tensor:
    """The table without the row of [CLS]."""
    table = state['pos_embed']
    if 'cls_token' in state and round(table.shape[1] ** 0.5) ** 2 != table.shape[1]:
        report.notes.append("pos_embed: the first row, [CLS]'s, is dropped")
        table = table[:, 1:]
    if find_grid(table) is None:
        report.notes.append(
            'the picture positions were learned and are kept; the audio ones are a '
            'fixed sin-cos table, which this ViT has not seen'
        )
    return table


def _new_tensors(model: Any, report: Report, seed: int) -> dict[str, Tensor]:
    """Audio positions and modality vectors, which no ViT has."""
    generator = torch.Generator().manual_seed(seed)
    rows, cols = model.audio_embed.grid
    new = {'audio_embed.position': sincos_table(model.embed_dims, rows, cols)[None]}
    report.initialised['audio_embed.position'] = f'sin-cos table of {rows} x {cols}'
    for name in ('audio_embed.modality', 'visual_embed.modality'):
        vector = torch.zeros(1, 1, model.embed_dims)
        new[name] = vector.normal_(std=0.02, generator=generator)
        report.initialised[name] = 'N(0, 0.02), as in CAV-MAE'
    return new
