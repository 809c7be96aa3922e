import math
import os
import threading
import time

import numpy as np
import pytest
from media_files import brightness, tone, write_sound

from coavt_mm.datasets import decoding
from coavt_mm.datasets.decoding import (
    backend_order,
    cavmae_times,
    read_audio,
    read_frames,
    sample_times,
)
from coavt_mm.datasets.media import kept_open, probe
from coavt_mm.errors import ClipError, ConfigError

BACKENDS = backend_order('decord')

NO_CLIP = (
    'truncated', 'truncated_index_first', 'truncated_mkv', 'zero_bytes', 'text',
    'noise', 'missing', 'folder',
)  # fmt: skip
NO_PICTURE = ('no_picture',)


def pitch(waveform, rate=16000):
    """Frequency in Hz of the strongest part of a waveform (S,)."""
    return np.abs(np.fft.rfft(waveform)).argmax() * rate / len(waveform)


@pytest.fixture(params=decoding.BACKENDS)
def backend(request, monkeypatch):
    """A back end by itself, without the others to fall back on."""
    if request.param not in BACKENDS:
        pytest.skip(f'{request.param} is not installed or does not load')
    only = {request.param: decoding.BACKENDS[request.param]}
    monkeypatch.setattr(decoding, 'BACKENDS', only)
    return request.param


@pytest.mark.parametrize('rate', [10.0, 24.0, 25.0, 30000 / 1001, 30.0, 59.94])
@pytest.mark.parametrize('seconds', [10.0, 2.0, 7.31])
def test_cavmae_times_are_in_the_frames_that_it_extracts(rate, seconds):
    """int(i * (n / 10)) - 1 of extract_video_frame.py; a negative one is the first."""
    total = int(seconds * rate + 1e-6)
    expected = [max(int(i * (total / 10)) - 1, 0) for i in range(10)]
    times = cavmae_times(10, 3.0, 3.0 + seconds, rate)
    assert np.floor((times - 3.0) * rate).tolist() == expected


def test_a_still_picture_is_taken_at_its_start():
    assert cavmae_times(2, 1.0, np.inf, 1.0).tolist() == [1.0, 1.0]


def test_sample_times_are_the_centres():
    assert sample_times(4, 10.0, 12.0).tolist() == [10.25, 10.75, 11.25, 11.75]


@pytest.mark.parametrize('gop', [1, 5, 250])
def test_frames_are_those_on_the_screen(make_clip, backend, gop):
    path = make_clip(seconds=3.0, gop=gop)
    times = [0.0, 0.05, 1.0, 1.99, 2.95]
    images, begins = read_frames(path, times, backend)
    assert np.allclose(begins, [0.0, 0.0, 1.0, 1.9, 2.9], atol=1e-3)
    for image, index in zip(images, [0, 0, 10, 19, 29], strict=True):
        assert image.shape == (48, 64, 3) and image.dtype == np.uint8
        assert abs(int(image[-1, -1, 1]) - brightness(index, 30)) <= 4
        red, green, blue = image[4, 4].astype(int)
        assert red > 200 and green < 50 and blue < 50  # RGB, not BGR


def test_frames_far_apart_are_found_by_seeking(make_clip, backend):
    path = make_clip(seconds=40.0, fps=2, gop=4)
    images, begins = read_frames(path, [1.0, 2.0, 30.0, 39.5], backend)
    assert np.allclose(begins, [1.0, 2.0, 30.0, 39.5], atol=1e-3)
    levels = [int(image[-1, -1, 1]) for image in images]
    assert np.allclose(levels, [brightness(i, 80) for i in (2, 4, 60, 79)], atol=4)


def test_back_ends_agree(make_clip):
    path = make_clip(seconds=3.0)
    times = sample_times(10, 0.0, 3.0)
    first, *others = (decoding.BACKENDS[name](str(path), times) for name in BACKENDS)
    for images, begins in others:
        assert np.allclose(begins, first[1], atol=1e-3)
        assert np.abs(np.subtract(images, first[0], dtype=np.int16)).max() <= 3


def test_reads_bytes(clip, backend):
    from_bytes = read_frames(clip.read_bytes(), [1.0], backend)
    assert np.array_equal(from_bytes[0], read_frames(clip, [1.0], backend)[0])
    assert np.array_equal(read_audio(clip.read_bytes()), read_audio(clip))


