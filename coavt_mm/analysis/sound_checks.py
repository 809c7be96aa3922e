"""How well it is told whether a sound belongs to a picture, and by how much it is late.

Letter: S audio samples.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score

from coavt_mm.datasets.decoding import read_audio
from coavt_mm.datasets.manifest import find_manifest, iter_manifest
from coavt_mm.errors import InputError

if TYPE_CHECKING:
    from coavt_mm.apis import CoAVTInferencer

RATE = 16_000  # Hz
SHIFTS = (-3.0, -1.5, -0.7, -0.2, 0.0, 0.2, 0.7, 1.5, 3.0)  # s


def check_exchanged(
    model: 'CoAVTInferencer', manifest: str | Path, seed: int = 0
) -> dict[str, float]:
    """Give every picture its own sound, and that of another clip.

    Clips that differ in at most one label may well sound alike (the place of Sounding
    Shapes is not heard) and don't lend each other their sound.

    Args:
        model: To ask.
        manifest: Clips with ``labels`` whose sound belongs to their picture.
        seed: Of the choice.

    Returns:
        ``clips``, ``AUC`` (that an own sound scores higher than an exchanged one), and
        the mean score of ``own`` and of ``exchanged`` ones.

    Raises:
        InputError: A clip has no other to exchange with.
    """
    path = find_manifest(manifest)
    rows = list(iter_manifest(path, path.parent))
    rng = np.random.default_rng(seed)
    labels = [{*row['labels']} for row in rows]
    pairs = []
    for row, own in zip(rows, labels, strict=True):
        others = [i for i, other in enumerate(labels) if len(own - other) > 1]
        if not others:
            raise InputError(f'{manifest}: no clip is unlike {row["sample_id"]}')
        other = rows[rng.choice(others)]['clip_path']
        pairs.append(dict(video=row['clip_path'], audio=other))
    own_scores = _scores(model, [row['clip_path'] for row in rows])
    other_scores = _scores(model, pairs)
    right = [1] * len(rows) + [0] * len(rows)
    return {
        'clips': len(rows),
        'AUC': float(roc_auc_score(right, own_scores + other_scores)),
        'own': float(np.mean(own_scores)),
        'exchanged': float(np.mean(other_scores)),
    }


def _scores(model: 'CoAVTInferencer', clips: list) -> list[float]:
    return [found['score'] for found in model.check_sound(clips, on_error='raise')]


def shifted(wave: np.ndarray, seconds: float) -> np.ndarray:
    """Play a waveform (S,) later, or earlier where ``seconds`` is below 0; silence
    fills it up to its length."""
    steps = round(abs(seconds) * RATE)
    silence = np.zeros(min(steps, len(wave)), np.float32)
    if seconds >= 0:
        return np.concatenate([silence, wave])[: len(wave)]
    return np.concatenate([wave, silence])[-len(wave) :]


def check_shifted(
    model: 'CoAVTInferencer', folder: str | Path, shifts: Sequence[float] = SHIFTS
) -> dict[str, float]:
    """Shift the sound of long clips by known times, and exchange it.

    Args:
        model: To ask.
        folder: With clips whose sound belongs to their picture and changes.
        shifts: In s, above 0 for sound that is late.

    Returns:
        ``clips``; of all shifted ones ``mean error`` and ``median error`` of the shift,
        ``bias`` (s) and ``within 0.5 s`` (share); ``untold`` (share without a shift);
        ``AUC`` of the best score against clips with the sound of the next one.

    Raises:
        InputError: There are not two clips.
    """
    paths = sorted(map(str, Path(folder).glob('*.mp4')))
    if len(paths) < 2:
        raise InputError(f'{folder}: two clips (.mp4) are needed at least')
    waves: list[Any] = [read_audio(path, sample_rate=RATE) for path in paths]
    errors, best, untold = [], [], 0
    for path, wave in zip(paths, waves, strict=True):
        for late in shifts:
            given = dict(video=path, audio=(shifted(wave, late), RATE))
            (found,) = model.check_sound(given)
            best.append(found['best_score'])
            if found['shift'] is None:
                untold += 1
            else:
                errors.append(found['shift'] - late)
    others = [
        dict(video=path, audio=(wave, RATE))
        for path, wave in zip(paths, [*waves[1:], waves[0]], strict=True)
    ]
    exchanged = [found['best_score'] for found in model.check_sound(others)]
    right = [1] * len(best) + [0] * len(exchanged)
    distance = np.abs(errors)
    return {
        'clips': len(paths),
        'mean error': float(distance.mean()),
        'median error': float(np.median(distance)),
        'bias': float(np.mean(errors)),
        'within 0.5 s': float((distance <= 0.5).mean()),
        'untold': untold / len(best),
        'AUC': float(roc_auc_score(right, best + exchanged)),
    }
