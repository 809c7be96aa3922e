"""Prompts: text features, scores, label sets."""

import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement
from tiny_coavt import tiny_coavt
from torch.testing import assert_close

from coavt_mm.datasets.tokenizer import build_tokenizer
from coavt_mm.demo import grammar
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation import ZeroShotMetric
from coavt_mm.evaluation.prompts import (
    check_joint_template,
    class_features,
    joint_features,
    joint_scores,
    prompt_scores,
    text_features,
)

CLASSES = ['red', 'blue', 'once', 'twice', 'four times']
SETS = dict(colour=CLASSES[:2], count=CLASSES[2:])
META = dict(protocol='toy', manifest='t.jsonl', hash='abc', missing=0, classes=CLASSES)
TEMPLATES = ['a {} box', 'it sounds {}']


@pytest.fixture(scope='module')
def vocab(tmp_path_factory):
    path = tmp_path_factory.mktemp('vocab') / 'vocab.txt'
    path.write_text('\n'.join(grammar.vocabulary()) + '\n')
    return str(path)


@pytest.fixture(scope='module')
def model(vocab):
    pieces = len(grammar.vocabulary())
    encoder = dict(
        type='TextEncoder',
        config=dict(
            vocab_size=pieces,
            hidden_size=12,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=16,
        ),
        init='wide',  # else all sentences are nearly the same
    )
    return tiny_coavt(text_encoder=encoder, tokenizer=vocab).eval()


def feature(model, vocab, text):
    """One sentence at a time, without padding."""
    ids = torch.tensor([build_tokenizer(vocab)(text)['input_ids']])
    with torch.no_grad():
        states = model.encode_text(ids, torch.ones_like(ids))
        return model.contrastive_head.project_text(states)[0]


def test_class_features_are_normalised_means(model, vocab):
    got = class_features(model, CLASSES, TEMPLATES)
    for row, name in zip(got, CLASSES, strict=True):
        both = [feature(model, vocab, t.format(name)) for t in TEMPLATES]
        mean = sum(both) / 2
        torch.testing.assert_close(row, mean / mean.norm(), atol=1e-5, rtol=0)


def test_sentences_of_any_length_go_as_the_tokenizer_cuts_them(model, vocab):
    tokenizer = build_tokenizer.__wrapped__(str(vocab))
    texts = ['red', 'a red box sounds twice, four times', 'it sounds once']
    for length in (2, 4, 50):
        batch = tokenizer(
            texts, padding=True, truncation=True, max_length=length, return_tensors='pt'
        )
        states = model.encode_text(batch['input_ids'], batch['attention_mask'])
        wanted = model.contrastive_head.project_text(states)
        assert_close(text_features(model, texts, length), wanted)
    with pytest.raises(ConfigError, match='max_tokens=1 must be'):
        text_features(model, texts, 1)


def test_scores_by_hand():
    clips = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8], [1.0, 0.0]]])
    texts = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    # best query a frame: 1 and 0.8; 0 and -0.6
    torch.testing.assert_close(prompt_scores(clips, texts), torch.tensor([0.9, -0.3]))


def samples(feats_of, labels, streams=('AV', 'A')):
    """Clips whose features are those that ``feats_of`` gives for their first label."""
    made = []
    for i, own in enumerate(labels):
        sample = BaseDataElement(metainfo=dict(sample_idx=i, sample_id=f'clip_{i}'))
        sample.gt_label = torch.tensor(own, dtype=torch.int64)
        feats = {s: feats_of(own).expand(2, 3, -1) for s in streams}
        made.append(sample)
        sample.set_data(dict(clip_feats=feats))
    return made


def evaluate(clips, model, meta=META, **options):
    evaluator = Evaluator(ZeroShotMetric(**{'templates': TEMPLATES, **options}))
    evaluator.dataset_meta = meta
    evaluator.metrics[0].model = model
    for clip in clips:
        evaluator.process([clip])
    return evaluator.metrics[0], evaluator.evaluate(len(clips))


