"""Every public function: right answers, or one clear error."""

import math

import numpy as np
import pytest
import tiny_apis
import torch
from media_files import write_rows
from tiny_apis import call, function

from coavt_mm.apis import (
    CoAVTInferencer,
    caption,
    classify,
    embed,
    match,
    retrieve,
    visualize,
)
from coavt_mm.datasets import AVTDataset
from coavt_mm.errors import ClipError, ConfigError


def numbers(answer):
    """All numbers in an answer, in order."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple):
        return [x for part in answer for x in numbers(part)]
    if isinstance(answer, np.ndarray):
        return answer.ravel().tolist()
    return [float(answer)] if isinstance(answer, int | float) else []


def words(answer):
    """All texts in an answer."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple):
        return {x for part in answer for x in words(part)}
    return {answer} if isinstance(answer, str) else set()


@pytest.fixture(scope='module')
def mixture(make_clip, horrors):
    """Clips of all kinds and of one window: 15, more than two batches of 7."""
    return 3 * [
        make_clip(seconds=0.5),
        make_clip(seconds=0.5, sound=False),
        make_clip(seconds=0.5, silent=True),
        make_clip(seconds=0.5, picture=False),
        make_clip(seconds=0.5, frequency=900.0, size=(48, 64)),
    ]


# -------------------------------------------------------------- right answers
@call
def test_batches_of_1_and_7_give_equal_answers(call, coavt, mixture):
    one = call(mixture, model=coavt, batch_size=1)
    seven = call(mixture, model=coavt, batch_size=7)
    assert len(one) == len(seven) == len(mixture)
    np.testing.assert_allclose(numbers(one), numbers(seven), atol=1e-5)
    assert words(one) == words(seven)
    assert all(np.isfinite(numbers(one)))


@pytest.mark.parametrize(
    ('kind', 'streams'),
    [
        ('silent', ['AV', 'A', 'V']),  # digital silence is a sound
        ('no_sound', ['V']),
        ('no_picture', ['A']),
        ('one_frame', ['AV', 'A', 'V']),
        ('six_channels', ['AV', 'A', 'V']),
        ('rotated', ['AV', 'A', 'V']),
        ('strange_name', ['AV', 'A', 'V']),
    ],
)
@call
def test_what_a_clip_lacks_is_said(call, coavt, horrors, kind, streams):
    answer = call(str(horrors[kind]), model=coavt, windows=False)
    assert len(answer) == 1 and all(np.isfinite(numbers(answer)))
    if 'streams' in answer[0]:
        assert answer[0]['streams'] == streams
    found = answer[0].get('captions') or answer[0].get('texts') or []
    for part in found:
        assert part['stream'] == streams[0]
        assert part['trained'] == (streams[0] == 'AV')


def test_embeddings_are_what_the_evaluation_extracts(coavt, vocabulary, make_clip):
    clips = [
        make_clip(seconds=0.5),
        make_clip(seconds=0.5, sound=False, size=(66, 34)),
        make_clip(seconds=0.4, frequency=700.0, sound_seconds=0.3),
        make_clip('.wav', seconds=0.5, picture=False, codec='pcm_s16le'),
    ]
    texts = ['the dog barks .', 'a dog', 'the', 'barks , barks']
    rows = [
        {'id': str(i), 'clip': str(c), 'captions': [t]}
        for i, (c, t) in enumerate(zip(clips, texts, strict=True))
    ]
    manifest = write_rows(clips[0].parent / 'own.jsonl', rows)
    dataset = AVTDataset(
        str(manifest), pipeline=tiny_apis.pipeline(vocabulary), test_mode=True
    )
    with torch.no_grad():
        samples = coavt.model.test_step(coavt.collate_fn([*dataset]))
    found = embed([str(clip) for clip in clips], text=texts, model=coavt)
    for sample, clip, text in zip(samples, found['clips'], found['texts'], strict=True):
        own = clip['windows'][0]['embeddings']
        assert len(clip['windows']) == 1
        assert own.keys() == sample.clip_feats.keys()
        for stream, feats in sample.clip_feats.items():
            np.testing.assert_allclose(own[stream], feats.numpy(), atol=1e-5)
        np.testing.assert_allclose(
            text['embedding'], sample.caption_feats[0].numpy(), atol=1e-5
        )


def test_each_modality_alone_in_pairs_and_all(coavt, short):
    rate = 16000
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, rate // 2).astype(np.float32)
    frames = np.random.default_rng(0).integers(0, 255, (5, 40, 50, 3), np.uint8)

    def streams(**given):
        found = embed(model=coavt, **given)
        return [clip['streams'] for clip in found['clips']], len(found['texts'])

    assert streams(text='dog') == ([], 1)
    assert streams(audio=(wave, rate)) == ([['A']], 0)
    assert streams(video=frames) == ([['V']], 0)
    assert streams(video=frames, audio=(wave, rate)) == ([['AV', 'A', 'V']], 0)
    assert streams(video=frames, text=['a', 'b']) == ([['V']], 2)
    assert streams(audio=str(short), text='a') == ([['A']], 1)
    assert streams(video=short, audio=(wave, rate), text='a') == (
        [['AV', 'A', 'V']],
        1,
    )


