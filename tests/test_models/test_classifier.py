"""Classification: streams, missing modalities, frames, losses."""

import ancestors
import pytest
import torch
from mmengine.structures import BaseDataElement

from coavt_mm.checkpoints import convert_cavmae
from coavt_mm.errors import ConfigError
from coavt_mm.models import ClassificationHead, CoAVTClassifier
from coavt_mm.registry import MODELS

QUERIES = dict(
    type='QueryEncoder',
    num_queries=3,
    embed_dims=20,
    num_heads=2,
    depth=2,
    hidden_dims=24,
    context_dims=16,
    vocab_size=9,
    max_tokens=4,
    dropout=0.5,
)


def classifier(classes=5, loss='bce', **options):
    torch.manual_seed(0)
    backbone = dict(
        type='JointAVEncoder',
        embed_dims=16,
        num_heads=2,
        depths=(1, 1, 1),
        spec_size=(48, 32),
        img_size=32,
    )
    head = dict(
        type='ClassificationHead', embed_dims=16, num_classes=classes, loss=loss
    )
    model = CoAVTClassifier(backbone, head, **options)
    with torch.no_grad():  # streams must differ
        for name, parameter in model.named_parameters():
            if 'norm' in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def batch(clips=3, frames=1, audio=True, visual=True):
    g = torch.Generator().manual_seed(0)
    inputs = dict(
        has_audio=torch.full((clips,), audio), has_visual=torch.full((clips,), visual)
    )
    if audio:
        inputs['spectrogram'] = torch.randn(clips, 48, 32, generator=g)
    if visual:
        inputs['frames'] = torch.randn(clips, frames, 3, 32, 32, generator=g)
    return inputs


def samples(*labels):
    made = []
    for label in labels:
        sample = BaseDataElement(metainfo=dict(sample_id='x'))
        sample.gt_label = torch.tensor(label, dtype=torch.int64)
        made.append(sample)
    return made


@torch.no_grad()
@pytest.mark.parametrize(
    ('mode', 'stream', 'missing'),
    [
        ('multimodal', 'AV', 'average'),
        ('audioonly', 'A', 'own'),
        ('videoonly', 'V', 'own'),
        ('missingaudioonly', 'A', 'average'),
        ('missingvideoonly', 'V', 'average'),
    ],
)
def test_golden_modes_by_test_cfg(mode, stream, missing):
    path, io = ancestors.golden('cavmae_ft_tiny')
    converted = convert_cavmae(path, num_heads=2)
    cfg = dict(converted.model_cfg, test_cfg=dict(stream=stream, missing=missing))
    model = MODELS.build(cfg).eval()
    model.load_state_dict(converted.state_dict, strict=True)
    there = torch.ones(2, dtype=torch.bool)
    inputs = dict(spectrogram=io['audio'], frames=io['image'][:, None])
    got = model(dict(inputs, has_audio=there, has_visual=there))
    expected = io['outputs'][mode].sigmoid()
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_clip_is_scored_on_what_it_has():
    model = classifier()
    inputs = batch(3)
    inputs['has_audio'][1] = inputs['has_visual'][2] = False
    got = model(inputs)
    rows = {k: v[:1] for k, v in inputs.items()}
    torch.testing.assert_close(got[:1], model(rows))
    for row, stream in ((1, 'V'), (2, 'A')):
        alone = classifier(test_cfg=dict(stream=stream))
        other = {k: v[row : row + 1] for k, v in inputs.items()}
        torch.testing.assert_close(got[row : row + 1], alone(other))


def test_a_clip_with_nothing_to_test_on_is_an_error():
    inputs = batch(2)
    inputs['has_audio'][0] = False
    with pytest.raises(ConfigError, match='nothing to test stream A on'):
        classifier(test_cfg=dict(stream='A'))(inputs)


