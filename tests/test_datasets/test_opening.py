"""A clip is one file: nothing that it names is opened, nowhere is anything fetched."""

import os
import socket
import threading

import av
import numpy as np
import pytest
from PIL import Image
from strange_media import SIDE, number, write_pcm_wav, write_strange

from coavt_mm.datasets import decoding, media, opening
from coavt_mm.datasets.decoding import backend_order, read_audio, read_frames
from coavt_mm.datasets.media import kept_open, probe
from coavt_mm.datasets.opening import check_regular_file, source_name
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.errors import ClipError

BACKENDS = backend_order('pyav')


@pytest.fixture
def listener():
    """An address, and the connections that were made to it."""
    server, met = socket.socket(), []
    server.bind(('127.0.0.1', 0))
    server.listen()

    def accept():
        while True:
            try:
                met.append(server.accept()[0])
            except OSError:
                return
            met[-1].close()

    threading.Thread(target=accept, daemon=True).start()
    yield f'127.0.0.1:{server.getsockname()[1]}', met
    server.close()


def playlists(target):
    return {
        'm3u8': f'#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2.0,\n{target}\n'
        '#EXT-X-ENDLIST\n',
        'm3u8 with a mark': f'\ufeff#EXTM3U\n#EXTINF:2.0,\n{target}\n',
        'concat': f"ffconcat version 1.0\nfile '{target}'\n",
        'sdp': 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n'
        'm=audio 5004 RTP/AVP 0\n',
        'dash': '<?xml version="1.0"?>\n<MPD><Period><AdaptationSet><Representation>'
        f'<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
        'pls': f'[playlist]\nFile1={target}\n',
        'reference': f'[reference]\nref1={target}\n',
    }


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('kind', playlists(''))
@pytest.mark.parametrize('tail', [False, True])
def test_a_playlist_is_no_clip(tmp_path, kind, backend, tail, listener):
    (tmp_path / 'private').mkdir()
    private = write_strange(tmp_path / 'private' / 'x.ts')
    own = write_strange(tmp_path / 'own.ts', pictures=5).read_bytes() if tail else b''
    for target in (str(private), f'http://{listener[0]}/x.ts'):
        content = playlists(target)[kind].encode() + own
        (tmp_path / 'clip.mp4').write_bytes(content)
        for source in (tmp_path / 'clip.mp4', content):
            with pytest.raises(ClipError, match='playlist|Invalid'):
                read_frames(source, [1.0], backend, timeout=20)
            with pytest.raises(ClipError, match='playlist|Invalid'):
                read_audio(source, timeout=20)
            with pytest.raises(ClipError):
                probe(source)
    assert not listener[1]


@pytest.mark.parametrize('name', [
    'http:{address}?x.mp4', 'tcp:{address}?x.mp4', 'concat:own.ts|private.ts',
    'subfile,,start,0,end,9999,,:private.ts', 'cache:private.ts', 'async:private.ts',
    'file:private.ts', 'data:x.mp4', '-i.mp4', 'x%03d.mp4',
])  # fmt: skip
def test_a_name_is_no_protocol(tmp_path, monkeypatch, name, listener):
    monkeypatch.chdir(tmp_path)
    write_strange('private.ts', pictures=33)
    name = name.format(address=listener[0])
    own = write_strange(tmp_path / 'own.mp4', pictures=5)
    with pytest.raises(ClipError, match='No such file'):
        probe(name)
    os.rename(own, os.path.join('.', name))
    row = dict(clip_path=name, audio_path=name, start=0.0, end=None)
    loaded = LoadFrames(1, 0, timeout=20)(dict(row))
    assert number(loaded['imgs'][0]) == 2
    assert LoadAudio(1.0, timeout=20)(dict(row))['has_audio']
    assert not listener[1]


def test_names_that_are_not_utf8(tmp_path):
    folder = os.fsencode(tmp_path)
    path = os.fsdecode(os.path.join(folder, b'caf\xe9.mp4'))
    try:
        os.rename(write_strange(tmp_path / 'x.mp4'), path)
    except OSError:
        pytest.skip('this file system takes names in UTF-8 only')
    (image,), _ = read_frames(path, [1.05])
    assert number(image) == 10
    assert read_audio(path).any()
    source_name(path).encode('utf-8')
    with pytest.raises(ClipError, match=r'caf\\xe9') as caught:
        read_frames(path + 'x', [0.0])
    str(caught.value).encode('utf-8')