def test_clips_that_are_their_own_sentences(model, tmp_path):
    texts = class_features(model, CLASSES, TEMPLATES)
    clips = samples(lambda own: texts[own[0]], [[0], [1, 3], [3], [2]])
    del clips[3].clip_feats['A']
    options = dict(
        label_sets=SETS, observable_classes=dict(A=SETS['count']), out_dir=str(tmp_path)
    )
    metric, flat = evaluate(clips, model, **options)
    assert flat['zeroshot/AV/colour/top1'] == 1
    results = metric.last_results
    assert results['streams']['AV']['label_sets']['colour']['clips'] == 2
    assert [results['streams'][s]['clips'] for s in ('AV', 'A')] == [4, 3]
    assert 'V' not in results['streams']
    # of three clips with a count, one has the features of 'blue'
    like_blue = (texts[2:] @ texts[1]).argmax().item()
    expected = (2 + (like_blue == 1)) / 3
    assert flat['zeroshot/AV/count/top1'] == pytest.approx(expected)
    assert flat['zeroshot/AV/mean'] == pytest.approx((1 + expected) / 2)
    found = results['streams']['A']['label_sets']
    assert (found['count']['ceiling'], found['colour']['ceiling']) == (1, 0.5)
    assert json.loads((tmp_path / 'zeroshot.json').read_text()) == results
    assert {
        k: results[k] for k in ('metric', 'protocol', 'manifest_hash', 'clips')
    } == (dict(metric='zeroshot', protocol='toy', manifest_hash='abc', clips=4))
    table = (tmp_path / 'zeroshot.md').read_text()
    assert 'protocol toy' in table and '| AV     | colour' in table
    assert (tmp_path / 'zeroshot.png').stat().st_size


def test_all_classes_and_several_labels(model):
    texts = class_features(model, CLASSES, TEMPLATES)
    clips = samples(lambda own: texts[own[0]], [[0, 1], [1], [4]], ['V'])
    _, flat = evaluate(clips, model)
    assert flat['zeroshot/V/all/top1'] == 1
    _, flat = evaluate(clips, model, task='multi_label')
    assert 0 < flat['zeroshot/V/mean'] == flat['zeroshot/V/all/mAP'] <= 1


def test_text_features_are_computed_once_an_evaluation(model, monkeypatch):
    calls = []
    encode = model.encode_text
    monkeypatch.setattr(
        model, 'encode_text', lambda *a: calls.append(len(a[0])) or encode(*a)
    )
    texts = torch.nn.functional.normalize(torch.randn(5, 8), dim=1)
    clips = samples(lambda own: texts[own[0]], [[0], [1], [2]])
    evaluate(clips, model)
    assert calls == [10]  # 5 classes, 2 sentences


def test_words_and_sentences_of_a_set(model):
    texts = class_features(model, ['green', 'blue'], ['a {} box'])
    sets = dict(colour=['red', 'blue'])
    templates = dict(colour=['a {} box'])
    clips = samples(lambda own: texts[own[0]], [[0], [1]])
    options = dict(label_sets=sets, templates=templates, words=dict(red='green'))
    assert evaluate(clips, model, **options)[1]['zeroshot/AV/mean'] == 1


def test_what_makes_no_sense_is_refused(model):
    clips = samples(lambda own: torch.ones(8), [[0]])
    with pytest.raises(ConfigError, match='no model'):
        evaluate(clips, None)
    with pytest.raises(ConfigError, match='names no classes'):
        evaluate(clips, model, meta={})
    with pytest.raises(ConfigError, match="'rad' is none of .* 'red'"):
        evaluate(clips, model, label_sets=dict(x=['rad']))
    with pytest.raises(ConfigError, match='tokenizer'):
        evaluate(clips, tiny_coavt())
    with pytest.raises(CoAVTError, match=r'clip_feats\[A\] of sample .clip_0'):
        evaluate(samples(lambda own: torch.full((8,), np.nan), [[0]], ['A']), model)
    with pytest.raises(CoAVTError, match='none has features'):
        evaluate(samples(None, [[0]], []), model)
    for templates in ([], 'a {}', ['a box'], ['{} and {}'], ['a {name}']):
        with pytest.raises(ConfigError, match='template'):
            ZeroShotMetric(templates)
    with pytest.raises(ConfigError, match='no sentences'):
        ZeroShotMetric(dict(a=['{}']), label_sets=dict(b=['red']))
    with pytest.raises(ConfigError, match='task'):
        ZeroShotMetric(['{}'], task='labels')


JOINT = dict(templates='a {colour} box sounds {count}', label_sets=SETS)