@pytest.mark.parametrize('suffix, codec', [('.mkv', 'aac'), ('.mp4', 'mp3'),
                                           ('.mkv', 'flac')])  # fmt: skip
def test_other_containers_and_codecs(make_clip, backend, suffix, codec):
    options = dict(sound_rate=44100) if codec == 'mp3' else {}
    path = make_clip(suffix, codec=codec, **options)
    images, _ = read_frames(path, [1.0], backend)
    assert images[0].shape == (48, 64, 3)
    assert abs(pitch(read_audio(path, 0.2, 1.8)) - 440) < 2


def corner(image):
    """Where the red corner of a frame lies: (row, column) in half pictures."""
    image = image.astype(int)
    redness = image[..., 0] - image[..., 1]
    row, column = np.unravel_index(redness.argmax(), redness.shape)
    return row // (image.shape[0] / 2), column // (image.shape[1] / 2)


@pytest.mark.parametrize('name, shape, place', [
    ('rotated', (64, 48), (0, 1)),
    ('rotated_180', (48, 64), (1, 1)),
    ('rotated_270', (64, 48), (1, 0)),
])  # fmt: skip
@pytest.mark.parametrize('first', BACKENDS)
def test_rotated_pictures_stand_upright(horrors, first, name, shape, place):
    (image,), _ = read_frames(horrors[name], [1.0], first)
    assert image.shape[:2] == shape
    assert corner(image) == place


@pytest.mark.parametrize('rotation, place', [(0, (0, 1)), (90, (1, 1)), (180, (1, 0)),
                                             (270, (0, 0))])  # fmt: skip
@pytest.mark.parametrize('first', BACKENDS)
def test_mirrored_pictures_are_those_that_a_player_shows(
    make_clip, first, rotation, place
):
    path = make_clip(rotation=rotation, mirror=True)
    (image,), _ = read_frames(path, [1.0], first)
    assert image.shape[:2] == ((64, 48) if rotation % 180 else (48, 64))
    assert corner(image) == place
    with kept_open(path) as source:  # as transforms read it
        (image, _), begins = read_frames(source, [0.0, 0.15], first)
    assert corner(image) == place and begins == pytest.approx([0.0, 0.1])


@pytest.mark.parametrize('name', NO_CLIP)
def test_unreadable_pictures_are_named(horrors, backend, name):
    with pytest.raises(ClipError, match=os.path.basename(horrors[name])):
        read_frames(horrors[name], sample_times(10, 0.0, 4.0), backend)


@pytest.mark.parametrize('name', NO_CLIP)
def test_unreadable_sound_is_named(horrors, name):
    with pytest.raises(ClipError, match=os.path.basename(horrors[name])):
        read_audio(horrors[name])


def test_what_remains_of_a_truncated_file_can_be_read(horrors, backend):
    images, _ = read_frames(horrors['truncated_mkv'], [0.5, 1.0], backend)
    assert len(images) == 2
    assert len(read_audio(horrors['truncated_mkv'], 0.5, 1.5)) == 16000


@pytest.mark.parametrize('name, shape', [
    ('strange_name', (48, 64)), ('odd_size', (37, 65)), ('one_frame', (48, 64)),
    ('no_sound', (48, 64)), ('short_sound', (48, 64)), ('rate_96k', (48, 64)),
])  # fmt: skip
def test_odd_but_good_pictures(horrors, backend, name, shape):
    images, _ = (
        read_frames(horrors[name], sample_times(3, 0.0, 2.0), backend)
        if name != 'one_frame'
        else read_frames(horrors[name], [0.0, 0.05], backend)
    )
    assert all(image.shape == (*shape, 3) for image in images)


@pytest.mark.parametrize('name', ['six_channels', 'rate_8k', 'rate_96k',
                                  'strange_name', 'no_picture'])  # fmt: skip
def test_odd_but_good_sound(horrors, name):
    waveform = read_audio(horrors[name])
    assert waveform.dtype == np.float32 and len(waveform) == 32000
    assert abs(pitch(waveform) - 440) < 1
    loudness = np.sqrt(np.mean(waveform[8000:24000] ** 2))
    # the mean of equal channels is as loud as one; AAC leaves 440 Hz out of the sixth
    heard = 5 / 6 if name == 'six_channels' else 1
    assert loudness == pytest.approx(heard * 0.5 / math.sqrt(2), rel=0.05)


