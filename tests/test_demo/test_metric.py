import json

import pytest
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from coavt_mm.demo.metric import AttributeAccuracy, attribute_accuracy
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.registry import METRICS

TRUTH = (
    'a red circle moves in the top left on a dark ground '
    'while a rising bell sounds twice'
)
PARAPHRASE = (
    'a chime plays a climbing note two times and '
    'a scarlet disc drifts at the upper left of a black background'
)


def test_paraphrases_are_right():
    shares = attribute_accuracy([PARAPHRASE, TRUTH], [[TRUTH], [PARAPHRASE, TRUTH]])
    assert set(shares.values()) == {1.0}
    assert len(shares) == 8


def test_missing_wrong_and_contradicting_words_are_wrong():
    text = 'a blue circle circle in the top left bottom left with a rising flute bell'
    shares = attribute_accuracy([text], [[TRUTH]])
    right = {name for name, share in shares.items() if share == 1.0}
    assert right == {'shape', 'contour'}
    assert shares['all'] == pytest.approx(2 / 7)


def test_only_attributes_that_the_references_name_count():
    shares = attribute_accuracy([TRUTH, ''], [['a rising bell'], ['a red star']])
    assert shares == {
        'all': 0.5,
        'shape': 0.0,
        'colour': 0.0,
        'timbre': 1.0,
        'contour': 1.0,
    }


def test_other_data_sets_are_refused():
    with pytest.raises(ConfigError, match='Sounding Shapes'):
        attribute_accuracy(['a dog barks'], [['a dog is barking']])


def test_predictions_and_references_must_pair_up():
    with pytest.raises(ValueError):
        attribute_accuracy([TRUTH], [[TRUTH], [TRUTH]])


def _sample(index, name, greedy, beam):
    meta = dict(sample_idx=index, sample_id=name, texts=[TRUTH])
    sample = BaseDataElement(metainfo=meta)
    sample.pred_caption = {'greedy': greedy, 'beam': beam}
    return sample


def _evaluate(samples, size, **options):
    evaluator = Evaluator([METRICS.build({'type': 'AttributeAccuracy', **options})])
    for sample in samples:  # batches of one
        evaluator.process([sample])
    return evaluator.evaluate(size)


A, B = (0, 'a', PARAPHRASE, 'a red disc'), (1, 'b', '', TRUTH)


def test_metric_by_decoder_with_file(tmp_path):
    out_file = tmp_path / 'new' / 'captions.json'
    metrics = _evaluate([_sample(*A), _sample(*B)], 2, out_file=str(out_file))
    assert metrics['caption/greedy/all'] == 0.5
    assert metrics['caption/beam/all'] == pytest.approx(9 / 14)
    assert metrics['caption/beam/colour'] == 1.0
    report = json.loads(out_file.read_text())
    assert (report['metric'], report['clips']) == ('attribute_accuracy', 2)
    assert [clip['sample_id'] for clip in report['predictions']] == ['a', 'b']
    assert report['predictions'][0]['predictions']['beam'] == 'a red disc'
    assert report['shares']['greedy/shape'] == 0.5


def test_lost_or_repeated_clips_are_refused():
    with pytest.raises(CoAVTError, match="'a' was counted twice"):
        _evaluate([_sample(*A), _sample(*B), _sample(*A)], 3)
    with pytest.raises(CoAVTError, match='2 of 3 samples arrived'):
        _evaluate([_sample(*A), _sample(*B)], 3)
    nameless = [_sample(None, *A[1:]), _sample(None, *A[1:])]
    with pytest.raises(CoAVTError, match="'a' was counted twice"):
        _evaluate(nameless, 2)


def test_model_without_captions():
    sample = BaseDataElement(metainfo={'sample_id': 'x', 'texts': [TRUTH]})
    with pytest.raises(ConfigError, match="'x' has no pred_caption"):
        AttributeAccuracy().process(None, [sample.to_dict()])
