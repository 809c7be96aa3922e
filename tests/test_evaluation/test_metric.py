import numpy as np
import pytest
from media_files import tone, write_sound

from coavt_mm.errors import ClipError
from coavt_mm.evaluation import metric as module
from coavt_mm.evaluation.metric import middle_frame, spectrogram

IMAGE = np.full((9, 16, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ('sample', 'time'),
    [
        (dict(frame_times=[0.5, 1.5, 4.0], start=0.0, end=9.0), 1.5),
        (dict(frame_times=np.array([2.5])), 2.5),
        (dict(start=10.0, end=20.0), 15.0),
        (dict(start=None, end=None), 0.0),
    ],
)
def test_middle_frame_reads_the_middle(monkeypatch, sample, time):
    asked = []
    monkeypatch.setattr(
        module,
        'read_frames',
        lambda path, times: (asked.append(times), ([IMAGE], []))[1],
    )
    assert middle_frame(dict(sample, clip_path='a.mp4')) is IMAGE
    assert asked == [[time]]


def test_clip_without_picture_or_unreadable_shows_none(monkeypatch, tmp_path):
    assert middle_frame(dict(clip_path=None)) is None

    def fail(path, times):
        raise ClipError(f'{path}: broken')

    monkeypatch.setattr(module, 'read_frames', fail)
    assert middle_frame(dict(clip_path='a.mp4', start=0.0, end=1.0)) is None


def test_spectrogram_is_of_the_clips_span(tmp_path):
    sound = np.concatenate([np.zeros(16000, np.float32), tone(1000, 1.0, 16000)])
    path = str(write_sound(tmp_path / 'a.wav', sound, 16000))
    whole = spectrogram(dict(clip_path=path, start=None, end=None))
    second = spectrogram(dict(clip_path=path, start=1.0, end=1.5))
    assert whole.shape == (198, 64)
    assert second.shape == (48, 64)
    assert whole[:90].max() < 0 < second.max()


def test_clip_without_sound_or_unreadable_has_no_spectrogram(tmp_path):
    assert spectrogram(dict(clip_path=None)) is None
    (tmp_path / 'broken.mp4').write_bytes(b'no clip')
    path = str(tmp_path / 'broken.mp4')
    assert spectrogram(dict(clip_path=path, start=0.0, end=1.0)) is None
