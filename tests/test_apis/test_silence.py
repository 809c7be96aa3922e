"""Of silence, and of the last moments of a clip, no sound is made up."""

import numpy as np
import pytest
from media_files import tone
from tiny_apis import SECONDS

from coavt_mm.apis import answering, caption, classify, embed, match, retrieve
from coavt_mm.errors import ClipError

RATE = 16000


def sound(*parts):
    """Windows of a tone (1), of silence (0), or of a tone at so many dB."""
    each = [tone(440.0, SECONDS, RATE) for _ in parts]
    gains = [p if p >= 0 else 10 ** (p / 20) / np.abs(each[0]).max() for p in parts]
    return np.concatenate([g * e for g, e in zip(gains, each, strict=True)]), RATE


def film(windows):
    frames = np.full((round(8 * SECONDS * windows), 32, 32, 3), 99, np.uint8)
    return dict(video=frames, fps=8, name='x')


def streams(answer):
    return [window['streams'][0] for window in answer['windows']]


def test_a_silent_window_is_answered_from_the_picture(coavt):
    clip = film(4) | dict(audio=sound(1, 0, -70, -50))
    (found,) = embed(clip, model=coavt)['clips']
    assert streams(found) == ['AV', 'V', 'V', 'AV']
    assert [w.get('silent') for w in found['windows']] == [None, True, True, None]
    assert found['streams'] == ['AV', 'A', 'V']
    without = embed(film(4), model=coavt)['clips'][0]['windows'][1]
    window = found['windows'][1]
    np.testing.assert_allclose(
        window['embeddings']['V'], without['embeddings']['V'], atol=1e-6
    )
    assert set(window['embeddings']) == {'V'}


def test_every_task_says_so(coavt):
    clip = film(1) | dict(audio=sound(0))
    (part,) = caption(clip, max_new_tokens=2, model=coavt)[0]['captions']
    assert (part['stream'], part['trained'], part['silent']) == ('V', False, True)
    (part,) = match(clip, 'the dog', model=coavt)[0]['texts']
    assert (part['stream'], part['trained'], part['silent']) == ('V', False, True)
    (hit,) = retrieve('the dog', clip, model=coavt)[0]['hits']
    assert (hit['stream'], hit['silent']) == ('V', True)
    (window,) = classify(clip, ['dog', 'cat'], model=coavt)[0]['windows']
    assert (window['stream'], window['silent']) == ('V', True)


def test_the_evaluation_s_way_takes_silence_as_sound(coavt):
    clip = film(1) | dict(audio=sound(0))
    (found,) = embed(clip, windows=False, model=coavt)['clips']
    assert streams(found) == ['AV'] and 'silent' not in found['windows'][0]


def test_pauses_of_a_song_are_left_out(coavt, monkeypatch):
    said = []
    monkeypatch.setattr(answering, 'say_once', said.append)
    song = dict(audio=sound(1, 0, 1), name='song')
    (found,) = caption(song, max_new_tokens=2, model=coavt)
    assert [part['start'] for part in found['captions']] == [0.0, 2 * SECONDS]
    assert 'song: left out 1 silent of 3 windows' in said
    (drawn,) = retrieve('the dog', [song], model=coavt)[0]['hits']
    assert drawn['start'] != SECONDS
    with pytest.raises(ClipError, match='song: too little sound .silent, below -60 dB'):
        caption(dict(song, audio=sound(0, 0)), model=coavt)


def test_a_classifier_of_sound(coavt, classifier):
    clip = film(2) | dict(audio=sound(1, 0))
    (found,) = classify(clip, model=classifier)
    assert [window['stream'] for window in found['windows']] == ['AV', 'V']


@pytest.mark.parametrize(
    ('windows', 'starts'), [(2.1, [0, 1, 1.1]), (2.6, [0, 1, 2]), (0.3, [0])]
)
def test_a_short_tail_is_heard_with_what_is_before_it(coavt, windows, starts):
    wave, rate = sound(1, 1, 1)
    clip = dict(audio=(wave[: round(windows * SECONDS * rate)], rate))
    (found,) = embed(clip, model=coavt)['clips']
    assert [w['start'] for w in found['windows']] == pytest.approx(
        [start * SECONDS for start in starts]
    )
    assert found['windows'][-1]['end'] == pytest.approx(windows * SECONDS)
