import json
import math

import numpy as np
import pytest
import torch
from class_parts import (
    CLASSES,
    META,
    evaluate,
    evaluate_part,
    evaluate_two,
    prediction,
    predictions,
)
from ranks import run_two_ranks
from sklearn.metrics import average_precision_score

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation import ClassificationMetric


def arrays(samples):
    labels = np.zeros((len(samples), len(CLASSES)), dtype=bool)
    for row, sample in zip(labels, samples, strict=True):
        row[sample.gt_label] = True
    return np.stack([s.pred_score.numpy() for s in samples]), labels


def test_the_report_says_what_was_scored():
    samples = predictions()
    metric, flat = evaluate(samples)
    results = metric.last_results
    assert {k: results[k] for k in ('metric', 'protocol', 'manifest', 'clips')} == dict(
        metric='classification', protocol='toy-9', manifest='toy.jsonl', clips=9
    )
    assert (results['manifest_hash'], results['missing']) == ('0123456789ab', 2)
    assert (results['unscored'], results['streams']) == (0, {'AV': 9})
    assert (results['classes'], results['classes_without_clips']) == (7, 1)
    scores, labels = arrays(samples)
    expected = average_precision_score(labels[:, :6], scores[:, :6], average='macro')
    assert flat['classification/mAP'] == results['mAP'] == pytest.approx(expected)
    assert results['per_class'][6] == {'class': 'bell', 'clips': 0, 'AP': None}
    assert set(flat) == {f'classification/{n}' for n in ('mAP', 'mAUC', 'd_prime')}


def test_single_label_numbers():
    metric, flat = evaluate(predictions(single=True), task='single_label')
    names = ('top1', 'top5', 'mean_class_accuracy')
    assert set(flat) == {f'classification/{name}' for name in names}
    last = metric.last_results['per_class'][6]
    assert last == {'class': 'bell', 'clips': 0, 'accuracy': None}


def test_perfect_scores():
    samples = [prediction(i, torch.eye(7)[i], [i]) for i in range(7)]
    metric, flat = evaluate(samples)
    assert flat == {'classification/mAP': 1, 'classification/mAUC': 1}
    assert metric.last_results['d_prime'] is None  # it is infinite
    _, flat = evaluate(samples, task='single_label')
    assert set(flat.values()) == {1}


def test_clips_without_the_modality_are_counted_not_scored():
    samples = predictions()
    _, alone = evaluate(samples[1:])
    samples[0] = prediction(0, None, [1])
    metric, flat = evaluate(samples)
    assert flat == alone
    assert (metric.last_results['unscored'], metric.last_results['clips']) == (1, 9)


def test_unreadable_clips_count_as_missing():
    samples = predictions()
    samples[3] = prediction(3, None, [1], error='no such file')
    results = evaluate(samples)[0].last_results
    assert (results['clips'], results['missing'], results['unscored']) == (8, 3, 0)


def test_ceilings_by_stream():
    observable = dict(AV=CLASSES, A=CLASSES[:2], V=[])
    samples = predictions()
    ceilings = evaluate(samples, observable_classes=observable)[0].last_results[
        'ceilings'
    ]
    shares = arrays(samples)[1].mean(0)[:6]
    assert ceilings['AV']['mAP'] == 1
    assert ceilings['A']['mAP'] == pytest.approx((2 + shares[2:].sum()) / 6)
    assert ceilings['V']['mAP'] == pytest.approx(shares.mean())
    with pytest.raises(ConfigError, match="'barks' .* did you mean 'bark'"):
        evaluate(samples, observable_classes=dict(A=['barks']))


def test_the_old_name_of_the_observable_classes_warns_and_goes_on():
    given = dict(A=CLASSES[:2])
    _, flat = evaluate(predictions(), observable_classes=given)
    new = evaluate(predictions(), observable_classes=given)[0].last_results
    with pytest.warns(FutureWarning, match="'sensed' is called 'observable_classes'"):
        metric, old = evaluate(predictions(), sensed=given)
    assert old == flat and metric.last_results == new


