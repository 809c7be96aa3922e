"""The joint encoder's streams, options and errors."""

import pytest
import torch

from coavt_mm.errors import ConfigError
from coavt_mm.models import JointAVBackbone, JointAVEncoder, OnePassAVEncoder


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


def test_recomputing_activations_changes_no_gradient():
    grads = []
    for with_cp in (False, True):
        model = encoder(with_cp=with_cp).train()
        sum(x.square().mean() for x in model(*batch()).values()).backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mask_ratio=(0.0, 1.0)), 'mask_ratio'),
        (dict(mask_ratio=(0.5,)), 'mask_ratio'),
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
