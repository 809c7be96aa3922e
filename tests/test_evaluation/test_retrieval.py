import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import Evaluator
from ranks import run_two_ranks
from retrieval_parts import (
    TableModel,
    as_element,
    evaluate_part,
    evaluate_two,
    fail_on_the_second,
    gather_stream,
    make_samples,
)

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation import RetrievalMetric
from coavt_mm.evaluation.retrieval import stream_texts
from coavt_mm.evaluation.retrieval_report import markdown_table
from coavt_mm.models import MatchingHead

META = dict(
    protocol='toy-7',
    manifest='toy.jsonl',
    hash='0123456789abcdef',
    missing=2,
    ceilings={'AV': {'R@1': 100.0}, 'A': {'R@1': 40.0}},
)


def run(samples, meta=META, model=None, batch=2, **kwargs):
    """Through mmengine's Evaluator; gives the metric and the flat numbers."""
    evaluator = Evaluator(dict(type='coavt_mm.RetrievalMetric', **kwargs))
    evaluator.dataset_meta = meta
    metric = evaluator.metrics[0]
    metric.model = model
    for start in range(0, len(samples), batch):
        evaluator.process([as_element(s) for s in samples[start : start + batch]])
    return metric, evaluator.evaluate(len(samples))


def test_flat_numbers_and_nested_results_agree():
    samples = make_samples([2, 1, 0, 3, 1, 1, 2], lacking={4: 'A', 6: ''})
    metric, flat = run(samples)
    results = metric.last_results
    assert results['clips'] == 7
    assert results['captions'] == 10
    assert results['missing'] == 2
    assert results['manifest_hash'] == META['hash']
    assert results['ceilings'] == META['ceilings']
    # texts are AV, A, AV, V, AV, A, AV, V, AV, A
    assert results['streams'] == {
        'AV': {'gallery': 5, 'captions': 3, 'missing': 2},
        'A': {'gallery': 6, 'captions': 6, 'missing': 1},
        'V': {'gallery': 5, 'captions': 5, 'missing': 2},
    }
    for direction in ('text_to_clip', 'clip_to_text'):
        for stream in ('AV', 'A', 'V'):
            summary = results[direction][stream]
            assert set(summary) == {'R@1', 'R@5', 'R@10', 'MedR', 'MeanR'}
            for name, value in summary.items():
                assert flat[f'retrieval/{direction}/{stream}/{name}'] == value
    assert len(flat) == 30


def test_captions_count_for_the_streams_they_speak_of():
    samples = make_samples([4, 1])  # AV, A, AV, V | AV
    expected = {'AV': [0, 2, 4], 'A': [0, 1, 2, 4], 'V': [0, 2, 3, 4]}
    for stream, numbers in expected.items():
        found = stream_texts(samples, gather_stream(samples, stream))
        assert found == [f'text {n}' for n in numbers]


def test_perfect_features_reach_100():
    samples = make_samples([1, 1, 1])
    for i, sample in enumerate(samples):
        one_hot = torch.eye(5)[i]
        sample['clip_feats'] = {'AV': one_hot.expand(2, 3, 5)}
        sample['caption_feats'] = one_hot[None]
        sample['text_streams'] = ['AV']
    metric, flat = run(samples, meta=None)
    assert flat['retrieval/text_to_clip/AV/R@1'] == 100
    assert flat['retrieval/clip_to_text/AV/MeanR'] == 1
    assert list(metric.last_results['text_to_clip']) == ['AV']
    assert metric.last_results['missing'] is None


def test_no_caption_with_its_clip_is_said_not_scored():
    samples = make_samples([0, 1], lacking={1: ''})
    metric, flat = run(samples)
    assert flat == {}
    assert metric.last_results['streams'] == {}


def test_all_modes_under_their_own_labels():
    samples = make_samples([2, 1, 1, 2])
    model = TableModel(torch.randn(4, 6))
    modes = ('cosine', 'matching', 'matching_only', 'softmax_product')
    metric, flat = run(samples, model=model, modes=modes, topk=3)
    for mode in modes:
        label = '' if mode == 'cosine' else f'_{mode}'
        streams = {'AV'} if mode.startswith('matching') else {'AV', 'A', 'V'}
        assert set(metric.last_results[f'text_to_clip{label}']) == streams
        assert f'retrieval/clip_to_text{label}/AV/R@1' in flat
    assert 'retrieval/matching_accuracy' not in flat
    again, alone = run(samples)
    assert all(flat[key] == value for key, value in alone.items())


