"""The joint encoder's streams, options and errors."""

import pytest
import torch

from coavt_mm.errors import ConfigError
from coavt_mm.models import JointAVBackbone, JointAVEncoder, OnePassAVEncoder
from coavt_mm.models.layers import EncoderBlock
from coavt_mm.models.patches import MASK_MODES, kept_tokens


def encoder(kind=JointAVEncoder, **options):
    torch.manual_seed(0)
    cfg = dict(
        embed_dims=16, num_heads=2, depths=(1, 2, 2), spec_size=(48, 32), img_size=32
    )
    return kind(**{**cfg, **options}).eval()


def batch(clips=2, frames=1):
    g = torch.Generator().manual_seed(0)
    return (
        torch.randn(clips, 48, 32, generator=g),
        torch.randn(clips * frames, 3, 32, 32, generator=g),
    )


def test_every_stream_has_norms_of_its_own():
    model = encoder()
    spectrogram, frames = batch()
    before = model(spectrogram, frames)
    with torch.no_grad():
        model.joint_blocks[1].norm1['A'].weight.mul_(2)
        model.norm['V'].bias.add_(1)
    after = model(spectrogram, frames)
    assert torch.equal(before['AV'], after['AV'])
    assert not torch.allclose(before['A'], after['A'])
    torch.testing.assert_close(after['V'], before['V'] + 1)


@pytest.mark.parametrize('streams', ['AV', ['av'], ['A', 'v'], ['AV', 'T']])
def test_what_names_no_streams_is_refused(streams):
    encoder = JointAVEncoder(16, 2, (1, 1, 1), spec_size=(48, 32), img_size=32)
    with pytest.raises(ConfigError, match='no list of AV, A, V'):
        encoder(torch.rand(2, 48, 32), torch.rand(2, 3, 32, 32), streams)


def test_joint_blocks_follow_each_other_in_all_streams():
    model = encoder()
    spectrogram, _ = batch()
    whole = model.encode_audio(spectrogram)
    with torch.no_grad():
        model.joint_blocks[0].attn.proj.weight.zero_()
        model.joint_blocks[0].mlp[2].weight.zero_()
    assert not torch.allclose(whole, model.encode_audio(spectrogram), atol=1e-4)


def test_the_spectrogram_is_patched_mel_rows_first():
    model = encoder()
    spectrogram = torch.zeros(1, 48, 32)
    plain = model.audio_embed(spectrogram.transpose(1, 2)[:, None])
    spectrogram[0, 16:32, 0:16] = 1  # second column of time, first row of mel bins
    changed = model.audio_embed(spectrogram.transpose(1, 2)[:, None])
    moved = (changed - plain).abs().amax((0, 2)) > 0
    assert moved.tolist() == [False, True, False, False, False, False]


@pytest.mark.parametrize('clips', [1, 3])
def test_frames_of_a_clip_share_its_sound(clips):
    model = encoder()
    spectrogram, frames = batch(clips, frames=4)
    got = model(spectrogram, frames)
    assert {s: len(x) for s, x in got.items()} == {
        'AV': 4 * clips,
        'A': clips,
        'V': 4 * clips,
    }
    slow = model.encode_av(spectrogram.repeat_interleave(4, 0), frames)
    torch.testing.assert_close(got['AV'], slow, atol=1e-6, rtol=1e-5)


def test_a_lone_modality_under_both_norms():
    model = encoder()
    spectrogram, frames = batch()
    with torch.no_grad():
        for norms in [model.norm, *(b.norm1 for b in model.joint_blocks)]:
            norms['AV'].weight.uniform_(0.5, 2)
    own, joint = model.encode_unimodal('V', frames=frames)
    torch.testing.assert_close(own, model.encode_visual(frames))
    assert not torch.allclose(own, joint)
    with torch.no_grad():
        for norms in [model.norm, *(b.norm1 for b in model.joint_blocks)]:
            norms['A'].load_state_dict(norms['AV'].state_dict())
    own, joint = model.encode_unimodal('A', spectrogram)
    torch.testing.assert_close(own, joint)


def test_one_pass_cuts_in_training_and_never_leaks_at_test():
    model = encoder(OnePassAVEncoder)
    spectrogram, frames = batch()
    training = model.train()(spectrogram, frames)
    assert torch.equal(training['A'], training['AV'][:, :6])
    assert torch.equal(training['V'], training['AV'][:, 6:])
    testing = model.eval()(spectrogram, frames)
    other = model(spectrogram, frames + 1)
    assert torch.equal(testing['A'], other['A'])
    assert not torch.allclose(testing['AV'][:, :6], other['AV'][:, :6])
    assert set(model(spectrogram)) == {'A'}
    alone = model.encode_unimodal('A', spectrogram)
    assert torch.equal(*alone)


