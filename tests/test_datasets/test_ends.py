"""Recordings put one behind the other: no time names one picture of them."""

import os

import av
import numpy as np
import pytest
from strange_media import number, write_strange

from coavt_mm.datasets.decoding import read_audio, read_frames
from coavt_mm.datasets.media import probe
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.errors import ClipError

KINDS = {'ts': {}, 'mpg': dict(kind='mpeg', video='mpeg2video', audio='mp2')}
WRAP = 2**33 / 90_000  # where the clock of MPEG begins anew, in s


def at(time):
    return dict(video_start=time, audio_start=time)


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    """Return the bytes of a recording of 3 s whose clock begins at a time in s."""
    root, written = tmp_path_factory.mktemp('recordings'), {}

    def get(suffix, time=0, **options):
        path = root / f'{time}-{"-".join(options)}.{suffix}'
        if path not in written:
            options = {**KINDS[suffix], **options, **at(time)}
            written[path] = write_strange(path, **options).read_bytes()
        return written[path]

    return get


@pytest.mark.parametrize('suffix', KINDS)
@pytest.mark.parametrize('times', [
    (0, 0), (600, 0), (0, 600), (2, 0), (0, 2), (0, 600, 0), (70_000, 5),
    (0, 90_000),
], ids=str)  # fmt: skip
def test_several_clocks_are_refused(tmp_path, recording, suffix, times):
    path = tmp_path / f'x.{suffix}'
    path.write_bytes(b''.join(recording(suffix, time) for time in times))
    for source in (path, path.read_bytes()):
        reads = (probe, read_audio, lambda s: read_frames(s, [0.5]))
        for read in reads:
            with pytest.raises(ClipError, match=r'clock starts anew at 3\.0\d s') as e:
                read(source)
            assert '\n' not in str(e.value) and 'concat demuxer' in str(e.value)
    row = dict(clip_path=str(path), audio_path=str(path), start=0.0, end=1.0)
    for load in (LoadFrames(), LoadAudio(1.0)):
        with pytest.raises(ClipError, match=rf'x\.{suffix}: its clock starts anew'):
            load(dict(row))


@pytest.mark.parametrize('time', [0, 3.03, 600])
def test_other_streams_behind_are_refused(tmp_path, recording, time):
    """Another writer gives the streams other numbers."""
    options = {'mpegts_start_pid': '300'}
    content = recording('ts') + recording('ts', time, options=options)
    (tmp_path / 'x.ts').write_bytes(content)
    where = r'(picture|sound) goes on elsewhere at 3\.0\d s'
    with pytest.raises(ClipError, match=where):
        probe(tmp_path / 'x.ts')


@pytest.mark.parametrize('suffix', ['mkv', 'webm', 'nut'])
def test_other_containers_put_together(tmp_path, suffix):
    options = dict(webm=dict(video='libvpx', audio='libopus'))
    path = write_strange(tmp_path / f'x.{suffix}', **options.get(suffix, {}))
    assert probe(path).video_end == pytest.approx(3, abs=0.1)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(ClipError):
        probe(path)


@pytest.mark.parametrize('suffix', KINDS)
@pytest.mark.parametrize('times', [(10, 13.02), (10, 13.02, 16.04), (WRAP - 1.5,),
                                   (WRAP - 3.03, WRAP)])  # fmt: skip
def test_a_clock_that_goes_on_is_one(tmp_path, recording, suffix, times):
    path = tmp_path / f'x.{suffix}'
    path.write_bytes(b''.join(recording(suffix, time) for time in times))
    info, length = probe(path), 3.02 * len(times)
    assert info.video_end == pytest.approx(length, abs=0.1)
    assert info.audio_end == pytest.approx(length, abs=0.1)
    assert len(read_audio(path)) / 16000 == pytest.approx(length, abs=0.1)
    wanted = info.video_start + np.array([0.55, 1.95, 2.45])
    images, _ = read_frames(path, [*wanted, *wanted + 3.02][: 3 * len(times)])
    assert [number(image) for image in images[:3]] == [5, 19, 24]
    assert [number(image) for image in images[3:]] in ([], [5, 19, 24])


@pytest.mark.parametrize('suffix', KINDS)
def test_a_short_loss_of_reception_is_a_pause(tmp_path, recording, suffix):
    path = tmp_path / f'x.{suffix}'
    path.write_bytes(recording(suffix, 10) + recording(suffix, 18))
    assert probe(path).audio_end == pytest.approx(11, abs=0.1)
    waveform = read_audio(path)
    assert not waveform[16000 * 4 : 16000 * 7].any() and waveform[16000 * 9 :].any()


def test_a_slow_picture_is_no_leap(tmp_path):
    options = dict(video='mpeg2video', pts=[0, 200, 400, 600], seconds=60.0)
    path = write_strange(tmp_path / 'x.ts', **options)
    assert probe(path).audio_end == pytest.approx(60, abs=0.1)


def test_a_second_language_is_no_second_recording(tmp_path):
    whole = write_strange(tmp_path / 'one.ts')
    with av.open(str(whole)) as one, av.open(str(tmp_path / 'two.ts'), 'w') as two:
        tracks = [two.add_stream_from_template(stream) for stream in one.streams]
        second = two.add_stream_from_template(one.streams.audio[0])
        for packet in one.demux():
            if packet.dts is None:
                continue
            copy = av.Packet(bytes(packet))
            copy.pts, copy.dts = packet.pts, packet.dts
            copy.time_base = packet.time_base
            packet.stream = tracks[packet.stream.index]
            if packet.stream.type == 'audio' and packet.pts * packet.time_base < 2:
                copy.stream = second
                two.mux(copy)
            two.mux(packet)
    with av.open(str(tmp_path / 'two.ts')) as two:
        assert len(two.streams.audio) == 2
    assert len(read_audio(tmp_path / 'two.ts')) / 16000 == pytest.approx(3, abs=0.1)


def test_a_file_that_changed_is_read_anew(tmp_path, recording):
    path = tmp_path / 'x.ts'
    path.write_bytes(recording('ts'))
    assert probe(path).video_end == pytest.approx(3, abs=0.1)
    path.write_bytes(recording('ts') + recording('ts', 3.03))
    os.utime(path, ns=(0, 0))
    assert probe(path).video_end == pytest.approx(6, abs=0.1)