def hand_made():
    """Two clips with five captions each, similarities and logits given outright.

    Clip 0 is the axis x, clip 1 the axis y, so a caption's coordinates are its
    similarities with them.
    """
    captions = torch.tensor(
        [
            [[0.9, 0.1], [0.6, 0.8], [0.3, 0.3], [0.0, 0.5], [0.7, 0.2]],
            [[0.8, 0.6], [0.1, 0.4], [0.2, 0.9], [0.5, 0.0], [0.4, 0.4]],
        ]
    )
    logits = torch.tensor(
        [  # of clip 0, then of clip 1, with the ten captions
            [0.0, 1.0, 0.0, 0.0, -1.0, 0.5, 0.0, 0.0, 0.0, 0.2],
            [0.2, 0.9, 0.0, -1.0, 2.0, 0.4, 0.0, 1.0, 0.6, 0.1],
        ]
    )
    samples = make_samples([5, 5])
    for i, sample in enumerate(samples):
        sample['clip_feats'] = {'AV': torch.eye(2)[i].view(1, 1, 2)}
        sample['caption_feats'] = captions[i]
        sample['text_streams'] = ['AV'] * 5
        sample['tokens'] = sample['tokens'][:1]
    return samples, TableModel(logits)


# Ranks of the ten captions and of the two clips, worked out on paper; ties count
# against the query.
BY_HAND = {
    # own similarity against the other's: .9>.1 .6<.8 .3=.3 0<.5 .7>.2 | .6<.8 .4>.1
    # .9>.2 0<.5 .4=.4; clip 0's best caption .9 beats .8; clip 1's .9 beats .8
    'cosine': ([1, 2, 2, 2, 1, 2, 1, 1, 2, 2], [1, 1]),
    # logit + similarity, own against other: .9>.3 1.6<1.7 .3=.3 0>-.5 -.3<2.2 |
    # 1.0<1.3 .4>.1 1.9>.2 .6>.5 .5<.6; clip 0's best 1.6 beats 1.3; clip 1's 1.9 is
    # below 2.2 of a caption of clip 0
    'matching': ([1, 2, 2, 1, 2, 2, 1, 1, 1, 2], [1, 2]),
    # logit alone: 0<.2 1>.9 0=0 0>-1 -1<2 | .4<.5 0=0 1>0 .6>0 .1<.2; clip 0's best
    # 1.0 beats .5; clip 1's 1.0 is below 2.0
    'matching_only': ([2, 1, 2, 1, 2, 2, 2, 1, 1, 2], [1, 2]),
}


@pytest.mark.parametrize('mode', BY_HAND)
def test_modes_equal_what_was_worked_out_by_hand(mode):
    samples, model = hand_made()
    forward, backward = (torch.tensor(ranks).double() for ranks in BY_HAND[mode])
    metric, _ = run(samples, model=model, modes=(mode,))
    label = '' if mode == 'cosine' else f'_{mode}'
    for direction, ranks in (('text_to_clip', forward), ('clip_to_text', backward)):
        found = metric.last_results[direction + label]['AV']
        assert found['R@1'] == 100 * (ranks == 1).double().mean()
        assert found['MeanR'] == pytest.approx(ranks.mean().item())


def test_softmax_product_equals_what_was_worked_out_by_hand():
    """Similarities with clips 0 and 1: .9 .5 of caption 0, .8 .7 of caption 1.

    At temperature 1 half of ln(e^.9 + e^.8) = 1.5444 is taken from clip 0 and half of
    ln(e^.5 + e^.7) = 1.2981 from clip 1. Caption 1 is left with .0278 and .0509, so
    that its own clip comes first.
    """
    samples = make_samples([1, 1])
    for i, row in enumerate([[0.9, 0.5], [0.8, 0.7]]):
        samples[i]['clip_feats'] = {'AV': torch.eye(2)[i].view(1, 1, 2)}
        samples[i]['caption_feats'] = torch.tensor([row])
        samples[i]['text_streams'] = ['AV']
    metric, _ = run(samples, modes=('cosine', 'softmax_product'), temperature=1.0)
    assert metric.last_results['text_to_clip']['AV']['R@1'] == 50
    assert metric.last_results['text_to_clip_softmax_product']['AV']['R@1'] == 100
    assert metric.last_results['clip_to_text_softmax_product']['AV']['R@1'] == 100


def test_the_old_name_of_the_product_warns_and_goes_on():
    samples = make_samples([2, 1, 1, 2])
    with pytest.warns(FutureWarning, match="'softmax_product' now.*'query_softmax'"):
        metric, old = run(samples, modes=('dual_softmax',))
    _, new = run(samples, modes=('softmax_product',))
    assert old == {
        name.replace('softmax_product', 'dual_softmax'): value
        for name, value in new.items()
    }
    table = markdown_table(metric.last_results)
    assert '| softmax_product |' in table and 'dual' not in table


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (None, dict(query_softmax=0.1, softmax_product=0.01)),
        (0.05, dict(query_softmax=0.05, softmax_product=0.05)),
    ],
)
def test_each_softmax_has_its_temperature(given, expected):
    modes = ('cosine', 'query_softmax', 'softmax_product')
    metric, _ = run(make_samples([2, 1, 1]), modes=modes, temperature=given)
    assert metric.last_results['temperatures'] == expected
    assert f'query_softmax {expected["query_softmax"]}' in markdown_table(
        metric.last_results
    )
    metric, _ = run(make_samples([2, 1, 1]))
    assert metric.last_results['temperatures'] == {}


