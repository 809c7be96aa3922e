"""CAV-MAE's numbers, and sizes read from tensors."""

import ancestors
import pytest
import torch

from coavt_mm.checkpoints import convert_cavmae
from coavt_mm.errors import CheckpointError
from coavt_mm.registry import MODELS


def build(converted):
    model = MODELS.build(converted.model_cfg)
    model.load_state_dict(converted.state_dict, strict=True)
    return model.eval()


@torch.no_grad()
def test_golden_streams():
    path, io = ancestors.golden('cavmae_tiny')
    converted = convert_cavmae(path, num_heads=2)
    model = build(converted)
    streams = model(io['audio'], io['image'])
    for stream, name in (('A', 'feat_a'), ('V', 'feat_v'), ('AV', 'feat_av')):
        expected = io['outputs'][name]
        torch.testing.assert_close(streams[stream], expected, atol=1e-5, rtol=0)
    for alone, name in (
        (model.encode_audio(io['audio']), 'feat_a'),
        (model.encode_visual(io['image']), 'feat_v'),
        (model.encode_av(io['audio'], io['image']), 'feat_av'),
    ):
        torch.testing.assert_close(alone, io['outputs'][name], atol=1e-5, rtol=0)
    assert converted.report.share == 1
    assert any('decoder' in name for name in converted.report.dropped)
    assert converted.report.unexpected == converted.report.missing == []


@torch.no_grad()
def test_golden_classifier_modes():
    path, io = ancestors.golden('cavmae_ft_tiny')
    model = build(convert_cavmae(path, num_heads=2))
    audio, image = io['audio'], io['image']
    pooled = {
        'multimodal': model.features('AV', audio, image),
        'audioonly': model.features('A', audio),
        'videoonly': model.features('V', frames=image),
        'missingaudioonly': model.features_of_one('A', audio),
        'missingvideoonly': model.features_of_one('V', frames=image),
    }
    for mode, feature in pooled.items():
        expected = io['outputs'][mode]
        torch.testing.assert_close(model.head(feature), expected, atol=1e-5, rtol=0)
    tokens = model.backbone(audio, image)
    for stream, name in (('A', 'feat_a'), ('V', 'feat_v')):
        expected = io['outputs'][name]
        torch.testing.assert_close(tokens[stream], expected, atol=1e-5, rtol=0)


SIZES = [
    dict(dims=24, depths=(2, 1, 1), hidden=36, grid=(8, 3), side=2),
    dict(dims=16, depths=(1, 3, 2), hidden=64, grid=(4, 5), side=1),
    dict(dims=12, depths=(1, 1, 1), hidden=20, grid=(2, 9), side=5, patch=8),
    dict(dims=8, depths=(1, 1, 1), hidden=32, grid=(5, 2), side=3),
    dict(dims=40, depths=(1, 1, 1), hidden=40, grid=(8, 1), side=3, classes=1),
]


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('size', SIZES)
def test_sizes_are_inferred(size, prefix):
    torch.manual_seed(0)
    state = ancestors.cavmae(**size)
    converted = convert_cavmae({prefix + k: v for k, v in state.items()}, num_heads=2)
    model = build(converted)
    encoder = getattr(model, 'backbone', model)
    patch, (rows, cols) = size.get('patch', 16), size['grid']
    assert encoder.spec_size == (cols * patch, rows * patch)
    assert encoder.img_size == size['side'] * patch
    blocks = (encoder.audio_blocks, encoder.visual_blocks, encoder.joint_blocks)
    assert tuple(map(len, blocks)) == size['depths']
    tokens = encoder(torch.randn(1, *encoder.spec_size))
    assert tokens['A'].shape == (1, rows * cols, size['dims'])


def test_joint_norms_are_not_mixed_up():
    state = ancestors.cavmae()
    got = convert_cavmae(state, num_heads=2).state_dict
    for old, stream in (('', 'AV'), ('_a', 'A'), ('_v', 'V')):
        name = f'joint_blocks.0.norm1.{stream}.weight'
        assert torch.equal(got[name], state[f'blocks_u.0.norm1{old}.weight'])
        assert torch.equal(got[f'norm.{stream}.bias'], state[f'norm{old}.bias'])
    assert torch.equal(
        got['audio_blocks.1.norm2.A.bias'], state['blocks_a.1.norm2.bias']
    )


def test_another_clip_length_and_picture_size_are_interpolated_and_said():
    converted = convert_cavmae(ancestors.cavmae(), 2, spec_size=(80, 128), img_size=64)
    assert set(converted.report.changed) == {
        'audio_embed.position',
        'visual_embed.position',
    }
    assert '8 x 3 to 8 x 5' in str(converted.report)
    model = build(converted)
    assert model(torch.randn(1, 80, 128), torch.randn(1, 3, 64, 64))['AV'].shape[1] == (
        40 + 16
    )


def test_a_learned_table_means_128_mel_bins_and_says_so():
    state = ancestors.cavmae()
    state['pos_embed_a'] = torch.randn(1, 24, 24)
    converted = convert_cavmae(state, 2)
    assert converted.model_cfg['spec_size'] == (48, 128)
    assert '128 mel' in converted.report.notes[0]
    state['pos_embed_a'] = torch.randn(1, 23, 24)
    with pytest.raises(CheckpointError, match='spectrogram size is unknown'):
        convert_cavmae(state, 2)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s.pop('blocks_a.1.attn.qkv.bias'), r'1 missing \(audio_blocks.1'),
        (lambda s: s.update(extra=torch.zeros(1)), r'1 unexpected \(extra\)'),
        (lambda s: s.update({'norm.bias': torch.zeros(3)}), r'wrong shape \(norm.AV'),
        (lambda s: s.pop('pos_embed_a'), "no 'pos_embed_a'"),
        (lambda s: s.update(pos_embed_v=torch.zeros(1, 5, 24)), 'no square'),
    ],
)
def test_an_odd_checkpoint_is_refused_by_name(change, message):
    state = ancestors.cavmae()
    change(state)
    with pytest.raises(CheckpointError, match=message):
        convert_cavmae(state, num_heads=2)
