"""Draw the picture, play the sound and write one clip."""

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

COLOURS = {
    'red': (225, 35, 35),
    'green': (35, 165, 50),
    'blue': (45, 75, 235),
    'yellow': (240, 205, 20),
    'pink': (220, 50, 190),
    'cyan': (20, 190, 205),
}
#: grey levels, from and to
GROUNDS = {'light ground': (195, 235), 'dark ground': (15, 55)}
#: the line around a shape: grey levels on the two grounds, width as a share of the
#: picture's; it lets a small model learn an outline once and not for every colour
LINES = {'light ground': 5.0, 'dark ground': 245.0}
LINE_WIDTH = 0.115
#: centre of the movement, as a share of width and height
PLACES = {
    'top left': (0.28, 0.28),
    'top right': (0.72, 0.28),
    'bottom left': (0.28, 0.72),
    'bottom right': (0.72, 0.72),
}
COUNTS = {'once': 1, 'twice': 2, 'four times': 4}
#: partials of the tonal timbres: multiple of the fundamental -> amplitude
PARTIALS: dict[str, dict[float, float]] = {
    'flute': {1: 1.0, 2: 0.06},
    'clarinet': {k: 1 / k**0.6 for k in (1, 3, 5, 7, 9)},
    'trumpet': {k: 1 / k**0.3 for k in range(1, 15)},
    'bell': {1: 1.0, 2.76: 0.8, 5.4: 0.6, 8.93: 0.5},
    'buzzer': {k: 1 / k for k in range(1, 7)},
}
BELL_DECAY = 5.0  # e-folds over one note
BUZZ_RATE = 25.0  # Hz, how often the buzzer's loudness goes on and off
WIND_CENTRE = 5.0  # times the fundamental
WIND_WIDTH = 150.0  # Hz
FADE = 0.015  # s, at both ends of a note


def _regular(corners: int, radius: float = 1.0, turn: float = 0.0) -> np.ndarray:
    """Return the (corners, 2) corners of a regular polygon, one pointing up."""
    angle = turn + 2 * np.pi * np.arange(corners) / corners
    return radius * np.stack([np.sin(angle), -np.cos(angle)], axis=1)


def _star() -> np.ndarray:
    points = np.empty((10, 2))
    points[::2] = _regular(5, 1.2)
    points[1::2] = _regular(5, 0.5, np.pi / 5)
    return points


