"""Do the sounds of a list's clips belong to their pictures? A model is asked.

Letters: G clips, D width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from coavt_mm.apis import CoAVTInferencer, load_model
from coavt_mm.apis.inputs import as_clips
from coavt_mm.apis.sound_check import (
    LEAST_GAIN,
    STEPS,
    clip_features,
    judged,
    learnt_it,
)
from coavt_mm.errors import ConfigError
from coavt_mm.preparation.settings import OTHER_SOUND, SHIFTED_SOUND, UNUSABLE

#: A sound should fit its own picture better than this share of other ones.
BETTER_THAN = 0.8
#: With so many other pictures a sound is compared, and with at least so many.
MOST_OTHERS, LEAST_OTHERS = 500, 5
REACH = 10.0  # s; the largest shift that is looked for
BATCH = 16
WITHOUT = {*UNUSABLE, 'silent', 'no_sound', 'no_picture'}


def load_judge(checkpoint: str) -> CoAVTInferencer:
    """Load a model that compares sound with picture.

    Raises:
        ConfigError: It was not trained to.
    """
    model = load_model(checkpoint, show_progress=False, isolate=True)
    if not learnt_it(model):
        raise ConfigError(
            f'{checkpoint}: was not trained to compare sound with picture; take one '
            'with an av_head, such as that of configs/coavt/av_retrieval_demo.py'
        )
    return model


def check_sounds(model: CoAVTInferencer, found: Sequence[dict]) -> None:
    """Ask a model of each clip; adds ``sound`` and problems to the results.

    Args:
        model: From :func:`load_judge`.
        found: Results of ``check_clip`` with ``id`` and ``task``; those that lack sound
            or picture are left out.
    """
    asked = [x for x in found if not WITHOUT & set(x['problems'])]
    both = []
    for result in tqdm(asked, desc='comparing sound with picture', unit='clip'):
        (features,) = clip_features(model, as_clips(_clip(result)), BATCH)
        if features.error:
            result['sound'] = dict(error=features.error)
            continue
        result['sound'] = judged(features, REACH)
        both.append((result, _mean(features.audio), _mean(features.visual)))
    if both:
        _rank(*zip(*both, strict=True))
    for result in asked:
        _name_problems(result, model.seconds / STEPS)


def _clip(result: dict) -> dict:
    task = result['task']
    files = dict(video=task.clip, audio=task.audio)
    span = dict(start=result['start'], end=result['end'])
    return {k: v for k, v in {**files, **span}.items() if v is not None}


def _mean(features: np.ndarray) -> np.ndarray:
    mean = np.nanmean(features, 0)
    return mean / max(np.linalg.norm(mean), 1e-12)


def _rank(results: Sequence[dict], audio: Any, visual: Any) -> None:
    """Add ``better_than``: of other clips' pictures the share that a sound fits worse
    than its own one."""
    audio, visual = np.stack(audio), np.stack(visual)  # (G, D)
    count = len(results)
    if count <= LEAST_OTHERS:
        return
    order = np.random.default_rng(0).permutation(count)[: MOST_OTHERS + 1]
    for i, result in enumerate(results):
        others = visual[order[order != i]]
        worse = others @ audio[i] < visual[i] @ audio[i]
        result['sound']['better_than'] = float(worse.mean())


def _name_problems(result: dict, step: float) -> None:
    """Add the problem, where other clips say what a good score is.

    An exchanged sound fits one place better than another by chance, too: it is no
    shifted one.
    """
    sound = result['sound']
    share, shift = sound.get('better_than'), sound.get('shift')
    if share is None:
        return
    score, best = sound['score'], sound['best_score']
    if share < BETTER_THAN:
        problem = OTHER_SOUND
        reason = f'score {score:.2f}; fits {100 * share:.0f} % of other pictures worse'
    elif shift is not None and abs(shift) >= step and best - score >= LEAST_GAIN:
        problem, side = SHIFTED_SOUND, 'late' if shift > 0 else 'early'
        reason = f'{abs(shift):.1f} s {side}; score {score:.2f}, there {best:.2f}'
    else:
        return
    result['problems'] = [*result['problems'], problem]
    sound['reason'] = reason