@torch.no_grad()
@pytest.mark.parametrize('loss', ['bce', 'ce'])
def test_frames_are_averaged_as_probabilities(loss):
    model = classifier(loss=loss)
    inputs = batch(2, frames=4)
    single = [
        model(dict(inputs, frames=inputs['frames'][:, k : k + 1])) for k in range(4)
    ]
    torch.testing.assert_close(model(inputs), torch.stack(single).mean(0))
    if loss == 'ce':
        torch.testing.assert_close(model(inputs).sum(1), torch.ones(2))


@torch.no_grad()
def test_predict_adds_scores():
    model, inputs = classifier(), batch(2)
    given = samples([0], [])
    got = model(inputs, given, mode='predict')
    torch.testing.assert_close(torch.stack([s.pred_score for s in got]), model(inputs))
    assert got[0].gt_label.tolist() == [0]
    assert [s.pred_stream for s in got] == ['AV', 'AV']


@torch.no_grad()
def test_predict_leaves_out_what_cannot_be_scored():
    inputs = batch(3)
    inputs['has_audio'][0] = inputs['has_visual'][1] = False
    got = classifier().predict(inputs, samples([0], [1], [2]))
    assert [s.pred_stream for s in got] == ['V', 'A', 'AV']
    got = classifier(test_cfg=dict(stream='A')).predict(inputs, samples([0], [1], [2]))
    assert 'pred_score' not in got[0] and 'pred_stream' not in got[0]
    assert [s.pred_stream for s in got[1:]] == ['A', 'A']


@pytest.mark.parametrize('stream', ['AV', 'A', 'V'])
def test_training_on_each_stream(stream):
    model = classifier(stream=stream).train()
    losses = model(batch(2), samples([0, 3], [1]), mode='loss')
    assert set(losses) == {'loss_cls'}
    losses['loss_cls'].backward()
    used = {n.split('.')[1] for n, p in model.named_parameters() if p.grad is not None}
    assert ('audio_blocks' in used) == (stream != 'V')
    assert ('visual_blocks' in used) == (stream != 'A')


def test_clips_without_the_modality_do_not_count():
    model = classifier().train()
    inputs, labels = batch(3), samples([0], [1], [2])
    inputs['has_audio'][2] = False
    got = model(inputs, labels, mode='loss')['loss_cls']
    two = {k: v[:2] for k, v in inputs.items()}
    torch.testing.assert_close(got, model(two, labels[:2], mode='loss')['loss_cls'])
    silent = batch(1, audio=False)
    nothing = model(silent, labels[:1], mode='loss')['loss_cls']
    nothing.backward()
    assert nothing.item() == 0