def test_masking_drops_tokens_in_training_only():
    model = encoder(mask_ratio=(0.5, 0.5))
    shapes = {s: x.shape[1] for s, x in model.train()(*batch()).items()}
    assert shapes == {'AV': 3 + 2, 'A': 3, 'V': 2}
    assert model.eval()(*batch())['AV'].shape[1] == 6 + 4
    assert encoder(mask_ratio=(0, 0.99)).train()(*batch())['V'].shape[1] == 1


@pytest.mark.parametrize('clips', [1, 3])
@pytest.mark.parametrize(
    ('mode', 'rows', 'columns'),
    [('time', 5, 3), ('frequency', 2, 7), ('time_frequency', 3, 5)],
)
def test_whole_columns_and_rows_are_dropped(mode, rows, columns, clips):
    torch.manual_seed(0)
    kept = kept_tokens(clips, (5, 7), 0.6, mode, 'cpu')
    assert kept.shape == (clips, rows * columns)
    for sample in kept:
        found = [(x // 7).unique() for x in [sample]] + [(sample % 7).unique()]
        assert [len(x) for x in found] == [rows, columns]
        assert len(sample.unique()) == rows * columns  # every crossing, once
    if clips > 1:
        many = kept_tokens(200, (5, 7), 0.6, mode, 'cpu')
        assert len({tuple(x.sort()[0].tolist()) for x in many}) > 5
        assert len(many.unique()) == 35  # none is always left out


@pytest.mark.parametrize('mode', MASK_MODES)
@pytest.mark.parametrize('grid', [(1, 1), (1, 9), (8, 1), (8, 64)])
@pytest.mark.parametrize('ratio', [0.01, 0.5, 0.99])
def test_the_share_that_is_kept(mode, grid, ratio):
    kept = kept_tokens(2, grid, ratio, mode, 'cpu')
    assert all(len(x.unique()) == kept.shape[1] for x in kept)
    assert kept.shape[1] and kept.min() >= 0 and kept.max() < grid[0] * grid[1]
    if grid == (8, 64) and ratio == 0.5:
        assert abs(kept.shape[1] - 256) <= 3


@pytest.mark.parametrize('mode', MASK_MODES)
def test_a_kept_token_is_the_one_it_was(mode):
    """All blocks see the kept tokens, with their own places, and nothing else."""
    model = encoder(mask_ratio=(0.5, 0.0), mask_mode=mode).train()
    spectrogram, frames = batch(3)
    torch.manual_seed(1)
    got = model(spectrogram, frames)
    torch.manual_seed(1)
    kept = kept_tokens(3, (2, 3), 0.5, mode, 'cpu')
    tokens = model.audio_embed(spectrogram.transpose(1, 2)[:, None])
    tokens = torch.stack([x[k] for x, k in zip(tokens, kept, strict=True)])
    for block in model.audio_blocks:
        tokens = block(tokens, 'A')
    visual = model.eval()._visual_trunk(frames)
    torch.testing.assert_close(got['A'], model._join(tokens, 'A'))
    torch.testing.assert_close(
        got['AV'], model._join(torch.cat([tokens, visual], 1), 'AV')
    )


def test_stochastic_depth_leaves_branches_out_in_training_alone():
    torch.manual_seed(0)
    block = EncoderBlock(8, 2, 2.0, ['A'], drop_path=0.25)
    x = torch.randn(1, 3, 8).expand(4000, 3, 8)
    attended = block.attn(block.norm1['A'](x[:1])) / 0.75
    found = block(x, 'A') - x
    kept = torch.isclose(found[:, 0], attended[:, 0], atol=1e-5).all(1)
    left_out = (found == 0).flatten(1).all(1)
    assert left_out.float().mean() == pytest.approx(0.25**2, abs=0.015)
    assert kept.float().mean() == pytest.approx(0.75 * 0.25, abs=0.03)
    plain = EncoderBlock(8, 2, 2.0, ['A'])
    plain.load_state_dict(block.state_dict())
    assert torch.equal(block.eval()(x[:2], 'A'), plain(x[:2], 'A'))


def test_stochastic_depth_rises_from_layer_to_layer():
    model = encoder(depths=(1, 2, 2), drop_path_rate=0.3)
    rates = [
        [round(block.drop_path, 6) for block in blocks]
        for blocks in (model.audio_blocks, model.visual_blocks, model.joint_blocks)
    ]
    assert rates == [[0.0], [0.0, 0.1], [0.2, 0.3]]
    assert encoder(depths=(0, 0, 1), drop_path_rate=0.3).joint_blocks[0].drop_path == 0


def test_recomputing_activations_changes_no_gradient():
    grads = []
    for with_cp in (False, True):
        dropped = dict(mask_ratio=(0.5, 0.5), mask_mode='time', drop_path_rate=0.5)
        model = encoder(with_cp=with_cp, **dropped).train()
        torch.manual_seed(3)
        sum(x.square().mean() for x in model(*batch()).values()).backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mask_ratio=(0.0, 1.0)), 'mask_ratio'),
        (dict(mask_ratio=(0.5,)), 'mask_ratio'),
        (dict(mask_mode='freq'), 'mask_mode is one of random, time, frequency'),
        (dict(drop_path_rate=1.0), 'drop_path_rate'),
        (dict(spec_size=(64, 32, 1)), 'spec_size'),
        (dict(num_heads=3), 'multiple of num_heads'),
        (dict(spec_size=(50, 32)), 'multiple of the patch size'),
        (dict(embed_dims=18), 'multiple of 4'),
    ],
)
def test_impossible_sizes(options, message):
    with pytest.raises(ConfigError, match=message):
        encoder(**options)


