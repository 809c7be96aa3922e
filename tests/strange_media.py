"""Media files of strange build whose right answer is known, written with PyAV.

Every picture is one flat grey that tells its number, at ten pictures a second; every
sound is a sine. So the picture at a time can be named, and where the sound lies.
"""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FPS = 10
SIDE = 64


class Pipe(io.RawIOBase):
    """An output that can't seek, as a browser's recorder: the file states no length."""

    def __init__(self, path):
        self.file = open(path, 'wb')  # noqa: SIM115 (closed by `close`)

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)

    def close(self):
        self.file.close()
        super().close()


def grey(number):
    """Level of the picture of this number, 0 to 33."""
    return 20 + 7 * number


def number(image):
    """The number of a picture, (H, W, 3)."""
    return round((float(np.median(image)) - 20) / 7)


def _pictures(stream, pts, begin):
    for index, place in enumerate(pts):
        level = np.full((SIDE, SIDE, 3), grey(index), np.uint8)
        frame = av.VideoFrame.from_ndarray(level, 'rgb24')
        frame.pts, frame.time_base = place + round(FPS * begin), Fraction(1, FPS)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sounds(stream, seconds, begin, rate, layout, skip=(0, 0)):
    wave = 0.5 * np.sin(np.arange(round(seconds * rate)) / 20).astype(np.float32)
    channels = av.AudioLayout(layout).nb_channels
    packed = stream.codec_context.name == 'libopus'
    step = stream.codec_context.frame_size or 1024
    for first in range(0, len(wave), step):
        part = np.repeat(wave[None, first : first + step], channels, 1 if packed else 0)
        kind = 'flt' if packed else 'fltp'
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), kind, layout)
        late = first >= skip[0] * rate
        place = first + round((begin + late * skip[1]) * rate)
        frame.sample_rate, frame.pts, frame.time_base = rate, place, Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def write_strange(path, kind=None, video='libx264', audio='aac', pictures=30, pts=None,
                  video_start=0.0, audio_start=0.0, seconds=None, options=None,
                  aspect=None, rate=48000, layout='mono', gop=10, skip=(0, 0),
                  piped=False, b_frames=0):  # fmt: skip
    """Writes a clip.

    Args:
        path (Path): Where to.
        kind (str): The container; default by the suffix.
        video, audio (str): Codecs, None for no such stream.
        pictures (int): Their number, up to 33.
        pts (list[int]): Times of the pictures in tenths of a second.
        video_start, audio_start (float): Time of the first one in s.
        seconds (float): Length of the sound in s.
        options (dict): Of the container.
        aspect (Fraction): Width of a pixel over its height.
        rate (int): Of the sound in Hz.
        layout (str): Of the sound.
        gop (int): Pictures from one key picture to the next.
        skip (tuple): The sound pauses at this time for so long, both in s.
        piped (bool): Whether the file states no length.
        b_frames (int): Between two others, with MPEG-4.
    """
    target = Pipe(path) if piped else str(path)
    with av.open(target, 'w', format=kind, options=options or {}) as container:
        packets = []
        if video:
            stream = container.add_stream(video, rate=FPS)
            stream.width = stream.height = SIDE
            stream.pix_fmt = 'yuv420p'
            stream.codec_context.thread_count = 1
            if video == 'libx264' and pts is None:
                stream.options = {'bf': '0', 'g': str(gop), 'preset': 'ultrafast'}
            if b_frames:
                stream.codec_context.max_b_frames = b_frames
                stream.codec_context.bit_rate = 10_000_000  # each grey is told
                stream.codec_context.gop_size = gop
            if aspect:
                stream.codec_context.sample_aspect_ratio = aspect
        if audio:
            track = container.add_stream(audio, rate=rate)
            track.layout = layout
        if video:
            places = range(pictures) if pts is None else pts
            packets += _pictures(stream, places, video_start)
        if audio:
            length = seconds or pictures / FPS
            packets += _sounds(track, length, audio_start, rate, layout, skip)
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)
    if piped:
        target.close()
    return Path(path)


def cut(source, path, at, key):
    """A stream copy from `at` s on, as downloads are cut: packets from the key picture
    at `key` s, moved so that `at` is 0."""
    with av.open(str(source)) as whole, av.open(str(path), 'w') as part:
        streams = {s.index: part.add_stream_from_template(s) for s in whole.streams}
        for packet in whole.demux():
            begin = key if packet.stream.type == 'video' else at
            if packet.dts is None or packet.pts * packet.time_base < begin - 1e-6:
                continue
            moved = round(at / packet.time_base)
            packet.pts, packet.dts = packet.pts - moved, packet.dts - moved
            packet.stream = streams[packet.stream.index]
            part.mux(packet)
    return Path(path)


def without_codec(source, path):
    """The same mp4 with a picture of a codec that nobody knows."""
    content = Path(source).read_bytes()
    place = content.index(b'avc1', content.index(b'stsd'))
    Path(path).write_bytes(content[:place] + b'zzzz' + content[place + 4 :])
    return Path(path)


def write_float_wav(path, samples, rate=16000):
    """A 32-bit float wav of samples (S,), whatever they hold."""
    data = np.asarray(samples, '<f4').tobytes()
    head = b'WAVEfmt ' + (16).to_bytes(4, 'little') + (3).to_bytes(2, 'little')
    head += (1).to_bytes(2, 'little') + rate.to_bytes(4, 'little')
    head += (4 * rate).to_bytes(4, 'little') + (4).to_bytes(2, 'little')
    head += (
        (32).to_bytes(2, 'little') + b'data' + len(data).to_bytes(4, 'little') + data
    )
    Path(path).write_bytes(b'RIFF' + len(head).to_bytes(4, 'little') + head)
    return Path(path)


def write_pcm_wav(path, planes, rate=44100):
    """A 16-bit wav of channels (C, S) in -1 ... 1."""
    planes = np.asarray(planes)
    data = (planes.T * 32767).round().astype('<i2').tobytes()
    count = len(planes)
    head = b'WAVEfmt ' + (16).to_bytes(4, 'little') + (1).to_bytes(2, 'little')
    head += count.to_bytes(2, 'little') + rate.to_bytes(4, 'little')
    head += (2 * count * rate).to_bytes(4, 'little')
    head += (2 * count).to_bytes(2, 'little') + (16).to_bytes(2, 'little')
    head += b'data' + len(data).to_bytes(4, 'little') + data
    Path(path).write_bytes(b'RIFF' + len(head).to_bytes(4, 'little') + head)
    return Path(path)