def test_one_sentence_for_all_label_sets(model, vocab):
    """All combinations compete; a class is scored by those that name it together."""
    texts = joint_features(model, JOINT['templates'], SETS)
    assert texts.shape == (2, 3, 8)
    blue_twice = feature(model, vocab, 'a blue box sounds twice')
    torch.testing.assert_close(texts[1, 1], blue_twice, atol=1e-5, rtol=0)
    clip = torch.nn.functional.normalize(torch.randn(2, 3, 8), dim=-1)
    colour, count = joint_scores(prompt_scores(clip, texts), 0.5)
    shares = torch.zeros(2, 3)
    for i in range(2):
        for j in range(3):
            shares[i, j] = ((clip @ texts[i, j]).amax(1).mean() / 0.5).exp()
    shares /= shares.sum()
    torch.testing.assert_close(colour.exp(), shares.sum(1))
    torch.testing.assert_close(count.exp(), shares.sum(0))
    alone = joint_scores(prompt_scores(clip, texts[0]), 0.5)
    torch.testing.assert_close(alone[0].exp(), shares[0] / shares[0].sum())


def test_clips_that_are_their_own_joint_sentences(model):
    texts = joint_features(model, JOINT['templates'], SETS)
    pairs = [[0, 2], [1, 4], [1, 3]]
    clips = samples(lambda own: texts[own[0], own[1] - 2], pairs)
    model.contrastive_head.temperature.data.fill_(0.001)  # the best sentence takes all
    metric, flat = evaluate(clips, model, **JOINT)
    assert flat['zeroshot/AV/colour/top1'] == flat['zeroshot/AV/count/top1'] == 1
    found = metric.last_results['streams']['AV']['label_sets']['count']
    assert (found['classes'], found['templates']) == (3, 1)


def test_cosines_of_all_three_streams_add_up(model, tmp_path):
    streams = ('AV', 'A', 'V')
    feats = torch.nn.functional.normalize(torch.randn(3, 2, 3, 8), dim=-1)
    clip = samples(lambda own: torch.zeros(8), [[0, 2]], streams)[0]
    clip.clip_feats = dict(zip(streams, feats, strict=True))
    texts = joint_features(model, JOINT['templates'], SETS)
    cosines = sum(prompt_scores(x, texts) for x in feats)
    temperature = model.contrastive_head.temperature.item()
    wanted = torch.cat(joint_scores(cosines, temperature)).numpy()
    options = dict(observable_classes=dict(AV=CLASSES), out_dir=str(tmp_path), **JOINT)
    metric, _ = evaluate([clip], model, **options)
    assert (tmp_path / 'zeroshot.png').stat().st_size
    assert '| AV+A+V | colour' in (tmp_path / 'zeroshot.md').read_text()
    found = metric.last_results['streams']
    assert list(found) == [*streams, 'AV+A+V']
    assert found['AV+A+V']['label_sets']['colour']['ceiling'] == 1
    metric.process([clip], [clip.to_dict()])
    scores = metric.results[-1]['scores']['AV+A+V']
    np.testing.assert_allclose([*scores['colour'], *scores['count']], wanted, 1e-5)
    texts = class_features(model, CLASSES[:2], TEMPLATES)
    metric, _ = evaluate([clip], model, label_sets=SETS)
    metric.process([clip], [clip.to_dict()])
    scores = metric.results[-1]['scores']['AV+A+V']
    wanted = sum(prompt_scores(x, texts) for x in feats).numpy()
    np.testing.assert_allclose(scores['colour'], wanted, 1e-5)


@pytest.mark.parametrize(
    'template, sets',
    [('a box', SETS), ('a {colour}', SETS), ('{colour} {count} {count}', SETS),
     ('{colour} {size}', SETS), ('{colour}', None)],
)  # fmt: skip
def test_a_joint_sentence_names_each_label_set_once(template, sets):
    with pytest.raises(ConfigError, match='one place for each label set'):
        ZeroShotMetric(template, label_sets=sets)


def test_the_demo_names_all_factors_in_one_sentence():
    sentence = f'{grammar.VISUAL_TEMPLATES[0]} while {grammar.AUDIO_TEMPLATES[0]}'
    check_joint_template(sentence, list(grammar.FACTORS))
