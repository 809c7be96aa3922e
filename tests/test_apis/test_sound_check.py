"""Does the sound belong to the picture, and where would it fit better?"""

import csv

import numpy as np
import pytest
import torch
from torch import nn

from coavt_mm import apis
from coavt_mm.apis.sound_check import Features, fit_curve, judged
from coavt_mm.cli.main import main
from coavt_mm.errors import ClipError, InputError

RATE, FPS = 16000, 20


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def features(audio, visual, late=0.0, hop=0.5):
    return Features('x', hop, audio, visual, late)


def walk(count, seed=0):
    """(W, 16) of norm 1, neighbours alike."""
    steps = np.random.default_rng(seed).normal(size=(count + 6, 16))
    return unit(sum(steps[k : k + count] for k in range(7)))


@pytest.mark.parametrize('late', [-7, -1, 0, 3, 12])
def test_the_shift_of_known_features(late):
    scenes = walk(100)
    audio, visual = scenes[20 - late : 80 - late], scenes[20:80]
    found = judged(features(audio, visual), reach=10)
    assert found['shift'] == pytest.approx(0.5 * late, abs=0.1)
    assert found['best_score'] == pytest.approx(1)
    assert found['score'] == pytest.approx((audio * visual).sum(1).mean())
    # pictures that were taken behind the middle of their windows seem early
    found = judged(features(audio, visual, late=0.2), reach=10)
    assert found['shift'] == pytest.approx(0.5 * late - 0.2, abs=0.1)


def test_what_no_shift_can_be_told_of():
    steady = np.repeat(walk(1), 40, 0)
    found = judged(features(steady, steady), 10)
    assert found['score'] == pytest.approx(1) and found['shift'] is None
    assert found['why'].startswith('steady')
    short = walk(8)
    found = judged(features(short, short), 10)
    assert found['score'] == pytest.approx(1) and found['why'] == 'shorter than 8 s'


def test_windows_that_lack_one_are_left_out():
    scenes = walk(60)
    audio = scenes.copy()
    audio[::3] = np.nan
    found = judged(features(audio, scenes), 5)
    assert found['score'] == pytest.approx(1) and found['shift'] == pytest.approx(0)


def test_fit_curve_against_the_obvious():
    audio, visual = walk(9, 1), walk(9, 2)
    curve = fit_curve(audio, visual, 3)
    for k, lag in enumerate(range(-3, 4)):
        pairs = [(i, i - lag) for i in range(9) if 0 <= i - lag < 9]
        assert curve[k] == pytest.approx(
            np.mean([audio[i] @ visual[j] for i, j in pairs])
        )


class Ears(nn.Module):
    """Hears how loud it is, sees how bright: both as the same two numbers."""

    embed_dims = 2

    def forward(self, spectrogram, frames, streams):
        loud = (2 * spectrogram.mean((1, 2))).sigmoid() * torch.pi / 2
        bright = (2 * frames.mean((1, 2, 3))).sigmoid() * torch.pi / 2
        return {
            stream: torch.stack([angle.cos(), angle.sin()], 1)[:, None]
            for stream, angle in dict(A=loud, V=bright).items()
        }


def blinking(late, seconds=8.0):
    """Light and noise that go on and off together, but for a shift in s."""
    on = np.random.default_rng(1).integers(0, 2, 100)
    times = np.arange(int(seconds * FPS)) / FPS
    light = on[((times + 2) / 0.5).astype(int)].astype(np.uint8) * 255
    frames = np.broadcast_to(light[:, None, None, None], (len(light), 32, 32, 3))
    times = np.arange(int(seconds * RATE)) / RATE
    level = on[((times + 2 - late) / 0.5).astype(int)] * 0.5 + 0.002
    wave = level * np.random.default_rng(2).uniform(-1, 1, len(times))
    return dict(video=frames.copy(), fps=FPS, audio=(wave.astype(np.float32), RATE))


@pytest.fixture
def ears(coavt, monkeypatch):
    monkeypatch.setitem(coavt.model._modules, 'av_encoder', Ears())
    return coavt


@pytest.mark.parametrize('late', [0.0, 0.4, -0.7])
def test_the_shift_of_clips(late, ears):
    (found,) = ears.check_sound(blinking(late), reach=2)
    assert found['shift'] == pytest.approx(late, abs=0.12)  # a quarter of a window
    assert found['best_score'] > 0.8
    if late:
        assert found['score'] < found['best_score'] - 0.05


def test_a_model_that_learnt_nothing_of_it_says_so(coavt, short):
    (found,) = apis.check_sound(str(short), model=coavt)
    assert set(found) == {'clip', 'score', 'best_score', 'shift', 'why', 'trained'}
    assert found['trained'] is False and -1 <= found['score'] <= 1


def test_bad_clips(coavt, classifier, make_clip):
    mute = str(make_clip(seconds=0.5, sound=False))
    with pytest.raises(ClipError, match='has no sound to compare'):
        coavt.check_sound(mute)
    blind = str(make_clip('.m4a', seconds=0.5, picture=False))
    with pytest.warns(UserWarning, match='3 of 3 clips are without an answer'):
        found = coavt.check_sound([mute, blind, 'nowhere.mp4'])
    assert ['no sound' in found[0]['error'], 'no picture' in found[1]['error']]
    assert 'nowhere.mp4' in found[2]['error']
    with pytest.raises(InputError, match='reach must be 0 s or more'):
        coavt.check_sound(mute, reach=-1)
    with pytest.raises(Exception, match='no contrastive_head'):
        classifier.check_sound(mute)


def test_the_command(checkpoint, short, tmp_path, capsys):
    table = tmp_path / 'sound.csv'
    main(['check-sound', str(checkpoint), str(short), '--out', str(table)])
    printed = capsys.readouterr().out
    assert 'no shift: shorter than 1 s' in printed and short.name in printed
    (row,) = csv.DictReader(table.open())
    assert float(row['score']) == pytest.approx(float(printed.split()[0]), abs=1e-3)
