"""Files that break off by their own account: never a shorter clip in silence."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from strange_media import number, write_strange

from coavt_mm.datasets import sizes
from coavt_mm.datasets.decoding import read_audio, read_frames
from coavt_mm.datasets.media import probe
from coavt_mm.datasets.sizes import TAGS, is_chained, missing_share
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.errors import ClipError

FRAGMENTS = {'movflags': 'frag_keyframe+empty_moov+default_base_moof'}
FILMS = {
    'flv': dict(gop=5),
    'piped.flv': dict(kind='flv', piped=True, gop=5),
    'mkv': dict(gop=5),
    'webm': dict(video='libvpx', audio='libopus'),
    'live.webm': dict(kind='webm', video='libvpx', audio='libopus',
                      options={'live': '1'}, piped=True),
    'mp4': dict(gop=5, options={'movflags': 'faststart'}),
    'fragments.mp4': dict(gop=5, options=FRAGMENTS),
    'piped.mp4': dict(kind='mp4', gop=5, options=FRAGMENTS, piped=True),
    'avi': dict(audio='libmp3lame', gop=5),
    'wmv': dict(kind='asf', video='wmv2', audio='libmp3lame', rate=44100),
}  # fmt: skip
SOUNDS = {
    'wav': dict(audio='pcm_s16le'),
    'flac': dict(audio='flac'),
    'mp3': dict(audio='libmp3lame'),
    'opus': dict(audio='libopus', kind='ogg'),
    'm4a': dict(kind='mp4', options={'movflags': 'faststart'}),
    'aiff': dict(audio='pcm_s16be'),
    'au': dict(audio='pcm_s16be'),
    'caf': dict(audio='pcm_s16le'),
    'w64': dict(audio='pcm_s16le'),
}
# cut at a byte where a part of it begins, nothing of the file says that more follows
SHARES = (0.6, 0.88, 0.93)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Return the path of a file of `FILMS` or `SOUNDS`."""
    root, done = tmp_path_factory.mktemp('sizes'), {}

    def get(kind):
        if kind not in done:
            options = FILMS.get(kind) or dict(SOUNDS[kind], video=None)
            done[kind] = write_strange(root / f'x.{kind}', **options)
        return done[kind]

    return get


def whole(source):
    """What is read of a clip without a span, as in training."""
    row = dict(clip_path=str(source), audio_path=str(source), start=0.0, end=None)
    frames = LoadFrames(30, 'all', timeout=None)(dict(row))
    return frames, LoadAudio(4.0, timeout=None)(dict(row))


@pytest.mark.parametrize('kind', [*FILMS, *SOUNDS])
def test_what_is_whole_misses_nothing(written, kind):
    path = written(kind)
    assert missing_share(path) == 0 == missing_share(path.read_bytes())
    frames, sound = whole(path)
    assert frames['has_visual'] == (kind in FILMS) and sound['has_audio']


@pytest.mark.parametrize('share', SHARES)
@pytest.mark.parametrize('kind', FILMS)
def test_a_film_that_breaks_off(tmp_path, written, kind, share):
    content = written(kind).read_bytes()
    path = tmp_path / f'x.{kind}'
    path.write_bytes(content[: round(share * len(content))])
    row = dict(clip_path=str(path), audio_path=str(path), start=0.0, end=None)
    with pytest.raises(ClipError, match=r'breaks off|Invalid data'):
        LoadFrames(30, 'all', timeout=None)(dict(row))
    with pytest.raises(ClipError, match=r'breaks off|Invalid data'):
        LoadAudio(4.0, timeout=None)(dict(row))
    with pytest.raises(ClipError, match=r'breaks off|Invalid data'):
        read_audio(path)


@pytest.mark.parametrize('share', SHARES)
@pytest.mark.parametrize('kind', SOUNDS)
def test_sound_that_breaks_off(tmp_path, written, kind, share):
    content = written(kind).read_bytes()
    if kind == 'mp3' and share > 0.9:
        pytest.skip('the length that it notes is not that exact')
    path = tmp_path / f'x.{kind}'
    path.write_bytes(content[: round(share * len(content))])
    with pytest.raises(ClipError, match='breaks off|Invalid data'):
        read_audio(path)
    with pytest.raises(ClipError, match='breaks off|Invalid data'):
        read_audio(path.read_bytes())


@pytest.mark.parametrize('kind', ['mkv', 'mp4', 'fragments.mp4', 'flv', 'wav', 'opus'])
def test_what_lies_in_front_of_the_break_can_be_read(tmp_path, written, kind):
    content = written(kind).read_bytes()
    path = tmp_path / f'x.{kind}'
    path.write_bytes(content[: round(0.9 * len(content))])
    assert len(read_audio(path, 0.2, 0.7)) == 8000
    if kind in FILMS:
        images, _ = read_frames(path, [0.25, 1.05])
        assert len(images) == 2


@pytest.mark.parametrize('kind, tail', [
    ('mp4', b'TAG' + b'x' * 125), ('mp4', bytes(1000)), ('mkv', bytes(1000)),
    ('mp3', b'TAG' + bytes(125)), ('wav', b'LIST junk'), ('webm', b'\n'),
    ('opus', bytes(100)), ('wmv', b'x'), ('aiff', b'x'), ('caf', bytes(3)),
])  # fmt: skip
def test_what_was_put_behind_is_no_part_that_breaks_off(tmp_path, written, kind, tail):
    path = tmp_path / f'x.{kind}'
    path.write_bytes(written(kind).read_bytes() + tail)
    assert missing_share(path) == 0
    assert probe(path).audio_end == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize('content', [
    b'RIFF', b'FORM', b'OggS', b'OggS' * 20, b'\x1aE\xdf\xa3', b'\x1aE\xdf\xa3\x01',
    b'FLV\x01', b'FLV\x01' + b'\xff' * 20, b'ID3', b'ID3' + b'\xff' * 300, b'\xff',
    b'.snd', b'.snd1234', b'caff', b'caff' + b'\xff' * 30, b'0000ftyp',
    b'\0\0\0\x01ftyp',
    bytes.fromhex('3026b2758e66cf11'), b'riff\x2e\x91\xcf\x11',
    bytes.fromhex('3026b2758e66cf11a1dcab8c47a9cf118ee400c00c205365'),
])  # fmt: skip
def test_heads_without_a_body(tmp_path, content):
    assert 0 <= missing_share(content) <= 1
    path = Path(tmp_path / 'x')
    path.write_bytes(content)
    with pytest.raises(ClipError):
        probe(path)


