from collections import Counter

import numpy as np
import pytest
from matplotlib.image import imread
from media_files import write_rows

from coavt_mm.analysis import corpus
from coavt_mm.analysis.corpus import (
    clips_figure,
    describe,
    histograms_figure,
    inspect_manifest,
)


def words(figure):
    figure.canvas.draw()
    return [
        text.get_text()
        for axes in figure.axes
        for text in (*axes.texts, axes.title, axes._left_title,
                     *axes.get_xticklabels(), *axes.get_yticklabels())
    ]  # fmt: skip


@pytest.fixture
def manifest(tmp_path, make_clip, horrors):
    rows = [
        {'id': 'good', 'clip': str(make_clip()), 'captions': ['a tone'],
         'audio_captions': ['it hums'], 'labels': ['hum']},
        {'id': 'mute', 'clip': str(make_clip(sound=False)), 'labels': ['hum', 'grey']},
        {'id': 'silent', 'clip': str(make_clip(silent=True))},
        {'id': 'dark', 'clip': str(make_clip(picture=False))},
        {'id': 'bad', 'clip': str(horrors['text'])},
    ]  # fmt: skip
    return write_rows(tmp_path / 'm.jsonl', rows)


def test_pictures_are_written(manifest, tmp_path):
    paths = inspect_manifest(str(manifest), '', tmp_path / 'look', clips=5)
    assert [path.name for path in paths] == ['clips.png', 'histograms.png']
    for path in paths:
        assert imread(path)[..., :3].std() > 0.01


def test_every_clip_says_what_it_lacks():
    image = np.zeros((4, 6, 3), np.uint8)
    base = dict(labels=[], has_visual=False, has_audio=False)
    wave = np.sin(np.arange(8000) / 5).astype(np.float32)
    heard = dict(has_audio=True, waveform=wave, audio_samples=8000)
    samples = [
        dict(base, sample_id='one', has_visual=True, imgs=[image] * 2,
             frame_times=[0.25, 0.75], captions=['a caption']),
        {**base, **heard, 'sample_id': 'two'},
        {**base, **heard, 'sample_id': 'three', 'waveform': wave * 0},
        dict(base, sample_id='four', error='bad'),
    ]  # fmt: skip
    text = words(clips_figure(samples, 'title'))
    for word in ('one', 'four', 'no sound', '0.2 s', '0.8 s', 'silent', '• a caption'):
        assert word in text
    assert text.count('no picture') == 2
    assert text.count('unreadable') == 2


@pytest.mark.parametrize('shift', [10.0, 25.0])
def test_the_time_axis_follows_the_frame_shift(monkeypatch, manifest, tmp_path, shift):
    sheets = {}
    monkeypatch.setattr(
        corpus, 'save_figure', lambda f, path: sheets.update({path.name: f}) or path
    )
    inspect_manifest(str(manifest), '', tmp_path, clips=5, frame_shift=shift)
    shown = [a for a in sheets['clips.png'].axes if a.get_ylabel() == '128 mel bins']
    assert shown
    for axes in shown:
        frames = axes.images[0].get_array().shape[1]
        assert axes.get_xlim() == pytest.approx((0, frames * shift / 1000))
        assert axes.get_xlim()[1] == pytest.approx(2.0, abs=0.05)  # a clip is 2 s


def test_text_of_a_clip():
    sample = dict(
        captions=['a'], audio_captions=['b'], visual_captions=['c'], labels=['x', 'y']
    )
    assert describe(sample) == '• a\n• sound: b\n• picture: c\n[x; y]'
    assert describe(dict(labels=[])) == '(no text)'


def test_many_labels_show_both_ends():
    labels = Counter({f'label {i}': 100 - i for i in range(60)})
    text = words(histograms_figure([1.0, 2.0, 2.0], labels))
    assert '3 clips, median 2.0 s' in text
    assert '(36 labels between)' in text
    assert {'label 0', 'label 59', ' 100', ' 41'} <= set(text)


def test_no_labels_and_no_lengths():
    assert len(histograms_figure([], Counter()).axes) == 1