def test_query_softmax_equals_what_was_worked_out_by_hand():
    """Similarities with clips 0 and 1: .9 .5 of caption 0, .8 .7 of caption 1.

    At temperature 1, over the captions: clip 0 has shares e^.9, e^.8 / 4.6851 = .5250,
    .4750, clip 1 e^.5, e^.7 / 3.6625 = .4502, .5498. Caption 1 has .8 * .4750 = .380
    and .7 * .5498 = .385, so that its own clip comes first.
    """
    samples = make_samples([1, 1])
    for i, row in enumerate([[0.9, 0.5], [0.8, 0.7]]):
        samples[i]['clip_feats'] = {'AV': torch.eye(2)[i].view(1, 1, 2)}
        samples[i]['caption_feats'] = torch.tensor([row])
        samples[i]['text_streams'] = ['AV']
    metric, _ = run(samples, modes=('cosine', 'query_softmax'), temperature=1.0)
    assert metric.last_results['text_to_clip']['AV']['R@1'] == 50
    assert metric.last_results['text_to_clip_query_softmax']['AV']['R@1'] == 100
    assert metric.last_results['clip_to_text_query_softmax']['AV']['R@1'] == 100


def test_matching_accuracy_is_a_share():
    samples = make_samples([1, 2, 1])
    model = TableModel(torch.tensor([-1.0]).expand(3, 4).clone())  # always 'no'
    metric, flat = run(samples, model=model, matching_accuracy=True)
    parts = metric.last_results['matching_accuracy_parts']
    assert parts == {'positive': 0.0, 'hard_clip': 1.0, 'hard_caption': 1.0}
    # text streams AV, A, AV, V: 2 captions speak of both, 3 clips
    assert flat['retrieval/matching_accuracy'] == pytest.approx(5 / 7)


def test_pairs_are_judged_by_the_similarity_where_it_has_a_say(monkeypatch):
    model = TableModel(torch.full((3, 4), -1.0))  # always 'no'
    # and the similarity always 'yes', louder
    head = MatchingHead(8, similarity_weight=100.0, similarity_offset=-1.0)
    monkeypatch.setattr(TableModel, 'matching_head', head)
    metric, _ = run(make_samples([1, 2, 1]), model=model, matching_accuracy=True)
    parts = metric.last_results['matching_accuracy_parts']
    assert parts == {'positive': 1.0, 'hard_clip': 0.0, 'hard_caption': 0.0}
    assert 'held-out pairs: 28.6 %' in markdown_table(metric.last_results)


@pytest.mark.parametrize(
    'kwargs', [dict(modes=['matching']), dict(matching_accuracy=True)]
)
def test_matching_without_a_model_says_so_before_extraction(kwargs):
    with pytest.raises(ConfigError, match='hook'):
        run(make_samples([1, 1]), **kwargs)


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(modes=['cosin']),
        dict(plots=True),
        dict(feature_dtype='int8'),
        dict(temperature=0.0),
    ],
)
def test_settings_that_make_no_sense_are_refused(kwargs):
    with pytest.raises(ConfigError):
        RetrievalMetric(**kwargs)


@pytest.mark.parametrize('bad', [math.nan, math.inf])
@pytest.mark.parametrize('where', ['clip_feats', 'caption_feats'])
def test_not_finite_features_name_the_sample(bad, where):
    samples = make_samples([1, 2, 1])
    feats = samples[1][where]
    (feats['A'] if where == 'clip_feats' else feats)[0, 0] = bad
    with pytest.raises(CoAVTError, match=f"{where}.*'clip_1'"):
        run(samples)


def test_samples_counted_twice_or_not_at_all_are_errors():
    samples = make_samples([1, 1, 1])
    with pytest.raises(CoAVTError, match='counted twice'):
        run([samples[0], samples[1], samples[1]])
    metric = RetrievalMetric()
    metric.process(None, samples[:2])
    with pytest.raises(CoAVTError, match='2 of 3'):
        metric.evaluate(3)


def test_texts_without_features_are_an_error():
    samples = make_samples([1, 2])
    samples[1]['caption_feats'] = samples[1]['caption_feats'][:1]
    with pytest.raises(CoAVTError, match='clip_1'):
        run(samples)