def test_a_clip_of_another_length_is_an_error():
    with pytest.raises(ConfigError, match='spec_size'):
        encoder()(torch.randn(1, 64, 32))


def test_feature_maps_hold_the_tokens_of_their_stream():
    """What mmaction2 and mmpretrain call: one batch with a channel axis."""
    model = encoder(JointAVBackbone)
    spectrogram, frames = batch(3)
    audio = model(spectrogram[:, None])
    visual = model(frames)
    joint = model(spectrogram[:, None], frames=frames)
    assert audio.shape == (3, 16, 2, 3)  # mel rows, time columns
    assert visual.shape == (3, 16, 2, 2)
    assert joint.shape == (3, 16, 6 + 4, 1)
    tokens = encoder()(spectrogram, frames)
    for name, got in (('A', audio), ('V', visual), ('AV', joint)):
        assert torch.equal(got.flatten(2).transpose(1, 2), tokens[name])


def test_feature_maps_of_many_frames_and_of_masked_tokens():
    spectrogram, frames = batch(2, frames=3)
    joint = encoder(JointAVBackbone)(spectrogram[:, None], frames)
    assert torch.equal(joint.squeeze(3).mT, encoder()(spectrogram, frames)['AV'])
    model = encoder(JointAVBackbone, mask_ratio=(0.5, 0.0)).train()
    assert model(spectrogram[:, None]).shape == (2, 16, 3, 1)
    assert model(frames).shape == (6, 16, 2, 2)


def test_feature_maps_come_as_a_tuple_where_wanted():
    (got,) = encoder(JointAVBackbone, as_tuple=True)(batch()[1])
    assert torch.equal(got, encoder(JointAVBackbone)(batch()[1]))


def test_the_options_of_the_release_before_take_the_new_classes():
    with pytest.warns(FutureWarning, match='coavt_mm.OnePassAVEncoder'):
        assert type(encoder(one_pass=True)) is OnePassAVEncoder
    with pytest.warns(FutureWarning, match='coavt_mm.JointAVBackbone'):
        model = encoder(as_tuple=True)
    assert type(model) is JointAVBackbone and model.as_tuple
    assert type(encoder(one_pass=False, as_tuple=False)) is JointAVEncoder
    frames = batch()[1]
    with pytest.warns(FutureWarning, match='coavt_mm.JointAVBackbone'):
        old = encoder()(frames)
    assert torch.equal(old, encoder(JointAVBackbone)(frames))


@pytest.mark.parametrize('shape', [(2, 2, 32, 32), (2, 3, 48, 32), (2, 1, 32, 32)])
def test_a_feature_map_of_something_else_is_an_error(shape):
    with pytest.raises(ConfigError, match='expected'):
        encoder(JointAVBackbone)(torch.zeros(shape))
    with pytest.raises(ConfigError, match='alone or with pictures'):
        encoder(JointAVBackbone)(*torch.zeros(2, 2, 3, 32, 32))
