"""Make a Sounding Shapes data set: clips, manifests, vocabulary and ceilings."""

import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from coavt_mm.datasets.reading import read_json
from coavt_mm.demo import grammar
from coavt_mm.demo.ceilings import retrieval_ceilings
from coavt_mm.demo.rendering import (
    draw_frames,
    play_sound,
    write_clip,
)
from coavt_mm.demo.settings import Settings
from coavt_mm.demo.splits import (
    Pair,
    choose_bound_pairs,
    choose_pairs,
)
from coavt_mm.errors import ConfigError, ManifestError
from coavt_mm.preparation.processes import Died, run_each

#: raise when the same settings render something else
RENDERER_VERSION = 4
SPLITS = ('train', 'val', 'test')
PARAPHRASES = 3


def clip_values(pair: Pair) -> dict[str, str]:
    """Return factor -> class name of a combination."""
    names = (*grammar.VISUAL_FACTORS, *grammar.AUDIO_FACTORS)
    values = (*grammar.PICTURES[pair[0]], *grammar.SOUNDS[pair[1]])
    return dict(zip(names, values, strict=True))


def _rng(seed: int, split: str, index: int, use: int) -> np.random.Generator:
    """Return a generator of its own for a clip: the order of rendering is free."""
    return np.random.default_rng([seed, SPLITS.index(split), index, use])


def _clip_name(split: str, index: int) -> str:
    return f'clips/{split}_{index:06d}.mp4'


def render_clip(task: tuple[str, int, Pair], out_dir: Path, settings: Settings) -> bool:
    """Render one clip unless its file is there.

    Args:
        task: Split, index in the split, combination.
        out_dir: Directory of the data set.
        settings: What is rendered.

    Returns:
        Whether the clip had to be rendered.
    """
    split, index, pair = task
    path = out_dir / _clip_name(split, index)
    if path.exists():
        return False
    values = clip_values(pair)
    frames = round(settings.seconds * settings.fps)
    rng = _rng(settings.seed, split, index, 0)
    pictures = draw_frames(values, frames, settings.fps, settings.size, rng)
    wave = play_sound(values, settings.seconds, settings.sample_rate, rng)
    write_clip(path, pictures, settings.fps, wave, settings.sample_rate)
    return True


def _captions(
    split: str, values: dict[str, str], rng: np.random.Generator
) -> dict[str, list[str]]:
    """Write all captions of a clip, by manifest key."""
    full = PARAPHRASES if split == 'train' else 1
    numbers = {'captions': (full, 'AV')}
    if split != 'val':
        partials = PARAPHRASES if split == 'train' else 1
        numbers['audio_captions'] = (partials, 'A')
        numbers['visual_captions'] = (partials, 'V')
    return {
        key: grammar.paraphrases(values, stream, number, rng)
        for key, (number, stream) in numbers.items()
    }


def manifest_rows(
    split: str, pairs: list[Pair], settings: Settings
) -> list[dict[str, Any]]:
    """Write the manifest rows of a split, with all their captions."""
    rows = []
    for index, pair in enumerate(pairs):
        values = clip_values(pair)
        clip = _clip_name(split, index)
        texts = _captions(split, values, _rng(settings.seed, split, index, 1))
        row = {'id': Path(clip).stem, 'clip': clip, **texts}
        rows.append({**row, 'labels': list(values.values())})
    return rows


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + '.part')
    part.write_text(text, encoding='utf-8')
    os.replace(part, path)


def _write_manifest(
    path: Path, rows: list[dict[str, Any]], drop: tuple[str, ...], meta: dict[str, Any]
) -> None:
    lines = (
        json.dumps({key: value for key, value in row.items() if key not in drop})
        for row in rows
    )
    _write_text(path.with_suffix('.meta.json'), json.dumps(meta, indent=1) + '\n')
    _write_text(path, '\n'.join(lines) + '\n')


