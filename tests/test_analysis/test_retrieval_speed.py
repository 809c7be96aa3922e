import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from coavt_mm.analysis import retrieval_speed
from coavt_mm.analysis.retrieval_speed import KINDS, measure, obvious_ranks, synthetic
from coavt_mm.evaluation.cosine_ranks import cosine_ranks

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis' / 'benchmark_retrieval.py'
SIZES = 23, 101, 4, 64


@pytest.fixture(autouse=True)
def known_rate(monkeypatch):
    monkeypatch.setattr(retrieval_speed, 'matrix_rate', lambda: (2e9, 1e9))


@pytest.mark.parametrize('kind', KINDS)
def test_features_are_normalised_and_each_clip_has_captions(kind):
    features = synthetic(kind, *SIZES)
    clips = torch.stack(features.gallery)
    assert clips.shape == (23, 1, 4, 64) and features.queries.shape == (101, 64)
    torch.testing.assert_close(clips.norm(dim=-1), torch.ones(23, 1, 4))
    assert features.answered.all()


def test_queries_resemble_one_another_in_the_kinds_that_are_not_random():
    def alike(kind):
        clips = torch.stack(synthetic(kind, *SIZES).gallery)[:, 0]
        return (clips @ clips.mT).mean().item()

    assert alike('random') < 0.4 < 0.7 < min(alike('steep'), alike('flat'))


@pytest.mark.parametrize('kind', KINDS)
def test_a_row_has_what_was_measured(kind):
    row = measure(synthetic(kind, *SIZES), check=True)
    assert row['equal']
    assert row['product_seconds'] == 2 * 23 * 101 * 4 * 64 / 2e9
    assert row['product_processor_seconds'] == 2 * row['product_seconds']
    assert row['seconds'] > 0 and row['peak_bytes'] > 0
    assert row['bound_width'] is None  # so small a table is scored as it is


def test_the_obvious_ranks_by_hand():
    features = synthetic('random', 3, 3, 1, 3)
    features.gallery = list(torch.eye(3)[:, None, None])
    features.queries = torch.tensor([[0.5, 0.5, 0.1], [0.1, 0.9, 0.2], [0.6, 0, 0.6]])
    wanted = [2, 1, 2], [2, 1, 1]
    assert [ranks.tolist() for ranks in obvious_ranks(features)] == [*wanted]
    assert [ranks.tolist() for ranks in cosine_ranks(features)] == [*wanted]


@pytest.mark.parametrize('equal', [True, False])
def test_the_command_says_whether_ranks_are_equal(equal, monkeypatch, tmp_path, capsys):
    if not equal:
        monkeypatch.setattr(
            retrieval_speed,
            'cosine_ranks',
            lambda features: tuple(ranks + 1 for ranks in obvious_ranks(features)),
        )
    out = tmp_path / 'rows.json'
    sizes = '--clips 9 --captions 20 --queries 2 --width 16 --kind steep random'
    arguments = [str(TOOL), *sizes.split(), '--check', '--json', str(out)]
    monkeypatch.setattr(sys, 'argv', arguments)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert ended.value.code == (0 if equal else 1)
    rows = json.loads(out.read_text())
    assert [row['kind'] for row in rows] == ['steep', 'random']
    assert f'equal: {equal}' in capsys.readouterr().out
