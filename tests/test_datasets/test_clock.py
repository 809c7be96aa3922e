"""One clock: the picture at a time, and the place of the sound, in files of any build.

All back ends must give the same pictures of all of them.
"""

from fractions import Fraction

import numpy as np
import pytest
from strange_media import cut, number, write_strange

from coavt_mm.datasets import decoding
from coavt_mm.datasets.decoding import (
    backend_order,
    read_audio,
    read_frames,
    sample_times,
)
from coavt_mm.datasets.media import probe
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.errors import ClipError

BACKENDS = backend_order('pyav')
FRAGMENTS = {'movflags': 'frag_keyframe+empty_moov+default_base_moof'}
B_FRAMES = list(range(30))  # with times of their own, x264 takes pictures out of order

# name: (file, options of its writer, when its first picture is shown, when its sound
# begins), in s; 3 s of each
FILES = {
    'mp4': ('x.mp4', {}, 0, 0),
    'b_frames.mp4': ('x.mp4', dict(pts=B_FRAMES), 0, 0),
    'b_frames.ts': ('x.ts', dict(pts=B_FRAMES), 0.02, 0),
    'fragments.mp4': ('x.mp4', dict(options=FRAGMENTS, audio=None), 0, None),
    'late_picture.mp4': ('x.mp4', dict(video_start=1.0), 1, 0),
    'late_picture.mkv': ('x.mkv', dict(video_start=1.0), 1, 0),
    'late_picture.ts': ('x.ts', dict(video_start=601.0, audio_start=600.0), 1.02, 0),
    'late_sound.mp4': ('x.mp4', dict(audio_start=1.0), 0, 1),
    'late_sound.mkv': ('x.mkv', dict(audio_start=1.0), 0, 1),
    'late_sound.ts': ('x.ts', dict(audio_start=601.0, video_start=600.0), 0, 1),
    'offset.mkv': ('x.mkv', dict(video_start=600, audio_start=600), 0, 0),
    'offset.ts': ('x.ts', dict(video_start=600, audio_start=600), 0.02, 0),
    'one_key.ts': ('x.ts', dict(video_start=70, audio_start=70, gop=60), 0.02, 0),
    'offset.mp4': ('x.mp4', dict(video_start=600, audio_start=600), 0.02, 0),
    'offset.flv': ('x.flv', dict(video='flv1', audio='libmp3lame', rate=44100,
                                 video_start=600, audio_start=600), 0.025, 0),
    'program.mpg': ('x.mpg', dict(kind='mpeg', video='mpeg2video', audio='mp2'), 0.01,
                    0),
    'b_frames.avi': ('x.avi', dict(audio='libmp3lame', pts=B_FRAMES), 0, 0),
    'open_groups.avi': ('x.avi', dict(video='mpeg4', audio='libmp3lame', pts=B_FRAMES,
                                      b_frames=2, gop=8), 0, 0),
    'raw.h264': ('x.h264', dict(kind='h264', audio=None), 0, None),
    'recorder.webm': ('x.webm', dict(kind='webm', video='libvpx', audio='libopus',
                                     options={'live': '1'}, piped=True), 0, 0),
    'asf': ('x.wmv', dict(kind='asf', video='wmv2', audio='libmp3lame', rate=44100),
            0.025, 0),
    'late_picture.wmv': ('x.wmv', dict(kind='asf', video='wmv2', audio='libmp3lame',
                                       rate=44100, video_start=601, audio_start=600),
                         1.025, 0),
    'offset.nut': ('x.nut', dict(video_start=600, audio_start=600), 0.02, 0),
    'hevc.mp4': ('x.mp4', dict(video='libx265', pts=B_FRAMES), 0, 0),
}  # fmt: skip


@pytest.fixture(scope='module')
def strange(tmp_path_factory):
    """Name -> path of a file of `FILES`."""
    root, written = tmp_path_factory.mktemp('strange'), {}

    def get(name):
        if name not in written:
            file, options, *_ = FILES[name]
            written[name] = write_strange(root / f'{name}-{file}', **options)
        return written[name]

    return get


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('name', FILES)
def test_the_picture_at_a_time(strange, name, backend):
    begin = FILES[name][2]
    wanted = np.array([0.05, 0.33, 1.05, 1.97, 2.55, 2.94])
    images, begins = read_frames(strange(name), begin + wanted, backend)
    assert [number(image) for image in images] == [0, 3, 10, 19, 25, 29]
    assert np.allclose(begins, begin + np.floor(wanted * 10) / 10, atol=6e-3)