@pytest.fixture
def relabels(tmp_path):
    """The labels that one hears, for two of the clips and one that is not there."""
    rows = [
        dict(id='clip_1', clip='a.mp4', labels=['bark', 'rain']),
        dict(id='clip_4', clip='b.mp4', labels=['song']),
        dict(id='gone', clip='c.mp4', labels=['song']),
    ]
    path = tmp_path / 'heard.jsonl'
    path.write_text('\n'.join(map(json.dumps, rows)))
    (tmp_path / 'heard.meta.json').write_text('{"protocol": "toy-a", "missing": 1}')
    return path


def test_other_labels_of_the_same_clips(relabels):
    samples = [prediction(i, torch.eye(7)[3], [3]) for i in range(6)]
    metric, flat = evaluate(samples, task='single_label', relabels=dict(A=relabels))
    found = metric.last_results['relabels']['A']
    assert (found['protocol'], found['clips'], found['missing']) == ('toy-a', 2, 2)
    assert flat['classification/top1'] == 1
    assert flat['classification/relabels/A/top1'] == 0.5  # rain is heard in clip_1
    assert flat['classification/relabels/A/f1'] == pytest.approx(2 / 5)
    with pytest.raises(ConfigError, match='none of the clips'):
        evaluate(samples[:1], task='single_label', relabels=dict(A=relabels))


def test_report_and_plots_are_saved(tmp_path, relabels):
    options = dict(
        out_dir=str(tmp_path / 'x/out'), plots=True, observable_classes=dict(A=['bark'])
    )
    metric, _ = evaluate(predictions(), relabels=dict(heard=relabels), **options)
    saved = json.loads((tmp_path / 'x/out/classification.json').read_text())
    assert saved == metric.last_results
    table = (tmp_path / 'x/out/classification.md').read_text()
    for words in ('protocol toy-9', 'hash 0123456789ab', 'missing 2', 'A: ceiling'):
        assert words in table
    assert 'labels heard: toy-a, 2 clips, 2 missing' in table
    assert f'{100 * saved["mAP"]:.1f}' in table
    evaluate(predictions(single=True), task='single_label', **options)
    written = {p.name for p in (tmp_path / 'x/out').glob('*.png')}
    assert written == {'per_class.png', 'confusion_matrix.png'}


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_not_finite_scores_name_the_sample(bad):
    samples = predictions()
    samples[5].pred_score[2] = bad
    with pytest.raises(CoAVTError, match="'clip_5' holds NaN"):
        evaluate(samples)


def test_samples_counted_twice_or_not_at_all_are_errors():
    samples = predictions()
    with pytest.raises(CoAVTError, match='counted twice'):
        evaluate([*samples, samples[2]])
    with pytest.raises(CoAVTError, match='9 of 11'):
        evaluate(samples, size=11)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match='task'):
        ClassificationMetric(task='multilabel')
    with pytest.raises(ConfigError, match='out_dir'):
        ClassificationMetric(plots=True)
    with pytest.raises(ConfigError, match='names no classes'):
        evaluate(predictions(), meta=dict(META, classes=None))
    with pytest.raises(ConfigError, match='scores 7 classes, the data set has 6'):
        evaluate(predictions(), meta=dict(META, classes=CLASSES[:6]))
    with pytest.raises(ConfigError, match="1 clips have no label.*'clip_0'"):
        evaluate([prediction(0, torch.ones(7), [])], task='single_label')
    with pytest.raises(CoAVTError, match='no clip was scored'):
        evaluate([prediction(0, None, [1])])
    sample = predictions(1)[0]
    del sample.gt_label
    with pytest.raises(ConfigError, match='no gt_label'):
        evaluate([sample])


def test_a_record_does_not_drag_its_batch_along():
    metric = ClassificationMetric()
    metric.process(None, [prediction(0, torch.zeros(50, 7)[3], [1]).to_dict()])
    assert metric.results[0]['scores'].base is None


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path):
    out = str(tmp_path / 'two')
    run_two_ranks(evaluate_two, out)
    evaluate_part(0, 1, str(tmp_path / 'one'))
    one = torch.load(f'{tmp_path}/one.0')
    assert len(one) == 3
    assert torch.load(f'{out}.0') == one
    assert torch.load(f'{out}.1') == one