def test_another_sound_changes_the_sound_only(coavt, short, make_clip):
    other = make_clip(seconds=0.5, frequency=2000.0)
    own, lent, alone = (
        embed(*pair, model=coavt)['clips'][0]['windows'][0]['embeddings']
        for pair in ((short,), (short, other), (other,))
    )
    np.testing.assert_array_equal(own['V'], lent['V'])
    np.testing.assert_array_equal(alone['A'], lent['A'])
    assert np.abs(own['AV'] - lent['AV']).max() > 1e-6


def test_ranks_are_those_of_the_similarity(coavt, mixture):
    texts = ['the dog', 'barks', 'the the dog barks .']
    answers = retrieve(texts, mixture[:5], model=coavt, topk=5)
    found = embed(mixture[:5], text=texts, model=coavt)
    for answer, text in zip(answers, found['texts'], strict=True):
        slow = []
        for clip in found['clips']:
            feats = clip['windows'][0]['embeddings'][clip['streams'][0]]
            slow.append(np.mean([max(q @ text['embedding'] for q in f) for f in feats]))
        assert answer['query'] == text['text']
        assert [hit['index'] for hit in answer['hits']] == np.argsort(
            -np.array(slow), kind='stable'
        ).tolist()
        best = answer['hits'][0]
        assert best['rank'] == 1 and best['candidate'] == str(mixture[best['index']])
        assert best['similarity'] == pytest.approx(max(slow), abs=1e-5)
    back = retrieve(mixture[:5], texts, model=coavt, topk=1)
    assert [len(answer['hits']) for answer in back] == [1] * 5


def test_a_given_stream_is_used_or_missed_by_name(coavt, mixture):
    hits = retrieve('dog', mixture[:2], stream='V', model=coavt)[0]['hits']
    assert {hit['stream'] for hit in hits} == {'V'}
    lack = f'{mixture[1]}: has no stream A'
    with pytest.raises(ClipError, match=lack):
        retrieve('dog', mixture[:2], stream='A', model=coavt, on_error='raise')
    with pytest.raises(ClipError, match=lack):
        retrieve('dog', mixture[1], stream='A', model=coavt)
    (answer,) = retrieve('dog', mixture[:2], stream='A', model=coavt)
    assert [hit['index'] for hit in answer['hits']] == [0]
    (error,) = answer['errors']
    assert (error['index'], error['candidate']) == (1, str(mixture[1]))
    assert error['error'].startswith(lack)


@pytest.mark.parametrize('weight', [1.0, 0.0, 40.0])
def test_re_ranking_adds_the_matching_logit(coavt, mixture, weight, monkeypatch):
    head = coavt.model.matching_head
    monkeypatch.setattr(head, 'similarity_weight', weight)
    texts = ['dog', 'barks', 'the dog barks', 'a b c']
    plain = retrieve(mixture[0], texts, model=coavt)[0]['hits']
    again = retrieve(mixture[0], texts, model=coavt, rerank=3)[0]['hits']
    with_logit = [hit for hit in again if 'match_logit' in hit]
    assert {h['candidate'] for h in with_logit} == {h['candidate'] for h in plain[:3]}
    scores = [weight * h['similarity'] + h['match_logit'] for h in with_logit]
    assert scores == sorted(scores, reverse=True)
    assert again[3]['candidate'] == plain[3]['candidate']
    by_match = {
        text['text']: text['probability']
        for text in match(mixture[0], texts, model=coavt)[0]['texts']
    }
    assert all(0 < p < 1 for p in by_match.values())


@pytest.mark.parametrize('offset', [0.0, 0.3])
def test_the_similarity_has_a_say_in_a_match(coavt, mixture, offset, monkeypatch):
    """As in re-ranking; the head alone where it has no offset."""
    head, texts = coavt.model.matching_head, ['dog', 'barks', 'the dog barks']
    monkeypatch.setattr(head, 'similarity_weight', 2.5)
    alone = match(mixture, texts, model=coavt)
    ids = coavt.texts.tokens(texts)  # enough for the head alone
    for answer, without in zip(
        coavt(mixture, match=ids)['predictions'], alone, strict=True
    ):
        best = np.max([part['matches'] for part in answer['windows']], axis=0)
        assert best == pytest.approx([x['probability'] for x in without['texts']])
    monkeypatch.setattr(head, 'similarity_offset', offset)
    fused = match(mixture, texts, model=coavt)
    with pytest.raises(ConfigError, match='tokens alone were given'):
        coavt(mixture, match=ids)
    cosines = retrieve(mixture, texts, topk=3, model=coavt)
    for without, found, hits in zip(alone, fused, cosines, strict=True):
        cosine = {hit['candidate']: hit['similarity'] for hit in hits['hits']}
        for before, after in zip(without['texts'], found['texts'], strict=True):
            odds = math.log(before['probability'] / (1 - before['probability']))
            odds += 2.5 * (cosine[after['text']] - offset)
            assert after['probability'] == pytest.approx(1 / (1 + math.exp(-odds)))
            assert after['probability'] != pytest.approx(before['probability'])