def _write_split(
    out_dir: Path, split: str, pairs: list[Pair], settings: Settings
) -> None:
    """Write the manifest and the sidecar of a split; the test set has two."""
    rows = manifest_rows(split, pairs, settings)
    kind = 'sounding-shapes-bound' if settings.bound else 'sounding-shapes'
    # other pictures and sounds are another test, though the captions stay the same
    version = f'v{RENDERER_VERSION}'
    protocol = f'{kind}-{version}-{split}-{len(pairs)}-seed{settings.seed}'
    meta = {'protocol': protocol, 'missing': 0, 'classes': grammar.class_names()}
    path = out_dir / f'{split}.jsonl'
    if split == 'train':
        _write_manifest(path, rows, (), meta)
        return
    ceilings = retrieval_ceilings(*zip(*pairs, strict=True))
    if settings.bound:
        # a sound fits all pictures that it belongs to, and a picture its one sound
        ceilings['audio_visual'] = ceilings['A']
    partial_keys = ('audio_captions', 'visual_captions')
    _write_manifest(path, rows, partial_keys, {**meta, 'ceilings': ceilings})
    if split == 'test':
        _write_text(out_dir / 'ceilings.json', json.dumps(ceilings, indent=1) + '\n')
        meta['protocol'] = protocol.replace('-test-', '-test-partial-')
        # captions of one half are compared with that half only
        meta['ceilings'] = {stream: ceilings[stream] for stream in ('A', 'V')}
        _write_manifest(out_dir / 'test_partial.jsonl', rows, ('captions',), meta)


def _check_settings(out_dir: Path, settings: Settings) -> None:
    """Store the settings beside the clips, or compare with the stored ones."""
    path = out_dir / 'settings.json'
    wanted = {**asdict(settings), 'renderer_version': RENDERER_VERSION}
    if not path.exists():
        _write_text(path, json.dumps(wanted, indent=1) + '\n')
        return
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise ManifestError(f'{path}: an object is expected')
    changed = [
        f'{key} was {stored.get(key)}, now {wanted.get(key)}'
        for key in sorted({*stored, *wanted})
        if stored.get(key) != wanted.get(key)
    ]
    if changed:
        raise ConfigError(
            f'{out_dir} holds Sounding Shapes made with other settings '
            f'({"; ".join(changed)}). Remove that directory or choose another one.'
        )


def _render_all(
    tasks: list[tuple[str, int, Pair]], out_dir: Path, settings: Settings, workers: int
) -> int:
    """Render with ``workers`` processes and a progress bar; return how many."""
    render = partial(render_clip, out_dir=out_dir, settings=settings)
    bar = partial(
        tqdm, total=len(tasks), desc='Rendering clips', unit='clip', mininterval=1.0
    )
    made = 0
    each = run_each(render, dict(enumerate(tasks)), workers if workers > 1 else 0)
    for _, fresh in bar(each):
        if isinstance(fresh, Died):
            raise ConfigError(
                f'{out_dir}: rendering a clip ended its process ({fresh}). What is '
                'there is kept; the same command goes on, with fewer workers perhaps.'
            )
        made += fresh
    return made


def make_sounding_shapes(
    out_dir: str | Path, settings: Settings, workers: int = 1
) -> int:
    """Make the data set, or finish one that was interrupted.

    Writes ``clips/*.mp4``, ``train.jsonl``, ``val.jsonl``, ``test.jsonl`` (one full
    caption a clip), ``test_partial.jsonl`` (one caption of the sound and one of the
    picture), a ``.meta.json`` beside each, ``ceilings.json``, ``vocab.txt`` and
    ``settings.json``. Manifests are written last: where they are, the clips are.

    Test combinations never occur in training, their halves do: every picture from
    288 training clips on (the tested ones first), every sound from about 72 on.

    Args:
        out_dir: Directory to write to.
        settings: What to render.
        workers: Processes; the clips do not depend on it.

    Returns:
        Number of clips rendered now; those that were there are kept.

    Raises:
        ConfigError: If the directory holds clips of other settings.
    """
    out_dir = Path(out_dir)
    numbers = (settings.train_clips, settings.val_clips, settings.test_clips)
    choose = choose_bound_pairs if settings.bound else choose_pairs
    pairs = dict(zip(SPLITS, choose(*numbers, seed=settings.seed), strict=True))
    (out_dir / 'clips').mkdir(parents=True, exist_ok=True)
    _check_settings(out_dir, settings)
    tasks = [
        (split, index, pair)
        for split in SPLITS
        for index, pair in enumerate(pairs[split])
    ]
    rendered = _render_all(tasks, out_dir, settings, workers)
    for split in SPLITS:
        if pairs[split]:
            _write_split(out_dir, split, pairs[split], settings)
    _write_text(out_dir / 'vocab.txt', '\n'.join(grammar.vocabulary()) + '\n')
    return rendered
