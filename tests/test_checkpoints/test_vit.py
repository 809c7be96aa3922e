"""A vision transformer into both branches and the joint block."""

from functools import partial

import ancestors
import pytest
import timm
import torch
from torch import nn

from coavt_mm.checkpoints import convert_vit
from coavt_mm.errors import CheckpointError
from coavt_mm.models.layers import sincos_table
from coavt_mm.registry import MODELS


def vit(**options):
    torch.manual_seed(0)
    return timm.models.VisionTransformer(
        **dict(
            img_size=48,
            patch_size=16,
            embed_dim=24,
            depth=3,
            num_heads=2,
            num_classes=4,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            **options,
        )
    ).eval()


def build(converted):
    model = MODELS.build(converted.model_cfg)
    model.load_state_dict(converted.state_dict, strict=True)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize('joint_depth', [1, 2])
def test_the_picture_stream_is_the_vit(joint_depth):
    theirs = vit(class_token=False, global_pool='avg', fc_norm=False)
    source = theirs.state_dict()
    ours = build(convert_vit(source, 2, (80, 32), joint_depth=joint_depth))
    ours.visual_embed.modality.zero_()
    picture = torch.randn(2, 3, 48, 48)
    expected = theirs.forward_features(picture)
    torch.testing.assert_close(ours.encode_visual(picture), expected, atol=1e-5, rtol=0)
    assert len(ours.joint_blocks) == joint_depth


@torch.no_grad()
def test_audio_kernel_is_the_sum_over_rgb_and_positions_are_of_its_grid():
    theirs = vit()
    converted = convert_vit({'model': theirs.state_dict()}, 2, spec_size=(80, 32))
    ours = build(converted)
    kernel = theirs.patch_embed.proj.weight.sum(1, keepdim=True)
    torch.testing.assert_close(ours.audio_embed.proj.weight, kernel)
    assert torch.equal(ours.audio_embed.position[0], sincos_table(24, 2, 5))
    assert torch.equal(ours.visual_embed.position, theirs.pos_embed[:, 1:])
    for block in (ours.audio_blocks[1], ours.visual_blocks[1]):
        assert torch.equal(block.mlp[0].weight, theirs.blocks[1].mlp.fc1.weight)
    for stream in ('AV', 'A', 'V'):
        norm = ours.joint_blocks[0].norm1[stream]
        assert torch.equal(norm.weight, theirs.blocks[2].norm1.weight)
    shared = ours.audio_blocks[0].mlp[0].weight.data_ptr()
    assert shared != ours.visual_blocks[0].mlp[0].weight.data_ptr()
    dropped = converted.report.dropped
    assert {'cls_token', 'head.weight', 'head.bias'} == set(dropped)
    assert 'sum over RGB' in str(converted.report)
    assert 'learned' in ' '.join(converted.report.notes)


def test_another_picture_size():
    converted = convert_vit(vit().state_dict(), 2, (32, 32), img_size=80)
    assert build(converted).visual_embed.grid == (5, 5)
    assert '3 x 3 to 5 x 5' in converted.report.changed['visual_embed.position']


def test_refusals():
    state = vit().state_dict()
    with pytest.raises(CheckpointError, match='not a ViT'):
        convert_vit(ancestors.resnet())
    with pytest.raises(CheckpointError, match='between 1 and 2'):
        convert_vit(state, 2, joint_depth=3)
    state['blocks.0.ls1.gamma'] = torch.ones(24)
    with pytest.raises(CheckpointError, match=r'unexpected \(blocks.0.ls1.gamma'):
        convert_vit(state, 2)
