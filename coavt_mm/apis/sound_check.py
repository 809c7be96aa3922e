"""Does the sound of a clip belong to its picture, and where would it fit better?

Windows of sound are compared with the pictures of all windows near to them. Letters: W
windows, D width of a feature.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from coavt_mm.apis.answering import Window, say_once
from coavt_mm.apis.inputs import WINDOWS, Clip, as_clips, check_number
from coavt_mm.apis.listing import is_strict
from coavt_mm.apis.reading import samples
from coavt_mm.errors import ClipError, InputError, shown
from coavt_mm.models.heads import pool_tokens

if TYPE_CHECKING:
    from coavt_mm.apis.inferencer import CoAVTInferencer

#: Windows begin so many times within their own length.
STEPS = 8
#: A place is better where the cosine is so much higher: with the usual temperature of
#: sound and picture, 0.05, it is e times as likely.
LEAST_GAIN = 0.05


@dataclass(frozen=True)
class Features:
    """A clip's sound and picture, window by window.

    Args:
        name: Of the clip.
        hop: From one window to the next in s.
        audio: (W, D) float32 of norm 1, NaN where a window is silent.
        visual: (W, D) likewise, NaN where it has no picture.
        late: How much behind the middle of their windows pictures were taken, in s.
        error: Why there are none, one line; empty where there are.
    """

    name: str
    hop: float
    audio: np.ndarray
    visual: np.ndarray
    late: float = 0.0
    error: str = ''


def check_sound(
    inferencer: 'CoAVTInferencer',
    clip: Any,
    *,
    reach: float = 10.0,
    batch_size: int = WINDOWS,
    on_error: str | None = None,
) -> list[dict]:
    """Say whether sound and picture belong together, and which shift would suit them.

    The score compares what is heard with what is seen, window by window; it knows
    nothing of lips. So a shift is found where something changes: a clip shorter than
    two windows, a steady sound and a steady picture have none, and ``why`` says so. A
    clip whose ``best_score`` is low, too, has the sound of another one, and then its
    shift means nothing.

    Args:
        clip: A clip or several.
        reach: Largest shift that is tried, in s; at most half of a clip.
        batch_size, on_error: See :func:`embed`.

    Returns:
        A dict per clip: ``clip``; ``score``, the mean cosine of sound and picture (-1
        ... 1); ``best_score``, the same at the best shift; ``shift`` in s, by which the
        sound comes too late (below 0: too early), or None and ``why`` (str);
        ``trained``, whether the model learnt to compare sound with picture.

    Raises:
        InputError: See :func:`embed`.
        ClipError: A clip can't be read or lacks sound or picture, and ``on_error`` is
            'raise'.
        ConfigError: The model embeds nothing (it is a classifier).
    """
    trained = learnt_it(inferencer)
    if not trained:
        say_once(
            'this model was not trained to compare sound with picture (av_head): what '
            'it says of the two is worth little'
        )
    check_number('batch_size', batch_size, 1)
    if not (isinstance(reach, int | float) and reach >= 0):
        raise InputError(f'reach must be 0 s or more, not {reach!r}')
    strict = is_strict(on_error, clip, None)
    clips, bad = as_clips(clip), []
    answers: list[dict] = []
    with inferencer._bar(len(clips), batch_size) as bar:
        for found in clip_features(inferencer, clips, batch_size):
            bar.update()
            if found.error and strict:
                raise ClipError(found.error)
            if found.error:
                bad.append(found.error)
                answers.append(dict(clip=found.name, error=found.error))
                continue
            answer = dict(clip=found.name, **judged(found, reach), trained=trained)
            answers.append(answer)
    if bad:
        warnings.warn(
            f'{len(bad)} of {len(answers)} clips are without an answer, their entries '
            f'carry `error`; the first: {shown(bad[0])}',
            stacklevel=2,
        )
    return answers


def learnt_it(inferencer: 'CoAVTInferencer') -> bool:
    """Whether a model was trained to compare sound with picture.

    Raises:
        ConfigError: It embeds nothing (it is a classifier).
    """
    inferencer.require('contrastive_head', 'compare sound and picture')
    head: Any = inferencer.model.av_head
    return head is not None and bool(head.streams)


def clip_features(
    inferencer: 'CoAVTInferencer', clips: list[Clip], batch_size: int
) -> Iterator[Features]:
    """Read clips in windows that overlap, and encode their sound and their picture.

    Args:
        inferencer: With a CoAVT.
        clips: The clips.
        batch_size: Windows that go through the model at once.
    """
    hop = inferencer.seconds / STEPS
    for clip in clips:
        read = samples(
            inferencer.pipeline,
            inferencer.seconds,
            clip,
            hop=hop,
            isolate=inferencer.isolate,
        )
        late: list[float] = []
        windows: list[tuple[float, np.ndarray, np.ndarray]] = []
        error = ''
        while chunk := list(islice(read, batch_size)):
            good = [sample for sample in chunk if not isinstance(sample, Window)]
            error = error or next((x.error for x in chunk if isinstance(x, Window)), '')
            late += [x for x in map(_late, good) if x is not None]
            windows += _encoded(inferencer, good) if good else []
        yield _features(clip.name, hop, windows, late, error)


def _late(sample: dict) -> float | None:
    """How much behind its window's beginning a window's picture was taken, in s."""
    about = sample['data_samples']
    times = about.get('frame_times') if about.has_visual else None
    return None if times is None else float(np.mean(times) - about.shown[0])


@torch.no_grad()
def _encoded(
    inferencer: 'CoAVTInferencer', good: list[dict]
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Start (s), sound (D,) and picture (D,) of packed windows."""
    model: Any = inferencer.model
    batch = model.data_preprocessor(inferencer.collate_fn(good), False)['inputs']
    frames, rows = batch.get('frames'), len(good)
    if frames is not None:
        frames = frames.flatten(0, 1)
    tokens = model.av_encoder(batch.get('spectrogram'), frames, ['A', 'V'])
    parts = []
    for stream, key in dict(A='has_audio', V='has_visual').items():
        part = torch.full((rows, model.av_encoder.embed_dims), torch.nan)
        if stream in tokens:
            feats = pool_tokens(tokens[stream]).unflatten(0, (rows, -1)).mean(1)
            part = feats.cpu().masked_fill(~batch[key].cpu()[:, None], torch.nan)
        parts.append(part.numpy())
    starts = [sample['data_samples'].shown[0] for sample in good]
    return list(zip(starts, *parts, strict=True))