def test_chains_are_told_by_the_heads_of_pages(written, monkeypatch):
    """Without reading what lies in between."""
    one = written('opus')
    assert not is_chained(one) and is_chained(one.read_bytes() * 2)
    long, read = one.read_bytes(), []

    class Counting(io.BytesIO):
        def read(self, size=-1):
            read.append(size)
            return super().read(size)

    monkeypatch.setattr(sizes, 'open', lambda *_: Counting(long), raising=False)
    assert not is_chained(one) and sum(read) < len(long) / 10
    assert np.array(read).min() > 0


def boxes(content):
    """Names and contents of the boxes of an mp4."""
    while content:
        size = int.from_bytes(content[:4], 'big')
        yield content[4:8], content[:size]
        content = content[size:]


@pytest.mark.parametrize('left_out', [0, 1, 2])
@pytest.mark.parametrize('flags', ['empty_moov', 'delay_moov'])
@pytest.mark.parametrize('streams', [{}, dict(audio=None), dict(video=None)])
def test_fragments_of_which_the_first_are_not_there(tmp_path, flags, left_out, streams):
    """A broadcast over the net that was joined late: its clock goes on."""
    options = dict(movflags=f'frag_keyframe+default_base_moof+{flags}')
    if 'video' in streams:
        options['frag_duration'] = '1000000'
    whole = write_strange(tmp_path / 'x.mp4', options=options, gop=10, **streams)
    parts = list(boxes(whole.read_bytes()))
    pieces = [x for name, x in parts if name in (b'moof', b'mdat')]
    header = [x for name, x in parts if name in (b'ftyp', b'moov')]
    path = tmp_path / 'late.mp4'
    path.write_bytes(b''.join(header + pieces[2 * left_out :]))
    info, left = probe(path), 3 - left_out
    if 'video' not in streams:
        assert info.video_end == pytest.approx(left, abs=0.05)
        times = [0.05, left - 0.05]
        images, _ = read_frames(path, times)
        assert [number(i) for i in images] == [10 * left_out, 29]
        LoadFrames(10, pick='all')(dict(clip_path=str(path), start=0.0, end=None))
    if 'audio' not in streams:
        assert info.audio_end == pytest.approx(left, abs=0.1)
        assert len(read_audio(path)) == pytest.approx(16000 * left, abs=1600)


def test_an_avi_whose_writer_could_not_go_back(tmp_path):
    path = write_strange(tmp_path / 'x.avi', 'avi', audio='libmp3lame', piped=True)
    info = probe(path)
    assert info.video_end == pytest.approx(3, abs=0.25)
    frames, sound = whole(path)
    assert len(frames['imgs']) == 30 and sound['has_audio']


def cut_sound(source, path, begin, end):
    """A stream copy of the packets from `begin` to `end` s, with the old header."""
    with av.open(str(source)) as whole, av.open(str(path), 'w') as part:
        stream = part.add_stream_from_template(whole.streams.audio[0])
        for packet in whole.demux():
            if packet.size and begin <= packet.pts * packet.time_base < end:
                packet.stream = stream
                part.mux(packet)
    return path


@pytest.mark.parametrize('begin, end', [(1.0, 2.0), (1.0, 9.0), (0.0, 2.0)])
def test_a_flac_cut_by_stream_copy(tmp_path, written, begin, end):
    path = cut_sound(written('flac'), tmp_path / 'x.flac', begin, end)
    length = min(end, 3.0) - begin
    assert probe(path).audio_end == pytest.approx(length, abs=0.1)
    assert len(read_audio(path)) / 16000 == pytest.approx(length, abs=0.1)
    assert LoadAudio(4.0)(dict(audio_path=str(path), start=0.0, end=None))['has_audio']
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ClipError, match='breaks off|Invalid data'):
        read_audio(path)


@pytest.mark.parametrize('rate, seconds', [(8000, 0.3), (44100, 1.2)])
@pytest.mark.parametrize('size', [None, 192, 256, 300, 576, 4096])
def test_a_whole_flac_states_its_own_length(tmp_path, rate, seconds, size):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, round(rate * seconds))
    path = tmp_path / 'x.flac'
    with av.open(str(path), 'w') as file:
        stream = file.add_stream('flac', rate=rate)
        stream.layout, stream.format = 'mono', 's16'
        if size:
            stream.codec_context.options = {'frame_size': str(size)}
        samples = (noise * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, 's16', 'mono')
        frame.sample_rate, frame.pts = rate, 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        while piece := fifo.read(stream.codec_context.frame_size or 4096, partial=True):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    assert not sizes.states_nothing(path)
    assert probe(path).audio_end == pytest.approx(seconds, abs=1e-3)


def test_a_short_mp3_is_whole(make_clip):
    path = make_clip('.mp3', seconds=0.4, picture=False, codec='mp3')
    assert path.stat().st_size < TAGS  # more than what the note may be off by
    assert missing_share(path) == 0