def test_mixed_targets_by_hand():
    model = classifier(classes=3).train()
    inputs, labels = batch(3), samples([0], [1, 2], [2])
    share = torch.tensor([0.7, 0.4, 1.0])
    mixed = dict(inputs, mix_partner=torch.tensor([1, 0, 2]), mix_share=share)
    got = model(mixed, labels, mode='loss')['loss_cls']
    logits = model.head(model.features('AV', inputs['spectrogram'],
                                       inputs['frames'][:, 0]))  # fmt: skip
    target = torch.tensor([[0.7, 0.3, 0.3], [0.6, 0.4, 0.4], [0, 0, 1]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(got, expected)


def query_classifier(**options):
    model = classifier(**options)
    head = ClassificationHead(5, 20)
    torch.manual_seed(1)
    return CoAVTClassifier(model.backbone, head, QUERIES, **options).eval()


@torch.no_grad()
def test_pooling_over_queries():
    model, inputs = query_classifier(), batch(2)
    tokens = model.backbone.encode_av(inputs['spectrogram'], inputs['frames'][:, 0])
    pooled = model.query_encoder.encode_queries(tokens).hidden.mean(1)
    torch.testing.assert_close(model(inputs), model.head(pooled).sigmoid())
    alone = query_classifier(test_cfg=dict(stream='A'))
    ways = model.backbone.encode_unimodal('A', inputs['spectrogram'])
    pooled = sum(model.query_encoder.encode_queries(x).hidden.mean(1) for x in ways) / 2
    torch.testing.assert_close(alone(inputs), model.head(pooled).sigmoid())


def test_a_linear_probe_trains_the_head_alone():
    model = query_classifier(frozen=True)
    model.backbone.mask_ratio = (0.5, 0.5)
    model.train()
    assert model.head.training and not model.query_encoder.training
    assert not any(m.training for m in model.backbone.modules())
    first, again = (
        model(batch(3), samples([0], [1], [2]), mode='loss')['loss_cls'] for _ in 'ab'
    )
    assert torch.equal(first, again)  # no token masking, no dropout
    first.backward()
    trained = {n for n, p in model.named_parameters() if p.grad is not None}
    assert trained == {n for n, _ in model.named_parameters() if n.startswith('head.')}
    with_grad = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == with_grad
    assert query_classifier().train().backbone.training


def test_some_layers_are_frozen_by_a_pattern_of_names():
    model = query_classifier(frozen=['backbone.*_blocks.0', 'backbone.audio_embed'])
    model.train()
    assert not model.backbone.audio_blocks[0].attn.training and model.backbone.training
    model(batch(3), samples([0], [1], [2]), mode='loss')['loss_cls'].backward()
    still = ('backbone.audio_embed', 'backbone.audio_blocks.0',
             'backbone.visual_blocks.0', 'backbone.joint_blocks.0')  # fmt: skip
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad is not name.startswith(still)
        assert parameter.grad is None or parameter.requires_grad
    with pytest.raises(ConfigError, match='none of its parts: .*backbone'):
        query_classifier(frozen=['backbone.blocks'])


def test_losses_by_hand():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0]])
    every = torch.ones(2, dtype=torch.bool)
    head = ClassificationHead(3, 4, label_smoothing=0.1)
    target = head.targets(samples([0, 2], []), logits)
    assert target.tolist() == [[1, 0, 1], [0, 0, 0]]
    smooth = 0.9 * target + 0.1 / 3
    p = logits.sigmoid()
    by_hand = -(smooth * p.log() + (1 - smooth) * (1 - p).log()).mean()
    torch.testing.assert_close(head.loss(logits, target, every), by_hand)
    head = ClassificationHead(3, 4, loss='ce', label_smoothing=0.1)
    target = head.targets(samples([0, 2], [1]), logits)
    assert target.tolist() == [[0.5, 0, 0.5], [0, 1, 0]]
    by_hand = -((0.9 * target + 0.1 / 3) * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(head.loss(logits, target, every), by_hand)


def test_soft_targets_are_taken_as_they_are():
    head = ClassificationHead(3, 4)
    mixed = BaseDataElement()
    mixed.gt_score = torch.tensor([0.3, 0.7, 0.0])
    got = head.targets([mixed], torch.zeros(1))
    torch.testing.assert_close(got, mixed.gt_score[None])
    with pytest.raises(ConfigError, match='no gt_label'):
        head.targets([BaseDataElement(metainfo=dict(sample_id='y'))], torch.zeros(1))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(stream='VA'), 'stream must be'),
        (dict(test_cfg=dict(stream='X')), 'test_cfg.stream must be'),
        (dict(test_cfg=dict(missing='mean')), "'average' or 'own'"),
        (dict(test_cfg=dict(frames=1)), 'unknown test_cfg frames'),
        (dict(stream='A', test_cfg=dict(stream='V')), 'trained on A alone'),
        (dict(loss='mse'), "'bce' or 'ce'"),
        (dict(query_encoder=dict(QUERIES)), 'head.embed_dims is 16, but must be 20'),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        classifier(**options)


def test_training_takes_one_frame():
    with pytest.raises(ConfigError, match="pick='random'"):
        classifier()(batch(1, frames=2), samples([0]), mode='loss')
    with pytest.raises(ConfigError, match='mode must be'):
        classifier()(batch(1), mode='train')