@pytest.mark.parametrize('name', FILES)
def test_each_picture_by_itself(strange, name):
    """By a seek of its own, in any order."""
    begin = FILES[name][2]
    for index in (29, 3, 17, 0, 11):
        images, _ = read_frames(strange(name), [begin + index / 10 + 0.05])
        assert number(images[0]) == index


@pytest.mark.parametrize('name', FILES)
def test_spans_of_streams(strange, name):
    info, (_, _, picture, sound) = probe(strange(name)), FILES[name]
    assert info.video_start == pytest.approx(picture, abs=0.01)
    assert info.video_end == pytest.approx(picture + 3, abs=0.06)
    if sound is None:
        assert not info.has_audio
    else:
        assert info.audio_start == pytest.approx(sound, abs=0.05)
        # encoders fill their last packet up
        assert info.audio_end == pytest.approx(sound + 3, abs=0.25)


@pytest.mark.parametrize('name', [n for n in FILES if FILES[n][3] is not None])
def test_the_place_of_the_sound(strange, name):
    sound = FILES[name][3]
    heard = np.flatnonzero(np.abs(read_audio(strange(name))) > 0.1) / 16000
    assert heard[0] == pytest.approx(sound, abs=0.05)
    assert 2.9 < heard[-1] - sound < 3.1
    part = read_audio(strange(name), sound + 1.0, sound + 1.5)
    assert len(part) == 8000 and np.abs(part).max() > 0.4
    if sound:
        assert read_audio(strange(name), 0.0, sound - 0.1) is None


@pytest.mark.parametrize('key', [1.0, 0.0])
@pytest.mark.parametrize('backend', BACKENDS)
def test_a_stream_copy_shows_what_a_player_shows(tmp_path, backend, key):
    whole = write_strange(tmp_path / 'whole.mp4', gop=10 if key else 60)
    path = cut(whole, tmp_path / 'cut.mp4', 1.55, key)
    images, _ = read_frames(path, sample_times(10, 0, 1.45), backend)
    expected = [16, 18, 19, 21, 22, 23, 25, 26, 28, 29]
    assert [number(image) for image in images] == expected
    load = LoadFrames(10, 'all', backend)
    loaded = load(dict(clip_path=str(path), start=0.0, end=1.45))
    assert [number(image) for image in loaded['imgs']] == expected
    assert read_audio(path)[:160].any()


@pytest.mark.parametrize('name', ['late_picture.mp4', 'late_picture.mkv'])
def test_a_late_picture_is_sampled_where_it_is(strange, name):
    loaded = LoadFrames(3, 'all')(
        dict(clip_path=str(strange(name)), start=0.0, end=None)
    )
    assert [number(image) for image in loaded['imgs']] == [5, 15, 25]
    assert np.allclose(loaded['frame_times'], [1.5, 2.5, 3.5], atol=1e-3)
    before = LoadFrames()(dict(clip_path=str(strange(name)), start=0.0, end=0.9))
    assert not before['has_visual']


def test_late_sound_keeps_its_silence_in_front(strange):
    path = str(strange('late_sound.mkv'))
    loaded = LoadAudio(seconds=4.0)(dict(audio_path=path, start=0.0, end=None))
    waveform = loaded['waveform']
    assert not waveform[:15600].any() and waveform[16200:17000].any()


def test_a_pause_of_the_sound_stays_a_pause(tmp_path):
    """Lost packets: what comes after them stays beside its pictures."""
    path = write_strange(tmp_path / 'x.mkv', audio='flac', skip=(1.0, 0.8))
    waveform = read_audio(path)
    assert len(waveform) == pytest.approx(3.8 * 16000, abs=400)
    assert not waveform[round(1.1 * 16000) : round(1.75 * 16000)].any()
    assert np.abs(waveform[round(1.85 * 16000) : round(1.95 * 16000)]).max() > 0.4


