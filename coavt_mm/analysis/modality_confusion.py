"""VGGSounder's modality confusion: right with one sense, wrong with both.

Three runs of ``ClassificationMetric`` on the same clips, with sound, picture and both,
leave ``best_classes.json`` each, one run of ``ZeroShotMetric`` leaves it for all three;
the shares are computed of these.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from coavt_mm.datasets.manifest import (
    content_hash,
    find_manifest,
    iter_manifest,
    read_sidecar,
)
from coavt_mm.datasets.reading import existing, read_json
from coavt_mm.errors import ConfigError, ManifestError
from coavt_mm.evaluation.class_scores import BEST_CLASSES
from coavt_mm.evaluation.metric import draw_table, heading
from coavt_mm.streams import available

STREAMS = ('A', 'V', 'AV')  # in the order of VGGSounder's tables


def confusion_shares(hits: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The shares of clips whose class is wrong with both senses, though right with A
    alone, V alone, or (AV) each of them alone.

    Args:
        hits: For each of :data:`STREAMS` (B,) bool, whether its best class is right.

    Returns:
        Stream -> share of all B clips, from 0 to 1.
    """
    lost = ~hits['AV']
    shares = available(hits['A'], hits['V'])
    return {stream: float((right & lost).mean()) for stream, right in shares.items()}


def modality_confusion(runs: Sequence[str | Path], labels: str | Path) -> dict:
    """Compare three runs on the labels of a manifest.

    A clip counts when it was scored in all three streams. Where classes tie for the
    best, one that is wrong counts.

    Args:
        runs: The files ``best_classes.json`` of the runs, or folders that hold them.
        labels: Manifest of the protocol 'vggsounder', with all its labels.

    Returns:
        ``protocol``, ``manifest``, ``manifest_hash``, ``clips`` and ``missing`` of the
        labels; ``tested_on`` (the manifest that the runs were on, and its hash); and
        by stream ``top1`` and ``modality_confusion``, shares from 0 to 1.

    Raises:
        ConfigError: A stream has no run, they are of different manifests, or none of
            the clips has a label.
    """
    found, tested_on = _read_runs(runs)
    manifest, about = find_manifest(labels), read_sidecar(find_manifest(labels))
    right = {row['sample_id']: set(row['labels']) for row in iter_manifest(manifest)}
    clips = [c for c in right if all(c in found[stream] for stream in STREAMS)]
    if not clips:
        raise ConfigError(
            f'{manifest} has none of the clips that all three runs scored'
        )
    hits = {
        stream: np.array([right[c].issuperset(found[stream][c]) for c in clips])
        for stream in STREAMS
    }
    return {
        'metric': 'modality_confusion',
        'protocol': about.get('protocol') or manifest.stem,
        'manifest': str(manifest),
        'manifest_hash': content_hash(manifest),
        'clips': len(clips),
        'missing': (about.get('missing') or 0) + len(right) - len(clips),
        'tested_on': tested_on,
        'top1': {stream: float(hits[stream].mean()) for stream in STREAMS},
        'modality_confusion': confusion_shares(hits),
    }


def _read_runs(runs: Sequence[str | Path]) -> tuple[dict[str, dict], str]:
    """Stream -> clip id -> best classes, and the manifest that they are of."""
    found: dict[str, dict] = {stream: {} for stream in STREAMS}
    tested_on: dict[str, Path] = {}
    for run in map(Path, runs):
        path = existing(run / BEST_CLASSES if run.is_dir() else run, 'file of a run')
        manifest, best = _parts(path, read_json(path))
        tested_on.setdefault(manifest, path)
        for stream, clips in best.items():
            # who lacks a sense is in the run of both with the other; it won't count
            found.setdefault(stream, {}).update(clips)
    if len(tested_on) > 1:
        raise ConfigError(
            'the runs are not on the same clips: '
            + ', '.join(f'{path}: {name}' for name, path in tested_on.items())
        )
    lacking = [stream for stream in STREAMS if not found[stream]]
    if lacking:
        raise ConfigError(
            f'no run has scores of the stream {lacking[0]}; test with '
            'model.test_cfg.stream=A, V and AV'
        )
    return found, next(iter(tested_on))


def _parts(path: Path, content: object) -> tuple[str, dict]:
    match content:
        case {'manifest': name, 'manifest_hash': digest, 'best': {**best}} if all(
            isinstance(clips, dict) and all(map(_are_names, clips.values()))
            for clips in best.values()
        ):
            return f'{Path(str(name)).name} ({digest})', best
    raise ManifestError(f'{path}: this is no {BEST_CLASSES} of a classification')


def _are_names(value: object) -> bool:
    names = value if isinstance(value, list) else []
    return bool(names) and all(isinstance(name, str) for name in names)


def markdown_table(report: dict) -> str:
    """Shares in per cent."""
    rows = [
        [title, *(f'{100 * report[key][stream]:.2f}' for stream in STREAMS)]
        for key, title in (('top1', 'top-1'), ('modality_confusion', 'confusion'))
    ]
    table = draw_table(['%', *STREAMS], rows)
    return f'{heading(report)}\n\n{table}'
