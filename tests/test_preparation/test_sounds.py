"""Clips whose sound is another one or shifted, in the report of a preparation."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_apis

from coavt_mm.apis.sound_check import Features
from coavt_mm.cli.main import main
from coavt_mm.preparation import sounds
from coavt_mm.preparation.checking import Task

HOP, WINDOWS = 0.5, 40


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.fixture
def named(monkeypatch):
    """Ask of twelve clips, of which b has a's sound and c's is 2 s late."""
    draw = np.random.default_rng(0)
    made = {}
    for name in 'abcdefghijkl':
        scene = draw.normal(size=16) * 1.5
        steps = draw.normal(size=(WINDOWS + 10, 16))
        made[name] = unit(scene + sum(steps[k : k + WINDOWS + 4] for k in range(7)))

    def features(model, clips, batch_size):
        for clip in clips:
            own = made[clip.name]
            other = made['a'] if clip.name == 'b' else own
            late = 4 if clip.name == 'c' else 0
            sound = other[4 - late : 4 - late + WINDOWS]
            error = 'l: has no sound to compare' if clip.name == 'l' else ''
            yield Features(clip.name, HOP, sound, own[4 : 4 + WINDOWS], error=error)

    monkeypatch.setattr(sounds, 'clip_features', features)

    def ask(names):
        found = [
            dict(id=x, task=Task(x, None), start=0.0, end=None, problems=[])
            for x in names
        ]
        sounds.check_sounds(SimpleNamespace(seconds=8 * HOP), found)
        return {result['id']: result for result in found}

    return ask


def test_exchanged_and_shifted_sounds_are_named(named):
    found = named('abcdefghijkl')
    problems = {x: r['problems'] for x, r in found.items() if r['problems']}
    assert problems == {'b': ['other_sound'], 'c': ['shifted_sound']}
    assert found['c']['sound']['shift'] == pytest.approx(2.0, abs=0.1)
    assert found['c']['sound']['reason'].startswith('2.0 s late; score ')
    assert 'of other pictures worse' in found['b']['sound']['reason']
    assert found['a']['sound']['better_than'] == 1.0
    assert found['l']['sound'] == dict(error='l: has no sound to compare')


def test_too_few_clips_to_compare_with(named):
    found = named('abdef')
    assert not any(result['problems'] for result in found.values())
    assert 'better_than' not in found['b']['sound']


def test_the_report_of_a_folder(tmp_path, vocabulary, make_clip, capsys):
    plain = tiny_apis.save(tiny_apis.coavt_cfg(vocabulary), tmp_path / 'plain.pth')
    head = dict(type='AVContrastiveHead', weight=1.0)
    cfg = tiny_apis.coavt_cfg(vocabulary, av_head=head)
    checkpoint = tiny_apis.save(cfg, tmp_path / 'c.pth')
    (tmp_path / 'clips').mkdir()
    shutil.copy(make_clip(seconds=1.5), tmp_path / 'clips/good.mp4')
    shutil.copy(make_clip(seconds=1.5, sound=False), tmp_path / 'clips/mute.mp4')
    words = ['prepare', 'folder', '--clips', str(tmp_path / 'clips'), '--out',
             str(tmp_path), '--workers', '0']  # fmt: skip
    with pytest.raises(SystemExit):
        main([*words, '--check-sound', str(plain)])
    assert 'was not trained to compare sound with' in capsys.readouterr().err
    main([*words, '--check-sound', str(checkpoint)])
    assert '2 of 2 clips written (1 no sound' in capsys.readouterr().out
    (part,) = json.loads((tmp_path / 'report.json').read_text())['splits'].values()
    assert set(part['sounds']) == {'good'}
    assert -1 <= part['sounds']['good']['score'] <= 1
    assert '| other sound | shifted sound |' in (tmp_path / 'report.md').read_text()
    with pytest.raises(SystemExit):
        main([*words, '--drop', 'other_sound'])
    assert '--drop other_sound: only a model finds that' in capsys.readouterr().err