def _features(
    name: str, hop: float, windows: list, late: list[float], error: str
) -> Features:
    if not error and not windows:
        error = f'{name}: there is nothing to compare'
    if error:
        nothing = np.zeros((0, 1))
        return Features(name, hop, nothing, nothing, error=error)
    starts, audio, visual = map(np.array, zip(*windows, strict=True))
    # a clip's last window ends with it, and may begin between two steps
    on_grid = np.abs(starts - starts[0] - hop * np.arange(len(starts))) < hop / 100
    audio, visual = audio[on_grid], visual[on_grid]
    for kind, part in (('sound', audio), ('picture', visual)):
        if np.isnan(part).all():
            error = f'{name}: has no {kind} to compare'
    if not error and np.isnan((audio * visual).sum(1)).all():
        error = f'{name}: nowhere has sound and picture at once'
    middle = hop * STEPS / 2
    behind = float(np.mean(late)) - middle if late else 0.0
    return Features(name, hop, audio, visual, behind, error)


def fit_curve(audio: np.ndarray, visual: np.ndarray, most: int) -> np.ndarray:
    """Compare sound with the picture of earlier and later windows.

    Args:
        audio: (W, D).
        visual: (W, D).
        most: Largest step.

    Returns:
        (2 * most + 1,) mean cosines, from sound that is ``most`` steps early to sound
        that is so late; NaN where no window has both.
    """
    means = []
    for lag in range(-most, most + 1):
        sound = audio[max(lag, 0) : len(audio) + min(lag, 0)]
        picture = visual[max(-lag, 0) : len(visual) + min(-lag, 0)]
        cosines = (sound * picture).sum(1)
        there = np.isfinite(cosines)
        means.append(cosines[there].mean() if there.any() else np.nan)
    return np.array(means)


def judged(found: Features, reach: float) -> dict:
    """Score and best shift of a clip; see :func:`check_sound`.

    Args:
        found: Its features.
        reach: Largest shift that is tried, in s.
    """
    count = len(found.audio)
    most = round(min(reach / found.hop, count // 2))
    curve = fit_curve(found.audio, found.visual, most)
    best = int(np.nanargmax(curve))
    answer: dict[str, Any] = dict(score=float(curve[most]))
    answer['best_score'] = float(curve[best])
    if count <= STEPS:
        seconds = 2 * STEPS * found.hop
        return dict(answer, shift=None, why=f'shorter than {seconds:g} s')
    if curve[best] - np.nanmedian(curve) < LEAST_GAIN:
        return dict(answer, shift=None, why='steady: no shift is better than another')
    lag = best - most + _summit(curve, best)
    return dict(answer, shift=round(lag * found.hop - found.late, 2))


def _summit(curve: np.ndarray, best: int) -> float:
    """Where the parabola through the best place and its neighbours is highest, in
    steps from it."""
    if not 0 < best < len(curve) - 1:
        return 0.0
    before, top, behind = curve[best - 1 : best + 2]
    bend = before - 2 * top + behind
    return float((before - behind) / (2 * bend)) if bend < 0 else 0.0
