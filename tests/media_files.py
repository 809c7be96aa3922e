"""Small real media files and manifests, written with PyAV."""

import json
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LAYOUTS = {1: 'mono', 2: 'stereo', 6: '5.1'}


def brightness(index: int, frames: int) -> int:
    """Grey level (0 to 255) of the frame `index` of a written clip."""
    return 20 + round(200 * index / max(frames - 1, 1))


def tone(frequency: float, seconds: float, rate: int) -> np.ndarray:
    """A sine of peak 0.5, (S,) float32."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * math.pi * frequency * time)).astype(np.float32)


def _add_video(container, fps, size, gop, cover):
    stream = container.add_stream('mjpeg' if cover else 'h264', rate=fps)
    stream.width, stream.height = size
    odd = size[0] % 2 or size[1] % 2
    stream.pix_fmt = 'yuv444p' if odd else 'yuv420p'
    if cover:  # the picture of a song, which players don't count as a film
        stream.pix_fmt = 'yuvj420p'
        stream.disposition = av.stream.Disposition.attached_pic
        return stream
    stream.options = {'g': str(gop), 'preset': 'ultrafast', 'crf': '12'}
    stream.codec_context.thread_count = 1
    return stream


def _picture(index, frames, size):
    width, height = size
    image = np.full((height, width, 3), brightness(index, frames), np.uint8)
    image[: height // 3, : width // 3] = (255, 0, 0)  # red marks the top left
    return image


def _encode_video(container, stream, frames, size):
    for index in range(frames):
        frame = av.VideoFrame.from_ndarray(_picture(index, frames, size), 'rgb24')
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _encode_audio(container, stream, waveform, rate, channels):
    planes = np.repeat(waveform[None], channels, axis=0)
    step = stream.codec_context.frame_size or 1024
    for begin in range(0, planes.shape[1], step):
        part = np.ascontiguousarray(planes[:, begin : begin + step])
        frame = av.AudioFrame.from_ndarray(part, 'fltp', LAYOUTS[channels])
        frame.sample_rate, frame.pts = rate, begin
        frame.time_base = Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_clip(
    path,
    seconds=2.0,
    fps=10,
    size=(64, 48),
    gop=10,
    frames=None,
    picture=True,
    sound=True,
    sound_seconds=None,
    sound_rate=16000,
    channels=1,
    frequency=440.0,
    silent=False,
    codec='aac',
    rotation=0,
    mirror=False,
    cover=False,
    options=None,
) -> Path:
    """Writes a clip: grey frames that grow lighter with a red top left corner, and a
    sine. Lengths in s, rates in Hz, sizes in pixels, rotation in degrees, of the
    picture in a mirror or not.

    PyAV can't write a display matrix, so it is put into the file's bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = round(seconds * fps) if frames is None else frames
    with av.open(str(path), 'w', options=options or {}) as container:
        video = _add_video(container, fps, size, gop, cover) if picture else None
        audio = None
        if sound:
            audio = container.add_stream(codec, rate=sound_rate)
            audio.layout = LAYOUTS[channels]
        if picture:
            _encode_video(container, video, frames, size)
        if sound:
            waveform = tone(frequency, sound_seconds or seconds, sound_rate)
            waveform = waveform * (0 if silent else 1)
            _encode_audio(container, audio, waveform, sound_rate, channels)
    if rotation or mirror:
        path.write_bytes(_turned(path.read_bytes(), rotation, mirror))
    return path


def write_sound(path, waveform, rate) -> Path:
    """Writes a mono waveform (S,) float32 as 16-bit wav or flac."""
    codec = {'.wav': 'pcm_s16le', '.flac': 'flac'}[Path(path).suffix]
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = 'mono'
        _encode_audio(container, stream, waveform, rate, 1)
    return Path(path)


def _turned(content: bytes, degrees: int, mirror: bool) -> bytes:
    """Writes a mirror, left for right, and then a clockwise display rotation into the
    track header of an mp4."""
    side = -1 if mirror else 1
    cosine = round(math.cos(math.radians(degrees)))
    sine = round(math.sin(math.radians(degrees)))
    one = 1 << 16
    unit = [one, 0, 0, 0, one, 0, 0, 0, 1 << 30]
    turned = [side * cosine * one, side * sine * one, 0,
              -sine * one, cosine * one, 0, 0, 0, 1 << 30]  # fmt: skip

    def pack(values):
        return b''.join(v.to_bytes(4, 'big', signed=True) for v in values)

    begin = content.index(b'tkhd')
    place = content.index(pack(unit), begin)
    return content[:place] + pack(turned) + content[place + 36 :]


def write_rows(path, rows) -> Path:
    """Writes a manifest."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
    path.write_text(text, encoding='utf-8')
    return path
