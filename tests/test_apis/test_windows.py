"""Long clips: every second is in a window, and all windows cost the same."""

import math

import numpy as np
import pytest
from media_files import tone
from strange_media import number, write_pcm_wav, write_strange

from coavt_mm.apis.inputs import as_clips
from coavt_mm.apis.pipeline import ClipPipeline
from coavt_mm.apis.windows import spans
from coavt_mm.datasets import media
from coavt_mm.errors import ClipError

PIPELINE = [
    dict(type='LoadFrames', num_frames=2, pick='all'),
    dict(type='LoadAudio', seconds=1.0),
    dict(type='PackAVTInputs'),
]


def all_spans(source, seconds=1.0, windows=True):
    (clip,) = as_clips(source, None)
    return list(spans(clip, seconds, 16000, windows))


@pytest.mark.parametrize('seconds', [0.5, 1.0, 2.5, 10.0])
@pytest.mark.parametrize('length', [0.3, 1.0, 2.99, 3.04, 7.3, 12.2, 61.0])
def test_every_second_is_in_a_window(length, seconds):
    wave = tone(100.0, length, 16000)
    (clip,) = as_clips(None, (wave, 16000))
    found = list(spans(clip, seconds, 16000, True))
    times = np.arange(0, length, 0.01)
    seen = np.zeros(len(times), bool)
    for span in found:
        seen |= (times >= span.start) & (times < span.start + seconds)
    left = (~seen).sum() * 0.01
    assert left <= min(0.1, 0.05 * seconds) + 0.011
    assert found[-1].end == pytest.approx(length) and found[-1].share == 1.0
    *starts, last = [span.start for span in found]
    assert starts == pytest.approx([k * seconds for k in range(len(starts))])
    # half a window or more, or whole since it begins earlier
    rest = length - len(starts) * seconds
    whole = bool(starts) and rest < 0.5 * seconds
    assert last == pytest.approx(length - (seconds if whole else rest))


@pytest.mark.parametrize('suffix, options', [
    ('.mp4', {}), ('.ts', dict(video_start=600, audio_start=600)),
    ('.mkv', dict(video_start=600, audio_start=600)),
    ('.webm', dict(kind='webm', video='libvpx', audio='libopus',
                   options={'live': '1'}, piped=True)),
])  # fmt: skip
def test_windows_of_files_of_any_clock(tmp_path, suffix, options):
    path = write_strange(tmp_path / f'x{suffix}', **options)
    pipeline, (clip,), starts = ClipPipeline(PIPELINE, 64), as_clips(path, None), []
    for span in spans(clip, 1.0, 16000, True):
        starts.append(round(span.start))
        frames = pipeline(dict(span.row, sample_id='x'))['inputs']['frames']
        level = frames[0].permute(1, 2, 0).numpy()
        assert number(level) == pytest.approx(10 * span.start + 2.5, abs=0.8)
    assert starts == [0, 1, 2]


@pytest.mark.parametrize('pictures', [20, 33])
def test_a_file_is_opened_for_all_its_windows(tmp_path, monkeypatch, pictures):
    opened = []
    real = media.open_container
    monkeypatch.setattr(media, 'open_container', lambda s: opened.append(s) or real(s))
    path = write_strange(tmp_path / 'x.mp4', pictures=pictures, gop=5)
    pipeline, count = ClipPipeline(PIPELINE, 64), 0
    (clip,) = as_clips(path, None)
    for span in spans(clip, 0.2, 16000, True):
        pipeline(dict(span.row, sample_id='x'))
        count += 1
    assert count == math.ceil(pictures / 2)
    # once, and anew for a reading that begins at the begin
    assert len(opened) <= 4


def test_a_long_file_is_closed_when_its_windows_are_over(tmp_path, monkeypatch):
    closed = []
    real = media.Media.close
    monkeypatch.setattr(media.Media, 'close', lambda m: closed.append(m) or real(m))
    path = write_strange(tmp_path / 'x.mp4')
    assert len(all_spans(path)) == 3 and len(closed) == 1
    (clip,) = as_clips(path, None)
    running = spans(clip, 1.0, 16000, True)
    next(running)
    running.close()  # as when a caller's error ends it
    assert len(closed) == 2


def test_sound_and_picture_of_other_files(tmp_path):
    path = write_strange(tmp_path / 'x.mp4', audio=None)
    sound = write_pcm_wav(tmp_path / 's.wav', tone(440.0, 5.0, 16000)[None], 16000)
    (clip,) = as_clips(str(path), str(sound))
    pipeline = ClipPipeline(PIPELINE, 64)
    flags = [
        pipeline(dict(span.row, sample_id='x'))['data_samples']
        for span in spans(clip, 1.0, 16000, True)
    ]
    assert [f.has_visual for f in flags] == [True] * 3 + [False] * 2
    assert all(f.has_audio for f in flags)


@pytest.mark.parametrize('rate', [1e-3, 3e9])
def test_rates_out_of_this_world_are_named(rate):
    (clip,) = as_clips(None, (np.ones(1000, np.float32), rate))
    with pytest.raises(ClipError, match='Hz to 16000 Hz'):
        list(spans(clip, 1.0, 16000, True))
