"""Long clips glued from rendered ones, with the times at which each is to be seen."""

import json
from pathlib import Path

import numpy as np

from coavt_mm.datasets.decoding import read_audio, read_frames
from coavt_mm.datasets.manifest import find_manifest, iter_manifest
from coavt_mm.demo.rendering import write_clip
from coavt_mm.errors import InputError

RATE = 16_000  # Hz


def glue_clips(
    manifest: str | Path,
    out_dir: str | Path,
    clips: int = 40,
    pieces: int = 12,
    lead: float = 1.3,
    fps: int = 10,
    seed: int = 0,
) -> Path:
    """Glue clips of a manifest to long ones, none of which has one of them twice.

    Args:
        manifest: Of Sounding Shapes.
        out_dir: Folder for ``long_000.mp4`` and so on.
        clips: Long clips.
        pieces: Clips that each is made of.
        lead: A further clip is cut off after so many s and put before the others, so
            that they don't begin where windows do; 0: none is.
        fps: Frames per second.
        seed: Of the choice.

    Returns:
        ``moments.jsonl``: a row for each clip that was glued, with ``clip``,
        ``caption``, ``start`` and ``end`` (s).

    Raises:
        InputError: The manifest has too few clips.
    """
    rows = list(iter_manifest(find_manifest(manifest), Path(manifest).parent))
    if len(rows) < pieces + 1:
        raise InputError(f'{manifest}: has {len(rows)} clips, {pieces + 1} are needed')
    rng, out_dir = np.random.default_rng(seed), Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(clips):
        chosen = [rows[i] for i in rng.choice(len(rows), pieces + 1, replace=False)]
        parts = [_read(row['clip_path'], fps) for row in chosen]
        keep = round(lead * fps)
        parts[0] = parts[0][0][:keep], parts[0][1][: keep * RATE // fps]
        path = out_dir / f'long_{number:03d}.mp4'
        pictures = [picture for part in parts for picture in part[0]]
        wave = np.concatenate([part[1] for part in parts])
        write_clip(path, pictures, fps, wave, RATE)
        start = keep / fps
        for row, part in zip(chosen[1:], parts[1:], strict=True):
            end = start + len(part[0]) / fps
            texts = dict(clip=path.name, caption=row['captions'][0])
            lines.append(json.dumps(dict(texts, start=start, end=end)))
            start = end
    target = out_dir / 'moments.jsonl'
    target.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return target


def _read(path: str, fps: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames, and as much sound (S,) as they last."""
    sound = read_audio(path, sample_rate=RATE)
    if sound is None:
        raise InputError(f'{path}: has no sound')
    count = int(len(sound) / RATE * fps)
    times = [(k + 0.5) / fps for k in range(count)]
    pictures, _ = read_frames(path, times)
    return pictures, sound[: count * RATE // fps]
