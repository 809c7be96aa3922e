import json

import pytest
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation.caption_scores import SCORES, caption_scores
from coavt_mm.evaluation.captioning import CaptionMetric
from coavt_mm.registry import METRICS

pytest.importorskip('pycocoevalcap', reason='pycocoevalcap (extra `caption`) is absent')

WRITTEN = {'a': 'a dog barks', 'b': 'rain falls', 'c': 'a man speaks'}
TRUE = {'a': ['a dog is barking', 'dogs'], 'b': ['rain falls'], 'c': ['music plays']}
META = dict(protocol='toy', manifest='toy.jsonl', hash='ab' * 16, missing=2)


def _sample(index, name, caption, **more):
    meta = dict(sample_idx=index, sample_id=name, texts=TRUE[name], **more)
    sample = BaseDataElement(metainfo=meta)
    if caption is not None:
        sample.pred_caption = {'greedy': caption, 'beam': f'{caption} loudly'}
    return sample


def _evaluate(samples, size, **options):
    options = dict(dict(type='CaptionMetric', tokenizer='words'), **options)
    metric = METRICS.build(options)
    evaluator = Evaluator([metric])
    evaluator.dataset_meta = META
    for sample in samples:  # batches of one
        evaluator.process([sample])
    return evaluator.evaluate(size), metric


def test_each_decoder_is_scored_under_the_tokenizers_name():
    samples = [_sample(i, name, text) for i, (name, text) in enumerate(WRITTEN.items())]
    metrics, metric = _evaluate(samples, 3)
    for decoder, end in (('greedy', ''), ('beam', ' loudly')):
        written = [text + end for text in WRITTEN.values()]
        expected = caption_scores(written, list(TRUE.values()), 'words')
        for name in SCORES[:-1]:
            assert metrics[f'caption/{decoder}/{name}_words'] == expected[name]
    assert len(metrics) == 12  # no METEOR without Java, and no other tokenizer's name
    report = metric.last_results
    assert [*report['decoders']['beam']][-2:] == ['CIDEr-D_words', 'METEOR']
    assert report['decoders']['beam']['METEOR'] is None
    assert 'METEOR needs Java' in report['left_out'][0]


def test_files(tmp_path, make_clip):
    clip = str(make_clip())
    samples = [
        _sample(0, 'a', WRITTEN['a'], clip_path=clip, start=0.0, end=1.0),
        _sample(1, 'b', '', clip_path=None),
    ]
    _, metric = _evaluate(samples, 2, out_dir=str(tmp_path / 'new'), plots=True)
    report = json.loads((tmp_path / 'new/captioning.json').read_text())
    assert {key: report[key] for key in list(report)[:9]} == dict(
        metric='captioning',
        protocol='toy',
        manifest='toy.jsonl',
        manifest_hash='ab' * 16,
        clips=2,
        missing=2,
        without_caption=[],
        references=3,
        tokenizer='words',
    )
    assert report['predictions'][0] == dict(
        sample_id='a',
        references=TRUE['a'],
        predictions=dict(greedy='a dog barks', beam='a dog barks loudly'),
    )
    text = (tmp_path / 'new/captioning.md').read_text()
    assert text == metric.table(report)
    assert 'missing 2, tokenizer words' in text.splitlines()[0]
    row = next(line for line in text.splitlines() if line.startswith('| greedy'))
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    assert cells[-1] == 'not computed'
    assert float(cells[1]) == round(report['decoders']['greedy']['BLEU-1_words'], 4)
    assert (tmp_path / 'new/captions.png').stat().st_size > 5000


def _java(folder, monkeypatch, *cases):
    java = folder / 'java'
    java.write_text('\n'.join(['#!/bin/sh', 'case "$*" in', *cases, 'esac', '']))
    java.chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}:/usr/bin:/bin')


def test_meteor_fails_alone(tmp_path, monkeypatch):
    works = '*PTBTokenizer*) cat;; *-version*) ;;'
    _java(tmp_path, monkeypatch, works, '*) echo "Error: no heap" >&2; exit 1;;')
    out = tmp_path / 'out'
    metrics, metric = _evaluate(
        [_sample(0, 'a', 'a dog')], 1, tokenizer='ptb', out_dir=str(out)
    )
    assert set(metrics) == {
        f'caption/{decoder}/{name}'
        for decoder in ('greedy', 'beam')
        for name in SCORES[:-1]
    }
    left_out = metric.last_results['left_out']
    assert [line.split(':')[0] for line in left_out] == ['greedy', 'beam']
    assert all('METEOR' in line and 'no heap' in line for line in left_out)
    page = (out / 'captioning.md').read_text()
    assert 'not computed' in page and 'no heap' in page


def test_captions_are_saved_before_they_are_scored(tmp_path, monkeypatch):
    once = f'*PTB*) test -e {tmp_path}/used && exit 1; touch {tmp_path}/used; cat;;'
    _java(tmp_path, monkeypatch, once)
    out = tmp_path / 'out'
    with pytest.raises(CoAVTError, match='PTB tokeniser: Java failed'):
        _evaluate([_sample(0, 'a', 'a dog')], 1, tokenizer='ptb', out_dir=str(out))
    (saved,) = json.loads((out / 'written_captions.json').read_text())
    assert saved['predictions'] == dict(greedy='a dog', beam='a dog loudly')
    assert saved['references'] == TRUE['a']


def test_java_is_tried_when_the_metric_is_built(tmp_path, monkeypatch):
    _java(tmp_path, monkeypatch, '*) exit 1;;')
    with pytest.raises(ConfigError, match='Java failed'):
        METRICS.build(dict(type='CaptionMetric'))


def test_clips_without_a_caption_are_missing_and_named():
    samples = [
        _sample(0, 'a', 'a dog barks'),
        _sample(1, 'b', None),  # no picture, say
        _sample(2, 'c', None, error='cannot be read'),
    ]
    _, metric = _evaluate(samples, 3)
    report = metric.last_results
    assert (report['clips'], report['missing']) == (1, 2 + 2)
    assert report['without_caption'] == ['b', 'c']
    assert report['references'] == 2


def test_lost_or_doubled_clips_are_refused():
    with pytest.raises(CoAVTError, match='1 of 2 samples arrived'):
        _evaluate([_sample(0, 'a', 'x')], 2)
    with pytest.raises(CoAVTError, match="'a' was counted twice"):
        _evaluate([_sample(0, 'a', 'x'), _sample(0, 'a', 'x')], 2)


def test_bad_settings():
    with pytest.raises(ConfigError, match=r'set test_cfg.caption of the model'):
        _evaluate([_sample(0, 'a', None)], 1)
    with pytest.raises(ConfigError, match='plots=True needs an out_dir'):
        CaptionMetric(tokenizer='words', plots=True)
    with pytest.raises(ConfigError, match="'spacy' is none of"):
        CaptionMetric(tokenizer='spacy')