@pytest.mark.parametrize('name', ['a\0b.mp4', 'a\ud800b.mp4', 'a' * 5000 + '.mp4'])
def test_no_names_at_all(name):
    for read in (probe, read_audio, check_regular_file, lambda p: read_frames(p, [0])):
        with pytest.raises(ClipError) as caught:
            read(name)
        str(caught.value).encode('utf-8')


def test_what_a_terminal_would_obey_is_escaped():
    assert source_name('a\x1b[2J\nb.mp4') == 'a\\x1b[2J\\nb.mp4'
    assert source_name('naïve 映画.mp4') == 'naïve 映画.mp4'
    assert np.all([c.isprintable() for c in source_name('\x00\x7f\ud800')])


@pytest.mark.parametrize('suffix', ['.mp4', '.mp3'])
def test_a_file_that_may_not_be_read(suffix, make_clip, monkeypatch):
    clip = str(make_clip(suffix, **({} if suffix == '.mp4' else MP3)))
    monkeypatch.setattr('os.access', lambda path, mode: False)
    row = dict(clip_path=clip, audio_path=clip, start=0.0, end=1.0)
    for read in (probe, kept, lambda path: LoadFrames()(dict(row))):
        with pytest.raises(ClipError, match='Permission denied'):
            read(clip)


MP3 = dict(picture=False, codec='mp3')


def kept(path):
    with kept_open(path):
        pass


def grown(path, side):
    """A raw film whose pictures grow within it."""
    parts = []
    for size in (SIDE, side):
        part = av.open(str(path), 'w')
        stream = part.add_stream('libx264', rate=10, options=dict(preset='ultrafast'))
        stream.width = stream.height = size
        stream.pix_fmt = 'yuv420p'
        for packet in [*stream.encode(av.VideoFrame(size, size)), *stream.encode(None)]:
            part.mux(packet)
        part.close()
        parts.append(path.read_bytes())
    path.write_bytes(b''.join(parts))


@pytest.mark.parametrize('backend', BACKENDS)
def test_pictures_that_fill_the_memory_are_refused(tmp_path, monkeypatch, backend):
    clip = write_strange(tmp_path / 'a.mp4')
    Image.new('L', (SIDE, SIDE)).save(tmp_path / 'a.png')
    monkeypatch.setattr(opening, 'MOST_PIXELS_READ', 3 * SIDE**2)
    for path in (clip, tmp_path / 'a.png'):
        assert len(read_frames(path, [0.0, 0.1, 0.2], backend)[0]) == 3
        with pytest.raises(ClipError, match='4 picture.s. of 64 x 64 pixels are more'):
            read_frames(path, [0.0, 0.1, 0.2, 0.3], backend)


def test_a_film_of_pictures_that_grow(tmp_path, monkeypatch):
    monkeypatch.setattr(media, 'MOST_PIXELS', 128**2)
    grown(tmp_path / 'a.h264', 256)
    with pytest.raises(ClipError, match=r'a\.h264: unreadable'):
        read_frames(tmp_path / 'a.h264', [0.0, 0.05])


def test_sound_of_years_is_refused(tmp_path):
    """A file of 1 Hz is 16,000 times as large once it is read."""
    path = write_pcm_wav(tmp_path / 'a.wav', np.zeros((1, 20_000), np.int16), 1)
    with pytest.raises(ClipError, match=r'more than 4\.7 h .* give a span'):
        read_audio(path)


def test_want_of_memory_costs_a_clip(clip, monkeypatch):
    def fail(*args):
        raise MemoryError('Unable to allocate 9 GiB')

    monkeypatch.setitem(decoding.BACKENDS, 'pyav', fail)
    monkeypatch.setitem(decoding.BACKENDS, 'decord', fail)
    monkeypatch.setitem(decoding.BACKENDS, 'torchcodec', fail)
    with pytest.raises(ClipError, match='Unable to allocate 9 GiB'):
        read_frames(clip, [0.0])