def test_clips_of_different_shape_are_an_error():
    samples = make_samples([1, 1])
    samples[0]['clip_feats']['AV'] = torch.ones(1, 3, 5)
    with pytest.raises(CoAVTError, match='stream AV'):
        run(samples)


def test_unreadable_clips_count_as_missing():
    samples = make_samples([1, 2, 1], lacking={1: ''})
    samples[1]['error'] = 'no such stream'
    metric, _ = run(samples)
    results = metric.last_results
    assert (results['clips'], results['captions'], results['missing']) == (2, 2, 3)


def test_report_is_saved(tmp_path):
    samples = make_samples([1, 2, 1])
    note = 'clips that others trained on'
    metric, _ = run(samples, out_dir=str(tmp_path / 'deep' / 'out'), note=note)
    saved = json.loads((tmp_path / 'deep/out/retrieval.json').read_text())
    assert saved == metric.last_results
    assert saved['metric'] == 'retrieval'
    table = (tmp_path / 'deep/out/retrieval.md').read_text()
    assert 'protocol toy-7' in table
    assert 'missing 2' in table
    assert '0123456789ab,' in table
    assert note in table


def test_saved_features_give_the_same_numbers(tmp_path):
    file = str(tmp_path / 'new' / 'features.pth')
    samples = make_samples([2, 0, 1], integers=True)
    model = TableModel(torch.arange(9.0).reshape(3, 3).sin())
    modes = ('cosine', 'matching', 'matching_only', 'softmax_product')
    first, flat = run(samples, features_file=file, model=model, modes=modes)
    metric = RetrievalMetric(modes=modes)
    metric.model = model
    again = metric.evaluate_file(file)
    assert {f'retrieval/{key}': value for key, value in again.items()} == flat
    assert metric.last_results == first.last_results  # protocol and hash as well


@pytest.mark.parametrize('content', [None, b'text', b''])
def test_what_are_no_features_is_said(tmp_path, content):
    path = tmp_path / 'x.pth'
    if content is None:
        torch.save([1], path)
    else:
        path.write_bytes(content)
    with pytest.raises(CoAVTError, match=r'x\.pth'):
        RetrievalMetric().evaluate_file(str(path))
    with pytest.raises(CoAVTError, match='no such checkpoint file'):
        RetrievalMetric().evaluate_file(str(tmp_path / 'y.pth'))


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_features_can_be_kept_in_half(dtype):
    samples = make_samples([2, 0, 1], integers=True)  # whole numbers lose nothing
    assert run(samples, feature_dtype=dtype)[1] == run(samples)[1]


def test_a_record_does_not_drag_its_batch_along():
    batch = torch.zeros(50, 2, 3, 5)
    sample = make_samples([1])[0]
    sample['clip_feats'] = {'AV': batch[3]}
    metric = RetrievalMetric()
    metric.process(None, [sample])
    storage = metric.results[0]['clip_feats']['AV'].untyped_storage()
    assert storage.nbytes() == 2 * 3 * 5 * 4


@pytest.mark.slow
@pytest.mark.parametrize('file', [False, True])
def test_two_ranks_equal_one(tmp_path, file):
    out = str(tmp_path / 'two')
    run_two_ranks(evaluate_two, out, file)
    evaluate_part(0, 1, str(tmp_path / 'one'), file)
    one, pairs, _ = torch.load(f'{tmp_path}/one.0')
    assert len(one) > 80
    key = '/clip_to_text/V/MeanR'
    assert one['retrieval' + key] != one['shared' + key]
    each = [torch.load(f'{out}.{rank}') for rank in range(2)]
    assert [found for found, _, _ in each] == [one, one]
    shares = [asked for _, asked, _ in each]
    assert sum(shares) == pairs and min(shares) > 0.4 * pairs  # shared out evenly
    own = [{0, 2, 6}, {1, 3, 5}]  # clip 4 lacks a modality
    if not file:  # each judges the clips that it read, whose tokens did not travel
        assert [clips for _, _, clips in each] == own
    else:
        saved = [torch.load(f'{tmp_path}/{n}.features.pth') for n in ('one', 'two')]
        for one, two in zip(*(parts['records'] for parts in saved), strict=True):
            assert torch.equal(one['tokens'], two['tokens'])


@pytest.mark.slow
def test_what_fails_on_one_process_ends_all(tmp_path):
    out = str(tmp_path / 'fails')
    run_two_ranks(fail_on_the_second, out)
    said = 'RuntimeError: no memory is left'
    assert [Path(f'{out}.{rank}').read_text() for rank in range(2)] == [said, said]
    logs = [Path(f'{out}.log.{rank}').read_text() for rank in range(2)]
    assert ['in match_context' in log for log in logs] == [False, True]  # where it was