@pytest.mark.parametrize('backend', BACKENDS)
def test_uneven_times(tmp_path, backend):
    """A long pause is no damage, and the last picture is there to be sampled."""
    pts = [0, 1, 2, 3, 30, 31, 32, 33, 34, 90]
    path = write_strange(tmp_path / 'x.mp4', audio=None, pts=pts)
    assert probe(path).video_end == pytest.approx(9.1, abs=0.05)
    images, begins = read_frames(path, [0.05, 2.9, 3.15, 8.9, 9.05], backend)
    assert [number(image) for image in images] == [0, 3, 5, 8, 9]
    assert np.allclose(begins, [0.0, 0.3, 3.1, 3.4, 9.0], atol=1e-3)
    loaded = LoadFrames(100, 'all', backend)(
        dict(clip_path=str(path), start=0.0, end=None)
    )
    assert number(loaded['imgs'][-1]) == 9


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.ts'])
def test_what_breaks_off_is_damage(tmp_path, suffix):
    path = write_strange(tmp_path / f'x{suffix}', gop=1)
    content = path.read_bytes()
    if suffix == '.ts':  # states no length: the rest is a good clip of its own
        path.write_bytes(content[: len(content) // 2])
        assert probe(path).video_end < 2.0
        return
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ClipError, match=f'x{suffix}'):
        read_frames(path, [2.9])
    with pytest.raises(ClipError, match=f'x{suffix}'):
        read_audio(path)


@pytest.mark.parametrize('suffix, video, audio', [
    ('.ts', 'libx264', 'aac'), ('.ts', 'libx264', 'libmp3lame'),
    ('.mpg', 'mpeg2video', 'mp2'),
])  # fmt: skip
def test_a_broadcast_from_anywhere(tmp_path, suffix, video, audio):
    kind = 'mpeg' if suffix == '.mpg' else None
    whole = write_strange(tmp_path / f'x{suffix}', kind, video, audio, gop=5)
    assert len(read_audio(whole)) / 16000 == pytest.approx(3.0, abs=0.06)
    part = tmp_path / f'part{suffix}'
    part.write_bytes(whole.read_bytes()[whole.stat().st_size // 3 : -1000])
    assert 1.0 < len(read_audio(part)) / 16000 < 2.6
    if suffix == '.ts':  # few packets hold all the pictures of the other
        images, _ = read_frames(part, [probe(part).video_end - 0.15])
        assert number(images[0]) > 20


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('aspect, shape', [
    (Fraction(2), (64, 128)), (Fraction(16, 15), (64, 68)), (Fraction(1, 2), (128, 64)),
    (Fraction(1), (64, 64)),
])  # fmt: skip
@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_pixels_become_square(tmp_path, aspect, shape, backend, suffix):
    path = write_strange(tmp_path / f'x{suffix}', aspect=aspect, audio=None)
    images, _ = read_frames(path, [1.05, 2.05], backend)
    assert [image.shape for image in images] == [(*shape, 3)] * 2
    assert [number(image) for image in images] == [10, 20]


def test_decord_is_asked_only_where_it_is_right(tmp_path, monkeypatch):
    asked = []
    import decord

    real = decord.VideoReader
    monkeypatch.setattr(
        decord, 'VideoReader', lambda *a, **k: asked.append(a) or real(*a, **k)
    )
    plain = write_strange(tmp_path / 'plain.mp4')
    read_frames(plain, [1.0], 'decord')
    assert len(asked) == 1
    part = cut(plain, tmp_path / 'cut.mp4', 1.55, 1.0)
    late = write_strange(tmp_path / 'late.mkv', video_start=1.0)
    wide = write_strange(tmp_path / 'wide.mp4', aspect=Fraction(2))
    stream = write_strange(tmp_path / 'x.ts')
    hevc = write_strange(tmp_path / 'hevc.mp4', video='libx265', pts=B_FRAMES)
    for path in (part, late, wide, stream, hevc):
        read_frames(path, [1.2], 'decord')
    assert len(asked) == 1
    assert decoding.backend_order('decord')[0] == 'decord'
