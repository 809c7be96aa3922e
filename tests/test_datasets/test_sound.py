"""Sound of any build: right, or refused with one line that names the clip."""

import numpy as np
import pytest
from media_files import tone
from strange_media import (
    without_codec,
    write_float_wav,
    write_pcm_wav,
    write_strange,
)

from coavt_mm.datasets.decoding import read_audio, read_frames
from coavt_mm.datasets.media import kept_open, probe
from coavt_mm.datasets.sound import resample
from coavt_mm.datasets.transforms import LoadAudio
from coavt_mm.errors import ClipError
from coavt_mm.preparation.checking import Task, check_clip


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 24])
def test_the_mean_of_all_channels(tmp_path, channels):
    rng = np.random.default_rng(channels)
    planes = 0.5 * rng.uniform(-1, 1, (channels, 16000))
    path = write_pcm_wav(tmp_path / 'x.wav', planes, 16000)
    found = read_audio(path)
    assert len(found) == 16000
    assert np.abs(found - planes.mean(axis=0)).max() < 1e-4


@pytest.mark.parametrize('codec, suffix, layout', [
    ('flac', '.flac', '7.1'), ('flac', '.mkv', '7.1'), ('libopus', '.ogg', '7.1'),
    ('flac', '.flac', '5.1'), ('ac3', '.mkv', '5.1'),
])  # fmt: skip
def test_film_sound(tmp_path, codec, suffix, layout):
    path = write_film(tmp_path / f'x{suffix}', codec, layout)
    waveform = read_audio(path)
    assert 46000 < len(waveform) < 50000 and np.abs(waveform).max() > 0.2
    assert LoadAudio(3.0)(dict(audio_path=str(path), start=0.0, end=None))['has_audio']


