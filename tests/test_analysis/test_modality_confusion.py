import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from class_parts import META, evaluate, prediction
from media_files import write_rows

from coavt_mm.analysis.modality_confusion import (
    confusion_shares,
    modality_confusion,
)
from coavt_mm.errors import ConfigError, ManifestError
from coavt_mm.evaluation import ZeroShotMetric
from coavt_mm.evaluation.class_scores import label_ranks, names_of_best

TOOL = Path(__file__).parents[2] / 'tools/analysis/modality_confusion.py'
NAMES = [f'class {i}' for i in range(9)]

# Given by vggsounder 1.0 (benchmark.compute_modality_confusion_logits and
# compare_labels_logits) for the scores and labels of `runs`, seeds 0 to 3; the
# second is of seed 0, without clips to leave out.
REFERENCE = [
    dict(A=0.20666666666666667, V=0.21666666666666667, AV=0.08),
    dict(A=0.21724137931034482, V=0.1896551724137931, AV=0.05172413793103448),
    dict(A=0.22857142857142856, V=0.20357142857142857, AV=0.09285714285714286),
    dict(A=0.2037037037037037, V=0.24444444444444444, AV=0.1037037037037037),
]
TOP1 = dict(A=0.33666666666666667, V=0.35333333333333333, AV=0.32)


def runs(folder, seed):
    """Three folders of a run each, and a manifest of labels: 300 clips of which the
    run on the picture lacks the first 10 x seed."""
    random = np.random.RandomState(seed)
    labels = random.rand(300, 9) < 0.25
    labels[np.arange(300), random.randint(9, size=300)] = True
    scores = random.rand(3, 300, 9)
    rows = [
        dict(id=f'clip_{i}', clip='x.mp4', labels=[NAMES[c] for c in np.flatnonzero(x)])
        for i, x in enumerate(labels)
    ]
    manifest = write_rows(folder / 'vggsounder.jsonl', rows)
    sidecar = dict(protocol='vggsounder-1.0', missing=5)
    (folder / 'vggsounder.meta.json').write_text(json.dumps(sidecar))
    for stream, table in zip(('A', 'V', 'AV'), scores, strict=True):
        samples = [prediction(i, row, [0]) for i, row in enumerate(table)]
        for sample in samples:
            sample.set_data(dict(pred_stream=stream))
        for sample in samples[: 10 * seed] if stream == 'V' else ():
            del sample.pred_score
        options = dict(task='single_label', out_dir=str(folder / stream))
        evaluate(samples, dict(META, classes=NAMES), **options)
    return [folder / stream for stream in ('A', 'V', 'AV')], manifest


@pytest.mark.parametrize('seed', range(4))
def test_equals_vggsounders_own(tmp_path, seed):
    folders, manifest = runs(tmp_path, seed)
    found = modality_confusion(folders, manifest)
    assert found['modality_confusion'] == pytest.approx(REFERENCE[seed])
    assert (found['clips'], found['missing']) == (300 - 10 * seed, 5 + 10 * seed)
    assert found['protocol'] == 'vggsounder-1.0'
    assert found['tested_on'] == 'toy.jsonl (0123456789ab)'
    if seed == 0:
        assert found['top1'] == pytest.approx(TOP1)
    assert modality_confusion(folders[::-1], manifest) == found


def test_the_tool(tmp_path, monkeypatch, capsys):
    folders, manifest = runs(tmp_path, 0)
    out = tmp_path / 'x/confusion.json'
    arguments = [TOOL, *folders, '--labels', manifest, '--out', out]
    monkeypatch.setattr(sys, 'argv', list(map(str, arguments)))
    runpy.run_path(str(TOOL), run_name='__main__')
    printed = capsys.readouterr().out
    assert 'protocol vggsounder-1.0' in printed
    assert '| confusion | 20.67 | 21.67 | 8.00  |' in printed
    assert json.loads(out.read_text()) == modality_confusion(folders, manifest)


def test_shares_are_of_all_clips():
    hits = dict(A=[1, 1, 0, 0], V=[1, 0, 1, 0], AV=[0, 0, 0, 1])
    hits = {stream: np.array(x, dtype=bool) for stream, x in hits.items()}
    assert confusion_shares(hits) == dict(A=0.5, V=0.5, AV=0.25)


def test_classes_that_tie_are_all_kept():
    """Scores tie that the last bits of a processor tell apart, as in the accuracy."""
    scores = np.array([0.5, 0.1, 0.5 + 1e-8, 0.4999], np.float32)
    record = dict(sample_id='x', stream='A', scores=scores)
    assert names_of_best([record], 'abcd') == {'A': {'x': ['a', 'c']}}


@pytest.mark.parametrize('scores', [(1e-9, 1e-9 - 1e-17, 0), (-1, -1 - 1e-9, -1.1)])
def test_near_ties_are_ties_as_in_the_accuracy(scores):
    scores = np.array([scores])
    record = dict(sample_id='x', stream='A', scores=scores[0])
    assert names_of_best([record], 'abc') == {'A': {'x': ['a', 'b']}}
    assert label_ranks(scores, np.array([[True, False, False]])) == 2


def test_what_is_wrong_is_said(tmp_path):
    (a, v, av), manifest = runs(tmp_path, 0)
    with pytest.raises(ConfigError, match='no run has scores of the stream V'):
        modality_confusion([a, a, av], manifest)
    strangers = write_rows(tmp_path / 'o.jsonl', [dict(id='o', clip='x', labels=['y'])])
    with pytest.raises(ConfigError, match='none of the clips that all three'):
        modality_confusion([a, v, av], strangers)
    content = json.loads((v / 'best_classes.json').read_text())
    other = v / 'other.json'
    other.write_text(json.dumps(dict(content, manifest_hash='f' * 12)))
    with pytest.raises(ConfigError, match='not on the same clips'):
        modality_confusion([a, other, av], manifest)
    for bad in ({'V': 5}, {'V': {'clip_0': []}}, {'V': {'clip_0': 'class 1'}}, 5):
        other.write_text(json.dumps(dict(content, best=bad)))
        with pytest.raises(ManifestError, match='other.json: this is no best_classes'):
            modality_confusion([a, other, av], manifest)


def test_one_zero_shot_run_has_all_streams(tmp_path):
    metric = ZeroShotMetric(['a {}'], out_dir=str(tmp_path))
    metric.dataset_meta = dict(META, classes=['a', 'b'])
    feats = dict(AV=[0, 1], A=[1, 0], V=[1, 0])  # wrong together, right alone
    records = [
        dict(sample_id='x', sample_idx=0, error=None, labels=['a'])
        | dict(scores={s: {'all': np.array(x)} for s, x in feats.items()})
    ]
    metric.compute_metrics(records)
    manifest = write_rows(
        tmp_path / 'v.jsonl', [dict(id='x', clip='x.mp4', labels=['a'])]
    )
    found = modality_confusion([tmp_path], manifest)
    assert found['modality_confusion'] == dict(A=1, V=1, AV=1)
