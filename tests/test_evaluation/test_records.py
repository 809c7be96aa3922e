"""A file of features is looked at before anything is ranked from it."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from retrieval_parts import TableModel, make_samples

from coavt_mm.errors import CoAVTError
from coavt_mm.evaluation import AVRetrievalMetric, RetrievalMetric
from coavt_mm.evaluation.records import read_records

TOOL = Path(__file__).parents[2] / 'tools/analysis/rescore.py'


@pytest.fixture
def saved(tmp_path):
    """A good file: its path and content."""
    path = tmp_path / 'features.pth'
    metric = RetrievalMetric(modes=('matching',), features_file=str(path))
    metric.model = TableModel(torch.zeros(5, 7))
    metric.dataset_meta = dict(protocol='toy', missing=1, ceilings={'AV': {'R@1': 9}})
    metric.process(None, make_samples([2, 1, 0, 3, 1]))
    metric.evaluate(5)
    return path, torch.load(path)


def refuse(path, content, match, **kwargs):
    """evaluate_file says what is wrong in one line that names the file."""
    torch.save(content, path)
    with pytest.raises(CoAVTError, match=match) as error:
        RetrievalMetric(**kwargs).evaluate_file(str(path))
    assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_a_good_file_is_read(saved):
    path, content = saved
    meta, records = read_records(path)
    assert meta['protocol'] == 'toy' and len(records) == 5
    assert content.keys() == {'meta', 'records'}
    RetrievalMetric().evaluate_file(str(path))


@pytest.mark.parametrize('bad', [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize('where', ['caption_feats', 'clip_feats'])
@pytest.mark.parametrize('every', [True, False])
def test_features_that_are_not_finite_are_refused(saved, bad, where, every):
    path, content = saved
    for record in content['records'] if every else content['records'][3:4]:
        feats = record[where]
        for tensor in feats.values() if where == 'clip_feats' else [feats]:
            tensor.fill_(bad) if every else tensor[0].fill_(bad)
    refuse(path, content, f'{where}.*NaN or inf')


def test_rescore_says_so_too(saved, monkeypatch, capsys):
    path, content = saved
    content['records'][0]['caption_feats'][:] = torch.nan
    torch.save(content, path)
    monkeypatch.setattr(sys, 'argv', ['rescore.py', str(path)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOL), run_name='__main__')
    said = capsys.readouterr().err.strip()
    assert end.value.code == 1
    assert said.startswith('Error: ') and 'NaN' in said and '\n' not in said


@pytest.mark.parametrize(
    'meta',
    [
        5, None, [], dict(ceilings=5), dict(ceilings=[1]), dict(hash=5),
        dict(protocol=dict()), dict(protocol=['a']), dict(manifest=1),
        dict(missing='x'), dict(missing=-1), dict(missing=1.5), dict(missing=True),
        dict(ceilings={'AV': 'high'}), dict(ceilings={1: {'R@1': 2}}),
        dict(ceilings={'AV': [1]}), dict(manifest_hash=b'x'),
    ],
)  # fmt: skip
def test_facts_of_another_kind_are_refused(saved, meta):
    path, content = saved
    refuse(path, dict(content, meta=meta), 'meta')


@pytest.mark.parametrize('records', [5, None, [], [5], [{}], {}, 'abc', [None], [[]]])
def test_records_of_another_kind_are_refused(saved, records):
    path, content = saved
    refuse(path, dict(content, records=records), 'record')


CHANGES = {
    'sample_idx': [None, 'a', 1.5, True, -1, [0]],
    'sample_id': [dict(), [1]],
    'error': [5, dict()],
    'clip_path': [5],
    'start': ['x'],
    'end': [[1]],
    'frame_times': [5, 'abc', [None]],
    'texts': [None, 'abc', [5], dict(), ['a'], ['a', 'b', 'c']],
    'text_streams': [None, ['AV'], ['AV', 'B'], ['AV', 5], [['AV'], 'A']],
    'clip_feats': [
        None, 5, dict(B=torch.ones(2, 3, 5)), dict(AV=5), dict(AV=torch.ones(5)),
        dict(AV=torch.ones(2, 3)), dict(AV=torch.ones(2, 3, 5, dtype=torch.int64)),
        dict(AV=torch.ones(0, 3, 5)), dict(AV=torch.ones(2, 3, 0)),
    ],
    'caption_feats': [
        None, 5, torch.ones(5), torch.ones(1, 5), torch.ones(3, 5),
        torch.ones(2, 5, 1), torch.ones(2, 5, dtype=torch.int64),
    ],
    'tokens': [5, torch.ones(2), torch.ones(2, 2, 4, dtype=torch.int64)],
    'caption_ids': [5, [5], [torch.ones(2)], [torch.ones(2, dtype=torch.int64)]],
}  # fmt: skip


@pytest.mark.parametrize(
    ('key', 'value'), [(key, v) for key, values in CHANGES.items() for v in values]
)
def test_parts_of_another_kind_are_refused(saved, key, value):
    path, content = saved
    content['records'][0][key] = value
    refuse(path, content, key.replace('_feats', '.feat'))


@pytest.mark.parametrize('key', [k for k in CHANGES if None in CHANGES[k]])
def test_parts_that_lack_are_refused(saved, key):
    path, content = saved
    del content['records'][0][key]
    refuse(path, content, key.replace('_feats', '.feat'))


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (lambda r: r[1].update(caption_feats=torch.ones(1, 4)), 'differ in width'),
        (
            lambda r: [x.update(caption_feats=x['caption_feats'][:, :4]) for x in r],
            'clips of stream AV are 5 wide, the captions 4',
        ),
        (
            lambda r: r[1]['clip_feats'].update(A=torch.ones(2, 4, 5)),
            'stream A differ in frames',
        ),
        (lambda r: r[1].update(sample_idx=0), 'counted twice'),
    ],
)  # fmt: skip
def test_records_that_do_not_fit_each_other_are_refused(saved, change, match):
    path, content = saved
    change(content['records'])
    torch.save(content, path)
    with pytest.raises(CoAVTError, match=match):
        RetrievalMetric().evaluate_file(str(path))


def test_tokens_of_different_shapes_are_refused(saved):
    path, content = saved
    content['records'][1]['tokens'] = torch.ones(2, 3, 4)
    torch.save(content, path)
    metric = RetrievalMetric(modes=('matching',))
    metric.model = TableModel(torch.zeros(5, 7))
    with pytest.raises(CoAVTError, match='tokens of clips differ'):
        metric.evaluate_file(str(path))


def test_records_that_came_another_way_are_looked_at(saved):
    """As a hook or a script may hand them to compute_metrics."""
    _, content = saved
    content['records'][2]['clip_feats']['V'][0, 0, 0] = torch.nan
    with pytest.raises(CoAVTError, match=r"clip_feats\[V\] of sample 'clip_2'"):
        RetrievalMetric().compute_metrics(content['records'])
    pair = [torch.ones(1, 3), torch.full((1, 3), torch.nan)]
    record = dict(sample_idx=0, sample_id='a', error=None, feats=dict(encoder=pair))
    with pytest.raises(CoAVTError, match="encoder feature of sample 'a'"):
        AVRetrievalMetric(spaces=('encoder',)).compute_metrics([record])
