"""The checks of an index, on little."""

import json

import pytest

pytest.importorskip('faiss', reason='the extra search (faiss-cpu) is not installed')

from api_fixtures import checkpoint, coavt  # noqa: E402, F401

from coavt_mm.analysis.search_checks import (  # noqa: E402
    check_moments,
    check_recall,
    check_speed,
)
from coavt_mm.datasets.decoding import read_audio, read_frames  # noqa: E402
from coavt_mm.demo import Settings, make_sounding_shapes  # noqa: E402
from coavt_mm.demo.gluing import glue_clips  # noqa: E402
from coavt_mm.errors import InputError  # noqa: E402
from coavt_mm.search import Index  # noqa: E402


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    make_sounding_shapes(root, Settings(1, 4, 0, seconds=1.0))
    return root


def test_speed_of_few_vectors():
    found = check_speed(count=3000, width=16, clusters=50)
    assert found['recall'] == found['filter recall'] == 1
    assert found['MB'] == pytest.approx(3000 * (16 * 2 + 8) / 1e6, rel=0.01)


def test_glued_clips_and_moments_in_them(shapes, tmp_path, coavt, checkpoint):  # noqa: F811
    moments = glue_clips(shapes / 'test.jsonl', tmp_path / 'long', 2, 3, lead=0.4)
    rows = [json.loads(line) for line in moments.read_text().splitlines()]
    assert len(rows) == 6
    spans = [(row['start'], row['end']) for row in rows[:3]]
    assert spans == [(0.4, 1.4), (1.4, 2.4), (2.4, 3.4)]
    assert len({row['caption'] for row in rows[:3]}) == 3
    path = tmp_path / 'long' / rows[0]['clip']
    assert len(read_audio(path)) / 16000 == pytest.approx(3.4, abs=0.07)
    assert len(read_frames(path, [0.0, 3.3])[0]) == 2
    with Index.create(tmp_path / 'index', coavt, checkpoint) as index:
        index.add(coavt, [tmp_path / 'long'])
    scores = check_moments(tmp_path / 'index', moments)
    assert set(scores) > {'R1@0.5', 'anywhere mAP'}
    with pytest.raises(InputError, match='4 clips, 8 are needed'):
        glue_clips(shapes / 'test.jsonl', tmp_path / 'x', 1, 7)


def test_recall(tmp_path, coavt, checkpoint, make_clip):  # noqa: F811
    rows = [
        dict(id=name, clip=str(make_clip(seconds=0.5, size=size)), captions=[name])
        for name, size in (('the dog', (64, 48)), ('barks', (48, 64)))
    ]
    manifest = tmp_path / 'some.jsonl'
    manifest.write_text('\n'.join(map(json.dumps, rows)))
    with Index.create(tmp_path / 'index', coavt, checkpoint) as index:
        index.add(coavt, [manifest])
    found = check_recall(tmp_path / 'index', manifest)
    assert found['R@1'] == found['exact R@1']
    assert (found['R@10'], found['top-10 kept']) == (100, 100)
