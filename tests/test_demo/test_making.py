import json
import os
import runpy
import sys
from pathlib import Path

import pytest

from coavt_mm.demo import making
from coavt_mm.demo.grammar import FACTORS, parse_caption
from coavt_mm.demo.making import Settings, make_sounding_shapes
from coavt_mm.errors import ConfigError

TINY = Settings(train_clips=9, test_clips=5, val_clips=3, size=32, fps=3, seconds=1.0)
TOOL = Path(__file__).parents[2] / 'tools' / 'data' / 'make_sounding_shapes.py'


def _rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('shapes')
    assert make_sounding_shapes(folder, TINY) == 17
    return folder


def test_files(made):
    names = {path.name for path in made.iterdir()}
    assert names == {
        'clips',
        'settings.json',
        'vocab.txt',
        'ceilings.json',
        'train.jsonl',
        'train.meta.json',
        'val.jsonl',
        'val.meta.json',
        'test.jsonl',
        'test.meta.json',
        'test_partial.jsonl',
        'test_partial.meta.json',
    }
    for split, number in (('train', 9), ('val', 3), ('test', 5)):
        rows = _rows(made / f'{split}.jsonl')
        assert len(rows) == len({row['id'] for row in rows}) == number
        assert all((made / row['clip']).stat().st_size > 1000 for row in rows)
    assert len(list((made / 'clips').iterdir())) == 17


def test_captions_agree_with_labels(made):
    keys = {
        'train': {'captions': 3, 'audio_captions': 3, 'visual_captions': 3},
        'val': {'captions': 1},
        'test': {'captions': 1},
        'test_partial': {'audio_captions': 1, 'visual_captions': 1},
    }
    for name, numbers in keys.items():
        for row in _rows(made / f'{name}.jsonl'):
            assert set(row) == {'id', 'clip', 'labels', *numbers}
            values = dict(zip(FACTORS, row['labels'], strict=True))
            assert set(parse_caption(' '.join(row['labels']))) >= {'shape', 'timbre'}
            for key, number in numbers.items():
                assert len(set(row[key])) == number
                for text in row[key]:
                    named = parse_caption(text)
                    assert named.items() <= values.items()
                    length = {'audio_captions': 3, 'visual_captions': 4}.get(key, 7)
                    assert len(named) == length


def test_partial_manifest_shows_the_same_clips(made):
    full, part = _rows(made / 'test.jsonl'), _rows(made / 'test_partial.jsonl')
    assert [row['clip'] for row in full] == [row['clip'] for row in part]


def test_sidecars(made):
    meta = json.loads((made / 'test.meta.json').read_text())
    version = f'v{making.RENDERER_VERSION}'
    assert meta['protocol'] == f'sounding-shapes-{version}-test-5-seed0'
    assert meta['missing'] == 0 and len(meta['classes']) == 31
    assert meta['ceilings'] == json.loads((made / 'ceilings.json').read_text())
    assert meta['ceilings']['AV']['R@1'] == 100.0 > meta['ceilings']['A']['R@1']
    assert 'audio_visual' not in meta['ceilings']  # one says nothing of the other
    partial = json.loads((made / 'test_partial.meta.json').read_text())
    assert partial['protocol'] == f'sounding-shapes-{version}-test-partial-5-seed0'
    assert set(partial['ceilings']) == {'A', 'V'}
    labels = {name for row in _rows(made / 'train.jsonl') for name in row['labels']}
    assert labels <= set(meta['classes'])


def test_workers_do_not_change_a_byte(made, tmp_path):
    assert make_sounding_shapes(tmp_path, TINY, workers=2) == 17
    for path in made.rglob('*.*'):
        assert (tmp_path / path.relative_to(made)).read_bytes() == path.read_bytes()


def test_a_rendering_that_dies_is_told(tmp_path, monkeypatch, forked):
    monkeypatch.setattr(making, 'write_clip', lambda *_: os.kill(os.getpid(), 9))
    with pytest.raises(ConfigError, match='SIGKILL.*the same command goes on'):
        make_sounding_shapes(tmp_path, TINY, workers=2)


def test_interrupted_rendering_is_resumed(made, tmp_path, monkeypatch):
    write, written = making.write_clip, []

    def stop_at_the_fifth(path, *args):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *args)

    monkeypatch.setattr(making, 'write_clip', stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        make_sounding_shapes(tmp_path, TINY)
    assert not (tmp_path / 'train.jsonl').exists()
    monkeypatch.undo()
    assert make_sounding_shapes(tmp_path, TINY) == 13
    for path in (made / 'clips').iterdir():
        assert (tmp_path / 'clips' / path.name).read_bytes() == path.read_bytes()
    assert make_sounding_shapes(tmp_path, TINY) == 0


def test_other_settings_in_the_same_directory(made):
    other = Settings(**{**vars(TINY), 'seed': 1})
    with pytest.raises(ConfigError, match='seed was 0, now 1'):
        make_sounding_shapes(made, other)


def test_no_val_clips_and_bound(tmp_path):
    settings = Settings(2, 2, 0, size=32, fps=2, seconds=1.0, bound=True)
    make_sounding_shapes(tmp_path, settings)
    assert not (tmp_path / 'val.jsonl').exists()
    meta = json.loads((tmp_path / 'test.meta.json').read_text())
    version = f'v{making.RENDERER_VERSION}'
    assert meta['protocol'] == f'sounding-shapes-bound-{version}-test-2-seed0'
    assert meta['ceilings']['audio_visual'] == meta['ceilings']['A']


@pytest.mark.parametrize(
    'wrong',
    [
        {'train_clips': 0},
        {'test_clips': 0},
        {'val_clips': -1},
        {'seed': -1},
        {'size': 33},
        {'size': 30},
        {'fps': 0},
        {'seconds': 0.5},
        {'sample_rate': 12345},
    ],
)
def test_impossible_settings(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Settings(**wrong)


def test_tool(tmp_path, monkeypatch, capsys):
    options = '--train-clips 2 --test-clips 1 --val-clips 0 --size 32 --seconds 1'
    argv = [str(TOOL), str(tmp_path), *options.split(), '--workers', '1']
    monkeypatch.setattr(sys, 'argv', argv)
    runpy.run_path(str(TOOL), run_name='__main__')
    assert 'complete, 3 clips' in capsys.readouterr().out
    assert len(_rows(tmp_path / 'train.jsonl')) == 2
    monkeypatch.setattr(sys, 'argv', [*argv, '--seed', '1'])
    with pytest.raises(SystemExit, match='1'):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert 'seed was 0, now 1' in capsys.readouterr().err