def test_prompts_average_over_templates(coavt, short):
    templates = ['the {}', '{} barks']
    found = classify(short, ['dog', 'cat'], templates=templates, model=coavt)[0]
    feats = embed(
        short, text=[t.format(x) for x in ('dog', 'cat') for t in templates],
        model=coavt,
    )  # fmt: skip
    texts = np.stack([text['embedding'] for text in feats['texts']])
    mean = texts.reshape(2, 2, -1).mean(1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    clip = feats['clips'][0]['windows'][0]['embeddings']['AV']
    logits = (clip @ mean.T).max(1).mean(0)
    logits = logits / coavt.model.contrastive_head.temperature.item()
    wanted = np.exp(logits) / np.exp(logits).sum()
    scores = {label['label']: label['score'] for label in found['labels']}
    assert scores['dog'] == pytest.approx(wanted[0], abs=1e-5)
    assert sum(scores.values()) == pytest.approx(1, abs=1e-5)


def test_a_classifier_answers_with_its_own_classes(classifier, mixture):
    answers = classify(mixture[:5], model=classifier)
    assert [answer['streams'][0] for answer in answers] == ['AV', 'V', 'V', 'A', 'AV']
    for answer in answers:
        scores = [label['score'] for label in answer['labels']]
        assert {label['label'] for label in answer['labels']} == {*tiny_apis.CLASSES}
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-5)
    some = classify(mixture[0], ['cat', 'dog'], model=classifier)[0]
    assert {label['label'] for label in some['labels']} == {'cat', 'dog'}
    assert visualize(mixture[0], mixture[0].parent / 'classes', model=classifier)


# ------------------------------------------------------------- long and many
@pytest.fixture(scope='module')
def patient(tmp_path_factory, vocabulary):
    """A model with windows of 10.24 s."""
    path = tmp_path_factory.mktemp('patient') / 'coavt.pth'
    tiny_apis.save(tiny_apis.coavt_cfg(vocabulary, seconds=10.24), path)
    return CoAVTInferencer(weights=path, device='cpu', show_progress=False)


@pytest.fixture(scope='module')
def ten_minutes(make_clip):
    return make_clip(seconds=600.0, fps=1, gop=20, sound_rate=8000)


@pytest.mark.slow
@function
def test_ten_minutes(call, patient, ten_minutes):
    answer = call(ten_minutes, model=patient)
    assert len(answer) == 1 and all(np.isfinite(numbers(answer)))
    parts = answer[0].get('windows') or answer[0].get('captions') or []
    if parts:
        assert len(parts) == 59
        assert parts[0]['start'] == 0 and parts[-1]['end'] == pytest.approx(600, 0.01)
        for left, right in zip(parts, parts[1:], strict=False):
            assert left['end'] == pytest.approx(right['start'])


@function
def test_two_hundred_clips(call, coavt):
    rng = np.random.default_rng(0)
    clips = [
        dict(
            video=rng.integers(0, 255, (4, 32, 32, 3), np.uint8),
            audio=(rng.uniform(-0.5, 0.5, 8000).astype(np.float32), 16000),
        )
        for _ in range(200)
    ]
    answer = call(clips, model=coavt, batch_size=50)
    assert len(answer) == 200 and all(np.isfinite(numbers(answer)))


def test_drawn_captions_do_not_depend_on_the_batch(coavt, mixture):
    draw = dict(top_p=0.9, temperature=2.0, max_new_tokens=6, seed=1, model=coavt)
    one, seven = (caption(mixture, batch_size=n, **draw) for n in (1, 7))
    assert one == seven
    assert len({answer['captions'][0]['text'] for answer in one}) > 1


def test_pictures_of_all_kinds(coavt, mixture, tmp_path):
    paths = visualize(mixture[:5], tmp_path, ['dog', 'the barks'], model=coavt)
    assert len(paths) == 5 and all(path.stat().st_size > 10_000 for path in paths)
    assert visualize(mixture[0], tmp_path / 'bare', model=coavt)[0].is_file()