def _cross(arm: float = 0.32) -> np.ndarray:
    quarter = np.array([[arm, -1.0], [arm, -arm], [1.0, -arm]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


#: outlines around the origin with a radius near 1; an inner outline is a hole
OUTLINES = {
    'circle': [_regular(48)],
    'square': [_regular(4, 1.25, np.pi / 4)],
    'triangle': [_regular(3, 1.25)],
    'star': [_star()],
    'cross': [_cross()],
    'ring': [_regular(48, 1.1), _regular(48, 0.62)],
}


def _masks(shape: str, centre: np.ndarray, radius: float, turn: float, size: int):
    """Return the anti-aliased (size, size, 1) masks in 0 ... 1 of the shape and of a
    line around it; lengths in pixels."""
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array([[cos, sin], [-sin, cos]])
    outlines = [
        np.round((line @ rotation * radius + centre) * 16).astype(np.int32)
        for line in OUTLINES[shape]
    ]
    inside, line = np.zeros((2, size, size), np.uint8)
    cv2.fillPoly(inside, outlines, 255, cv2.LINE_AA, shift=4)
    width = max(1, round(LINE_WIDTH * size))
    cv2.polylines(line, outlines, True, 255, width, cv2.LINE_AA, shift=4)
    return [mask.astype(np.float32)[..., None] / 255 for mask in (inside, line)]


def _path(frames: int, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Return (frames, 2) offsets of the centre: an ellipse, any speed or direction."""
    angle = rng.uniform(0, 2 * np.pi)
    axes = rng.uniform(0.015, 0.03), rng.uniform(0.0, 0.03)
    speed = rng.uniform(0.25, 1.0) * rng.choice((-1, 1))  # turns per second
    phase = rng.uniform(0, 2 * np.pi) + 2 * np.pi * speed * np.arange(frames) / fps
    points = np.stack([axes[0] * np.cos(phase), axes[1] * np.sin(phase)], axis=1)
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def draw_frames(
    values: dict[str, str],
    frames: int,
    fps: float,
    size: int,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Draw the picture of a clip.

    Args:
        values: Factor -> class name.
        frames: Number of frames.
        fps: Frames per second.
        size: Width and height in pixels.
        rng: Source of the nuisance: size, path, speed, shade, texture.

    Returns:
        ``frames`` RGB arrays (size, size, 3), uint8. Each shows all visual factors.
    """
    centres = size * (np.array(PLACES[values['place']]) + _path(frames, fps, rng))
    radius = size * rng.uniform(0.23, 0.25)
    turn = rng.uniform(-0.1, 0.1)
    colour = np.array(COLOURS[values['colour']]) * rng.uniform(0.85, 1.08)
    ground = rng.uniform(*GROUNDS[values['ground']])
    texture = cv2.resize(
        rng.normal(0, 6, (8, 8)).astype(np.float32),
        (size, size),
        interpolation=cv2.INTER_CUBIC,
    )
    plain = np.repeat((ground + texture)[..., None], 3, axis=2)
    pictures = []
    for centre in centres:
        inside, line = _masks(values['shape'], centre, radius, turn, size)
        picture = plain + line * (LINES[values['ground']] - plain)
        picture += inside * (colour.astype(np.float32) - picture)
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures


def _pitch(contour: str, base: float, samples: int, sample_rate: int, wobble: float):
    """Return the (samples,) fundamental in Hz; ``wobble`` is a rate in Hz."""
    way = np.linspace(-0.8, 0.8, samples)
    octaves = {
        'rising': way,
        'falling': -way,
        'steady': np.zeros(samples),
        'wobbling': 0.3 * np.sin(2 * np.pi * wobble * np.arange(samples) / sample_rate),
    }
    return base * 2.0 ** octaves[contour]


def _tone(timbre: str, pitch: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return one (samples,) tonal note without its fades."""
    time = np.arange(len(pitch)) / sample_rate
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    note = np.zeros(len(pitch))
    for multiple, amplitude in PARTIALS[timbre].items():
        # partials above the codec's band would fold back
        if multiple * pitch.max() < 0.45 * sample_rate:
            note += amplitude * np.sin(multiple * phase)
    if timbre == 'bell':
        note *= np.exp(-BELL_DECAY * time / time[-1])
    if timbre == 'buzzer':
        note *= np.sin(2 * np.pi * BUZZ_RATE * time) > 0
    return note


def _wind(pitch: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return one (samples,) note of noise in a band that follows the pitch."""
    width = max(1, int(sample_rate / WIND_WIDTH / 2))
    noise = rng.normal(size=(2, len(pitch) + width - 1))
    window = np.hanning(width + 2)[1:-1]
    low = [np.convolve(row, window, mode='valid') for row in noise]
    centre = np.minimum(WIND_CENTRE * pitch, 0.42 * sample_rate)
    phase = 2 * np.pi * np.cumsum(centre) / sample_rate
    return low[0] * np.cos(phase) - low[1] * np.sin(phase)


def _fade(samples: int, sample_rate: int) -> np.ndarray:
    ramp = np.arange(samples) / (FADE * sample_rate)
    return np.clip(np.minimum(ramp, ramp[::-1]), 0, 1)


def play_sound(
    values: dict[str, str],
    seconds: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Play the sound of a clip.

    Args:
        values: Factor -> class name.
        seconds: Length in s.
        sample_rate: Sample rate in Hz.
        rng: Source of the nuisance: pitch, tempo, noise, loudness.

    Returns:
        (S,) float32 waveform in -1 ... 1.
    """
    total = round(seconds * sample_rate)
    slot = total // COUNTS[values['count']]
    samples = int(slot * rng.uniform(0.6, 0.72))
    base = 300 * 2 ** rng.uniform(-0.3, 0.3)  # Hz
    pitch = _pitch(values['contour'], base, samples, sample_rate, rng.uniform(6.5, 8.5))
    offset = int((slot - samples) * rng.uniform(0.1, 0.9))
    wave = np.zeros(total)
    for k in range(COUNTS[values['count']]):
        if values['timbre'] == 'wind':
            note = _wind(pitch, sample_rate, rng)
        else:
            note = _tone(values['timbre'], pitch, sample_rate)
        start = k * slot + offset
        wave[start : start + samples] = note * _fade(samples, sample_rate)
    wave *= 10 ** (rng.uniform(-15, -3) / 20) / np.abs(wave).max()  # dB to full scale
    noise = 10 ** (rng.uniform(-70, -50) / 20)  # dB to full scale
    return np.clip(wave + rng.normal(0, noise, total), -1, 1).astype(np.float32)


def _encode(container, stream, frames) -> None:
    for frame in frames:
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_clip(
    path: Path,
    pictures: list[np.ndarray],
    fps: float,
    wave: np.ndarray,
    sample_rate: int,
) -> None:
    """Write an mp4 file (H.264, AAC mono); it appears only when it is complete.

    Args:
        path: File to write.
        pictures: F RGB arrays (H, W, 3), uint8; H and W even.
        fps: Frames per second.
        wave: (S,) float32 waveform in -1 ... 1.
        sample_rate: Sample rate in Hz, one that AAC knows.
    """
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        with av.open(str(part), 'w', format='mp4') as container:
            video = container.add_stream('libx264', rate=round(fps))
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = 'yuv420p'
            video.gop_size = round(fps)  # a key frame a second: cheap random access
            video.options = {'preset': 'ultrafast', 'crf': '20'}
            video.thread_count = 1  # clips are rendered side by side
            audio = container.add_stream('aac', rate=sample_rate, layout='mono')
            audio.bit_rate = 64000
            audio.options = {'aac_coder': 'fast'}  # twice as quick as the default
            frames = (av.VideoFrame.from_ndarray(picture) for picture in pictures)
            _encode(container, video, frames)
            sound = av.AudioFrame.from_ndarray(wave[None], format='fltp', layout='mono')
            sound.sample_rate = sample_rate
            # a time stamp lets the container note AAC's delay, which decoders then skip
            sound.pts, sound.time_base = 0, Fraction(1, sample_rate)
            _encode(container, audio, [sound])
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
