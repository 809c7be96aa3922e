"""Media files and what a user does with them; is anything lost in silence?

Of a file with its end cut off that is read in spite of it, picture and sound must be as
long as they were, or a line must say what is odd. Where bytes within were changed, a
header may now say something else, and be right for all anybody knows: what is shorter
then, and not told, is counted as such and is no finding. Nor can be seen that coded
pixels or samples are others.
"""

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from mmengine.logging import MMLogger
from mutators import BYTES, Mutator
from PIL import Image
from strange_media import write_strange

from coavt_mm.datasets.media import LENGTH_TOLERANCE, probe
from coavt_mm.datasets.opening import warn_once
from coavt_mm.datasets.transforms import LoadAudio, LoadFrames
from coavt_mm.preparation.checking import Task, check_clip

SECONDS, SIZE, RATE = 3.0, 32, 16000


class Lost(Exception):
    """A file was read as if it were whole, and is not."""


class _Keeper(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@contextmanager
def told() -> Iterator[list[str]]:
    """The lines that are logged meanwhile."""
    warn_once.cache_clear()
    logger, keeper = MMLogger.get_current_instance(), _Keeper()
    logger.addHandler(keeper)
    try:
        yield keeper.lines
    finally:
        logger.removeHandler(keeper)


@dataclass(frozen=True)
class Original:
    """A good file.

    Args:
        name: With its suffix.
        content: Its bytes.
        mutators: That know its form.
        facts: What was read of it.
    """

    name: str
    content: bytes
    mutators: tuple[Mutator, ...] = BYTES
    facts: object = None


CLIPS = {
    'h264.mp4': dict(video='libx264', audio='aac', options={'movflags': 'faststart'}),
    'last.mp4': dict(video='libx264', audio='aac'),
    'parts.mp4': dict(
        video='libx264',
        audio='aac',
        options={'movflags': 'frag_keyframe+empty_moov'},
    ),
    'h264.mkv': dict(video='libx264', audio='flac'),
    'vp9.webm': dict(video='libvpx-vp9', audio='libopus'),
    'mpeg4.avi': dict(video='mpeg4', audio='libmp3lame'),
    'mpeg.ts': dict(kind='mpegts', video='mpeg2video', audio='mp2'),
    'h264.ts': dict(kind='mpegts', video='libx264', audio='aac'),
    'h264.flv': dict(video='libx264', audio='aac', rate=44100),
    'mpeg.mpg': dict(video='mpeg2video', audio='mp2'),
    'mpeg4.wmv': dict(kind='asf', video='mpeg4', audio='libmp3lame'),
    'sound.wav': dict(video=None, audio='pcm_s16le'),
    'sound.flac': dict(video=None, audio='flac'),
    'sound.mp3': dict(video=None, audio='libmp3lame'),
    'sound.ogg': dict(video=None, audio='flac'),
    'sound.opus': dict(kind='ogg', video=None, audio='libopus'),
    'sound.m4a': dict(video=None, audio='aac'),
    'sound.aac': dict(video=None, audio='aac'),
    'sound.aiff': dict(video=None, audio='pcm_s16be'),
}

# Raw streams, and what is cut at whole packets: nothing in them says how long they are.
UNSTATED = ('.aac', '.ts', '.mpg')


def make_media(folder: Path) -> list[Original]:
    files = []
    for name, options in CLIPS.items():
        pictures = round(10 * SECONDS)
        write_strange(folder / name, pictures=pictures, seconds=SECONDS, **options)
        files.append(folder / name)
    picture = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    still = Image.fromarray(picture)
    for suffix in ('jpg', 'png', 'webp', 'bmp', 'gif', 'tiff'):
        files.append(folder / f'still.{suffix}')
        still.save(files[-1])
    frames = [Image.new('RGB', (SIZE, SIZE), (8 * i, 0, 0)) for i in range(30)]
    for suffix in ('gif', 'webp', 'png'):
        files.append(folder / f'moving.{suffix}')
        frames[0].save(files[-1], save_all=True, append_images=frames[1:], duration=100)
    originals = []
    for path in files:
        facts = _lengths(path)
        originals.append(Original(path.name, path.read_bytes(), BYTES, facts))
    return originals


def _lengths(source: str | Path | bytes) -> tuple[float | None, float | None]:
    """Length in s of picture and sound, as a training reads them; pauses are none."""
    row = dict(clip_path=source, audio_path=source, start=0.0, end=None)
    info = probe(source)
    frames = LoadFrames(num_frames=4, pick='all').transform(dict(row))
    sound = LoadAudio(seconds=2 * SECONDS, sample_rate=RATE).transform(dict(row))
    shown = info.video_end if frames['has_visual'] else None
    return shown, _heard(sound['waveform']) if sound['has_audio'] else None


def _heard(waveform: np.ndarray) -> float:
    """Seconds of a waveform (S,) in which there is the sine."""
    parts = np.abs(waveform[: len(waveform) // 160 * 160].reshape(-1, 160)).max(1)
    return float((parts > 0.05).sum() * 160 / RATE)


def _check_whole(original: Original, found: tuple, cut: bool) -> str:
    for what, before, now in zip(
        ('picture', 'sound'), original.facts, found, strict=True
    ):
        if before is None or original.name.endswith(UNSTATED):
            continue
        shorter = now is None or now < before - LENGTH_TOLERANCE - 0.1
        if shorter and not (now == before == math.inf):
            if cut:
                raise Lost(f'{what} of {now} s, it was {before} s')
            return f'shorter {what}'
    return 'whole'


def feed_media(original: Original, content: bytes, scratch: Path, rng: Random) -> str:
    """Read it as a training, a preparation or an answer does.

    Returns:
        What was done with it.
    """
    path = scratch / original.name
    path.write_bytes(content)
    cut = original.content.startswith(content)
    door = rng.choice(('transforms', 'transforms', 'bytes', 'check', 'embed', 'decord'))
    if door == 'check':
        result = check_clip(Task(str(path), None, min_seconds=0.1, timeout=10.0))
        json.dumps(result)
    elif door == 'embed':
        from tiny_parts import model

        answer = model().embed(str(path))
        assert answer['clips'][0]['windows']
    elif door == 'decord':
        row = dict(clip_path=str(path), start=0.0, end=None)
        LoadFrames(num_frames=4, pick='all', backend='decord').transform(row)
    else:
        with told() as lines:
            found = _lengths(content if door == 'bytes' else str(path))
        return 'told' if lines else _check_whole(original, found, cut)
    return door