def write_film(path, codec, layout):
    from fractions import Fraction

    import av

    form = {'flac': 's16', 'libopus': 'flt'}.get(codec, 'fltp')
    channels = av.AudioLayout(layout).nb_channels
    wave = tone(440.0, 3.0, 48000)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=48000, layout=layout)
        stream.codec_context.format = form
        step = stream.codec_context.frame_size or 1024
        for begin in range(0, len(wave), step):
            part = wave[None, begin : begin + step]
            if form == 's16':
                part = (part * 32767).astype(np.int16)
            axis = 0 if form == 'fltp' else 1
            block = np.ascontiguousarray(np.repeat(part, channels, axis))
            frame = av.AudioFrame.from_ndarray(block, form, layout)
            frame.sample_rate, frame.pts = 48000, begin
            frame.time_base = Fraction(1, 48000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(params=['aac', 'mp3'])
def joined(request, tmp_path):
    """Two recordings in one file: mono, then stereo or another rate; 3 s each."""
    kind, codec = {'aac': ('adts', 'aac'), 'mp3': ('mp3', 'libmp3lame')}[request.param]

    def join(*parts):
        content = b''
        for layout, rate in parts:
            part = tmp_path / f'{layout}{rate}.{request.param}'
            write_strange(part, kind, video=None, audio=codec, layout=layout, rate=rate)
            content += part.read_bytes()
        path = tmp_path / f'joined.{request.param}'
        path.write_bytes(content)
        return path

    return join


@pytest.mark.parametrize('second', [('stereo', 44100), ('mono', 22050)])
def test_channels_and_rate_that_change_on_the_way(joined, second):
    path = joined(('mono', 44100), second, ('mono', 44100))
    waveform = read_audio(path)
    assert len(waveform) == pytest.approx(9 * 16000, abs=0.25 * 16000)
    assert probe(path).audio_end == pytest.approx(9, abs=0.3)
    for second in range(9):
        part = waveform[second * 16000 + 2000 :][:12000]
        assert np.abs(part).max() > 0.3
    # 44,100 / 20 / 2 pi Hz, then as the rate is
    spectrum = np.abs(np.fft.rfft(waveform[8000:40000]))
    assert spectrum.argmax() / 2 == pytest.approx(44100 / 20 / 2 / np.pi, abs=2)


def test_a_span_behind_a_change_of_rate(joined):
    path = joined(('mono', 44100), ('mono', 22050))
    span = read_audio(path, 4.0, 5.0)
    pitch = np.abs(np.fft.rfft(span)).argmax()
    assert len(span) == 16000
    assert pitch == pytest.approx(22050 / 20 / 2 / np.pi, abs=2)
    if path.suffix == '.mp3':
        return  # sought by the times of its packets, to the sample only nearly
    whole = read_audio(path)
    assert np.array_equal(read_audio(path, 4.0, 5.0), whole[64000:80000])
    with kept_open(path) as media:
        assert np.array_equal(read_audio(media, 4.0, 5.0), whole[64000:80000])


@pytest.mark.parametrize('value, reason', [
    (np.nan, 'NaN or inf'), (np.inf, 'NaN or inf'), (-np.inf, 'NaN or inf'),
    (1e29, r'peak of 1e\+29'), (-1e9, r'peak of 1e\+09'),
])  # fmt: skip
def test_samples_that_are_no_sound(tmp_path, value, reason):
    samples = tone(440.0, 3.0, 16000)
    samples[1000] = value
    path = write_float_wav(tmp_path / 'x.wav', samples)
    with pytest.raises(ClipError, match=rf'x\.wav.*{reason}'):
        read_audio(path)
    assert len(read_audio(path, 1.0, 2.0)) == 16000  # which does not hold it
    found = check_clip(Task(None, str(path)))
    assert found['problems'] == ['unreadable'] and 'the sound' in found['reason']


def test_a_loud_float_file_is_good(tmp_path):
    samples = 8 * tone(440.0, 1.0, 16000)
    found = read_audio(write_float_wav(tmp_path / 'x.wav', samples))
    assert np.abs(found - samples).max() < 1e-5


def test_a_header_that_states_no_size(tmp_path):
    """As programs write that stream a wav."""
    path = write_pcm_wav(tmp_path / 'x.wav', tone(440.0, 2.0, 16000)[None], 16000)
    content = bytearray(path.read_bytes())
    for place in (4, 40):
        content[place : place + 4] = b'\xff\xff\xff\xff'
    path.write_bytes(bytes(content))
    assert len(read_audio(path)) == 32000
    assert probe(path).audio_end == pytest.approx(2.0)


@pytest.mark.parametrize('suffix, video, codec', [
    ('.wav', None, 'pcm_s16le'), ('.w64', None, 'pcm_s16le'),
    ('.avi', 'libx264', 'libmp3lame'),
])  # fmt: skip
@pytest.mark.parametrize('as_bytes', [False, True])
def test_a_file_shorter_than_it_says_breaks_off(
    tmp_path, suffix, video, codec, as_bytes
):
    path = write_strange(tmp_path / f'x{suffix}', video=video, audio=codec)
    content = path.read_bytes()
    source = content if as_bytes else path
    assert len(read_audio(source)) == pytest.approx(48000, abs=2400)
    part = content[: len(content) // 4 * 2]  # of half a sample PyAV 17 complains
    path.write_bytes(part)
    source = part if as_bytes else path
    with pytest.raises(ClipError, match='breaks off'):
        read_audio(source)
    assert len(read_audio(source, 0.2, 0.7)) == 8000


@pytest.mark.parametrize('codec', ['adpcm_ms', 'adpcm_ima_wav'])
def test_adpcm_has_a_clock(tmp_path, codec):
    path = write_strange(tmp_path / 'x.wav', video=None, audio=codec, seconds=6)
    whole = read_audio(path)
    assert probe(path).audio_end == pytest.approx(len(whole) / 16000, abs=1e-3)
    assert len(whole) == pytest.approx(96000, abs=1600)
    assert np.array_equal(read_audio(path, 4.0, 4.5), whole[64000:72000])


def test_a_chained_ogg_goes_on(tmp_path):
    first, second = (
        write_strange(tmp_path / f'{seconds}.ogg', video=None, audio='libopus',
                      seconds=seconds).read_bytes()
        for seconds in (2, 3)
    )  # fmt: skip
    path = tmp_path / 'chain.ogg'
    path.write_bytes(first + second)
    assert probe(path).audio_end == pytest.approx(5.0, abs=0.05)
    assert len(read_audio(path)) == pytest.approx(80000, abs=800)
    assert np.abs(read_audio(path, 4.0, 4.5)).max() == pytest.approx(0.5, abs=0.05)


def test_a_codec_that_nobody_knows(tmp_path):
    path = write_strange(tmp_path / 'good.mp4')
    path = without_codec(path, tmp_path / 'blind.mp4')
    for read in (probe, read_audio, lambda p: read_frames(p, [1.0])):
        with pytest.raises(ClipError, match=r'blind\.mp4.*codec of its picture'):
            read(path)


@pytest.mark.parametrize('rate', [16001, 44101, 8000, 48000, 1_000_003, 15_999])
def test_any_rate_is_resampled(rate):
    count = min(3 * rate, 3_000_000)
    wave = tone(440.0, count / rate, rate)
    found = resample(wave, rate, 16000)
    assert len(found) == pytest.approx(count / rate * 16000, abs=1)
    expected = tone(440.0, count / rate, 16000)[: len(found)]
    inner = slice(100, len(found) - 100)
    assert np.abs(found[: len(expected)][inner] - expected[inner]).max() < 0.01
    assert found.dtype == np.float32


def test_resampling_is_that_of_files(tmp_path):
    wave = tone(440.0, 2.0, 44100)
    path = write_float_wav(tmp_path / 'x.wav', wave, 44100)
    assert np.abs(resample(wave, 44100, 16000) - read_audio(path)).max() < 1e-6


def test_no_samples_stay_none():
    assert resample(np.zeros(0, np.float32), 44100, 16000).shape == (0,)


def zeroed(path, begin, end):
    content = path.read_bytes()
    a, b = (round(share * len(content)) for share in (begin, end))
    path.write_bytes(content[:a] + bytes(b - a) + content[b:])
    return path


def said(monkeypatch):
    lines = []
    monkeypatch.setattr('coavt_mm.datasets.sound.warn_once', lines.append)
    return lines


@pytest.mark.parametrize(
    ('name', 'codec', 'hole', 'line'),
    [
        ('x.mp3', 'libmp3lame', (0.3, 0.6), 'its header tells of 3.0'),
        ('x.ogg', 'libopus', (0.5, 0.52), 'silence'),
    ],
)
def test_sound_lost_within_is_said(tmp_path, monkeypatch, name, codec, hole, line):
    path = write_strange(tmp_path / name, video=None, audio=codec)
    lines = said(monkeypatch)
    assert len(read_audio(path)) > 47000 and not lines
    read_audio(zeroed(path, *hole))
    assert len(lines) == 1 and line in lines[0] and name in lines[0]


def test_a_leap_of_the_clock_fills_no_memory(tmp_path, monkeypatch):
    lines = said(monkeypatch)
    options = dict(video=None, audio='flac', seconds=2.0)
    path = write_strange(tmp_path / 'a.mkv', skip=(1.0, 1000.0), **options)
    assert len(read_audio(path, 0.0, 10.0)) == 160_000
    assert 'from 1.0' in lines[0]
    far = write_strange(tmp_path / 'b.mkv', skip=(1.0, 1e6), **options)
    with pytest.raises(ClipError, match='clock leaps by 1e.06 s at 1.0'):
        read_audio(far, 0.0, 10.0)
