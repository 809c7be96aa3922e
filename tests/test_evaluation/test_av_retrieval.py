import json
import math

import pytest
import torch
from av_retrieval_parts import as_element, evaluate_rank, make_samples
from mmengine.evaluator import Evaluator
from ranks import run_two_ranks
from torch.nn.functional import normalize

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation import AVRetrievalMetric
from coavt_mm.evaluation.av_retrieval import chance_level

META = dict(
    protocol='toy-av-5',
    manifest='toy.jsonl',
    hash='0123456789abcdef',
    missing=1,
    ceilings={'AV': {'R@1': 100.0}, 'audio_visual': chance_level(4)},
)


def evaluate(samples, batch=2, meta=META, **kwargs):
    evaluator = Evaluator(dict(type='coavt_mm.AVRetrievalMetric', **kwargs))
    evaluator.dataset_meta = meta
    for start in range(0, len(samples), batch):
        evaluator.process([as_element(s) for s in samples[start : start + batch]])
    flat = evaluator.evaluate(len(samples))
    return evaluator.metrics[0].last_results, flat


def slow_ranks(samples, space):
    """One pair after another: ranks sound -> picture, and picture -> sound."""
    sounds, pictures = [], []
    for sample in samples:
        if space == 'encoder':
            sound, frames = sample['token_feats']['A'][0], sample['token_feats']['V']
        else:
            queries = sample['clip_feats']
            sound = normalize(queries['A'][0].mean(0), dim=0)
            frames = [normalize(frame.mean(0), dim=0) for frame in queries['V']]
        sounds.append(sound)
        pictures.append(frames)
    table = [
        [sum((s @ f).item() for f in frames) / len(frames) for frames in pictures]
        for s in sounds
    ]
    n = range(len(table))
    forward = [1 + sum(table[i][j] >= table[i][i] for j in n if j != i) for i in n]
    backward = [1 + sum(table[j][i] >= table[i][i] for j in n if j != i) for i in n]
    return forward, backward


@pytest.mark.parametrize(('number', 'frames'), [(1, 1), (7, 1), (13, 3)])
def test_ranks_equal_the_slow_version(number, frames):
    samples = make_samples(number, frames, seed=number)
    report, flat = evaluate(samples)
    for space in ('encoder', 'query'):
        found = slow_ranks(samples, space)
        for direction, ranks in zip(
            ('audio_to_visual', 'visual_to_audio'), found, strict=True
        ):
            summary = report[direction][space]
            mean = sum(ranks) / number
            assert summary['MeanR'] == pytest.approx(mean)
            for k in (1, 5, 10):
                share = sum(rank <= k for rank in ranks) / number
                assert summary[f'R@{k}'] == pytest.approx(100 * share)
                name = f'av_retrieval/{direction}/{space}/R@{k}'
                assert flat[name] == summary[f'R@{k}']
    assert len(flat) == 20


def test_clips_that_tie_count_against_the_query():
    samples = make_samples(3)
    for sample in samples:  # the same picture thrice, each sound its own
        sample['token_feats']['V'] = torch.eye(6)[:1]
    report, _ = evaluate(samples, spaces=['encoder'])
    assert report['audio_to_visual']['encoder']['MeanR'] == 3
    assert list(report['visual_to_audio']) == ['encoder']


def test_a_clip_without_picture_is_not_in_the_gallery():
    samples = make_samples(5, lacking=(1, 3))
    report, _ = evaluate(samples)
    whole, _ = evaluate([s for i, s in enumerate(samples) if i not in (1, 3)])
    assert (report['clips'], report['gallery'], report['missing']) == (5, 3, 1)
    for direction in ('audio_to_visual', 'visual_to_audio'):
        assert report[direction] == whole[direction]


def test_report_names_what_was_measured(tmp_path):
    report, _ = evaluate(make_samples(4), out_dir=str(tmp_path / 'new'))
    saved = json.loads((tmp_path / 'new/av_retrieval.json').read_text())
    assert saved == report
    assert saved['metric'] == 'av_retrieval'
    assert saved['manifest_hash'] == META['hash']
    assert saved['ceilings'] == META['ceilings']['audio_visual']
    chance = {'R@1': 25.0, 'R@5': 100.0, 'R@10': 100.0, 'MedR': 2.5, 'MeanR': 2.5}
    assert saved['chance'] == chance
    table = (tmp_path / 'new/av_retrieval.md').read_text()
    assert 'protocol toy-av-5' in table
    assert 'gallery 4' in table
    assert table.count('ceiling') == table.count('chance') == 1
    assert (tmp_path / 'new/av_recall_curves.png').stat().st_size > 5000


def test_without_known_ceilings_there_are_none(tmp_path):
    report, _ = evaluate(make_samples(2), meta=None, out_dir=str(tmp_path))
    assert report['ceilings'] is None
    assert 'ceiling' not in (tmp_path / 'av_retrieval.md').read_text()


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_not_finite_features_name_the_sample(bad):
    samples = make_samples(3)
    samples[1]['clip_feats']['V'][0, 1, 2] = bad
    with pytest.raises(CoAVTError, match="query.*'clip_1'"):
        evaluate(samples)


def test_nothing_to_rank_is_an_error():
    with pytest.raises(CoAVTError, match='no clip has encoder'):
        evaluate(make_samples(2, lacking=(0, 1)))
    samples = make_samples(2)
    for sample in samples:
        sample['clip_feats'] = {}  # a model without contrastive head
    with pytest.raises(CoAVTError, match='no clip has query'):
        evaluate(samples)


def test_samples_counted_twice_are_an_error():
    samples = make_samples(2)
    with pytest.raises(CoAVTError, match='counted twice'):
        evaluate([samples[0], samples[0]])


@pytest.mark.parametrize('spaces', [['tokens'], []])
def test_unknown_spaces_are_refused(spaces):
    with pytest.raises(ConfigError, match='encoder'):
        AVRetrievalMetric(spaces=spaces)


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path):
    out = str(tmp_path / 'two')
    run_two_ranks(evaluate_rank, out)
    _, one = evaluate(make_samples(5, frames=2, lacking=(2,)), meta=None)
    assert torch.load(f'{out}.0') == one
    assert torch.load(f'{out}.1') == one