def test_no_sound_stream_is_none(horrors):
    assert read_audio(horrors['no_sound']) is None
    assert not read_audio(horrors['silent']).any()


@pytest.mark.parametrize('name', ['short_sound', 'mkv_short_sound'])
def test_sound_shorter_than_the_picture_is_no_error(horrors, name):
    waveform = read_audio(horrors[name], 0.0, 2.0)
    assert 0.69 * 16000 <= len(waveform) <= 0.77 * 16000
    assert read_audio(horrors[name], 1.0, 2.0) is None


def test_cut_at_the_right_place(tmp_path):
    """A click at 3.21 s lies 0.21 s behind the start of the span [3, 4)."""
    waveform = np.zeros(44100 * 5, np.float32)
    waveform[round(3.21 * 44100)] = 0.9
    for name in ('click.wav', 'click.flac'):
        found = read_audio(write_sound(tmp_path / name, waveform, 44100), 3.0, 4.0)
        assert len(found) == 16000
        assert abs(np.abs(found).argmax() - 0.21 * 16000) <= 2


def test_lengths_without_a_container_are_found_by_reading(make_clip):
    path = make_clip('.mp3', picture=False, codec='mp3', sound_rate=44100)
    assert probe(path).audio_end == pytest.approx(2.0, abs=0.06)
    assert len(read_audio(path)) >= 32000
    assert abs(pitch(read_audio(path, 0.5, 1.5)) - 440) < 1


def test_spans_of_a_clip_equal_its_parts(make_clip):
    path = make_clip(seconds=4.0)
    whole = read_audio(path)
    part = read_audio(path, 1.5, 2.5)
    assert np.abs(part - whole[24000:40000]).max() < 1e-3


def test_matches_the_written_waveform(make_clip):
    found = read_audio(make_clip('.mkv', codec='flac'))
    assert np.abs(found - tone(440.0, 2.0, 16000)).max() < 1e-3


def test_a_fifo_is_refused_at_once(tmp_path):
    path = tmp_path / 'pipe.mp4'
    os.mkfifo(path)
    begin = time.monotonic()
    for read in (probe, read_audio, lambda p: read_frames(p, [0.0])):
        with pytest.raises(ClipError, match='not a regular file'):
            read(path)
    assert time.monotonic() - begin < 50  # no time limit of 60 s ran out


def test_a_hanging_decoder_is_left_behind(clip, monkeypatch):
    ends = threading.Event()
    monkeypatch.setitem(decoding.BACKENDS, 'decord', lambda *_: ends.wait(600))
    try:
        with pytest.raises(ClipError, match='longer than 0.2 s'):
            read_frames(clip, [0.0], 'decord', timeout=0.2)
        assert not ends.is_set()
    finally:
        ends.set()


def test_falls_back_and_says_so(clip, monkeypatch):
    def broken(source, times):
        raise RuntimeError('no luck')

    said = []
    monkeypatch.setitem(decoding.BACKENDS, 'decord', broken)
    monkeypatch.setattr(decoding, 'warn_once', said.append)
    images, _ = read_frames(clip, [0.0], 'decord')
    assert images[0].shape == (48, 64, 3)
    assert said == [f'{clip}: read with pyav (decord: no luck)']


def test_unknown_back_ends_are_errors():
    with pytest.raises(ConfigError, match='pyav, decord'):
        backend_order('decrod')


def test_back_ends_not_installed_are_errors(monkeypatch):
    monkeypatch.setattr(decoding, '_loads', lambda name: name == 'av')
    with pytest.raises(ConfigError, match="'decord' is not installed; there is pyav"):
        backend_order('decord')
    assert backend_order('pyav') == ['pyav']


def test_a_back_end_that_does_not_load_is_named(monkeypatch, tmp_path):
    """torchcodec without system FFmpeg raises when it is imported."""
    said = []
    (tmp_path / 'half_there.py').write_text("raise RuntimeError('no FFmpeg\\nlong')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(decoding, 'warn_once', said.append)
    assert not decoding._loads('half_there')
    assert not decoding._loads('nowhere_at_all.decoders')
    assert said == ['half_there is installed but does not load: no FFmpeg']
