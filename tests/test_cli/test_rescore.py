"""Saved features scored again by the command-line tool."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import Evaluator
from tiny_coavt import samples, tiny_batch, tiny_cfg, tiny_coavt

TOOL = Path(__file__).parents[2] / 'tools/analysis/rescore.py'


@pytest.fixture
def features(tmp_path):
    """A tiny model's features of four clips: file, report and the model's options."""
    model = tiny_coavt(test_cfg=dict(keep_tokens=True)).eval()
    found = model(tiny_batch(4), samples(4), mode='predict')
    for i, sample in enumerate(found):
        sample.set_metainfo(dict(sample_id=f'clip {i}', texts=[f'text {i}']))
    path = tmp_path / 'features.pth'
    modes = ('cosine', 'matching', 'matching_only', 'softmax_product')
    evaluator = Evaluator(
        dict(type='coavt_mm.RetrievalMetric', modes=modes, features_file=str(path))
    )
    metric = evaluator.metrics[0]
    metric.model, metric.dataset_meta = model, dict(protocol='toy', hash='12ab')
    evaluator.process(found)
    evaluator.evaluate(4)
    config, checkpoint = tmp_path / 'tiny.py', tmp_path / 'tiny.pth'
    config.write_text(f'model = {dict(type="CoAVT", **tiny_cfg())!r}\n')
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    options = ('--config', config, '--checkpoint', checkpoint)
    return path, metric.last_results, options


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['rescore.py', *map(str, args)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_all_modes_come_out_as_before(features, monkeypatch, tmp_path):
    path, report, options = features
    modes = ('--modes', 'cosine', 'matching', 'matching_only', 'softmax_product')
    run(monkeypatch, path, *modes, *options, '--out-dir', tmp_path / 'again')
    assert json.loads((tmp_path / 'again/retrieval.json').read_text()) == report
    assert report['protocol'] == 'toy'


def test_cosine_needs_no_model_and_matching_says_that_it_does(
    features, monkeypatch, tmp_path, capsys
):
    path, report, _ = features
    run(monkeypatch, path, '--out-dir', tmp_path / 'again')
    again = json.loads((tmp_path / 'again/retrieval.json').read_text())
    assert again['clip_to_text'] == report['clip_to_text']
    options = ('--equal-texts', '--modes', 'dual_softmax', '--temperature', '0.1')
    with pytest.warns(FutureWarning, match='softmax_product'):
        run(monkeypatch, path, *options, '--out-dir', tmp_path / 'other')
    other = json.loads((tmp_path / 'other/retrieval.json').read_text())
    assert other['protocol'] == 'toy (equal texts are right)'
    assert other['temperatures'] == {'dual_softmax': 0.1}
    with pytest.raises(SystemExit):
        run(monkeypatch, path, '--modes', 'matching')
    assert '--checkpoint' in capsys.readouterr().err
