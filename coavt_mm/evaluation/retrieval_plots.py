"""The plots of one retrieval evaluation."""

from pathlib import Path

import torch
from torch import Tensor

from coavt_mm.evaluation.clips import middle_frame
from coavt_mm.evaluation.features import StreamFeatures
from coavt_mm.evaluation.ranking import recall_curve, top_clips
from coavt_mm.evaluation.report import DIRECTIONS, EQUAL_TEXTS, ceiling_of
from coavt_mm.models.similarity import similarity
from coavt_mm.visualization import (
    Hit,
    contact_sheet_figure,
    recall_figure,
    save_figure,
    similarity_figure,
)

CURVE_DEPTH = 50  # ranks
MATRIX_SIZE = 100  # clips
SHEET_QUERIES, SHEET_CLIPS = 6, 5


def save_retrieval_plots(
    out_dir: str | Path,
    records: list[dict],
    features: dict[str, StreamFeatures],
    ranks: dict[str, tuple[Tensor, Tensor]],
    results: dict,
) -> list[Path]:
    """Save recall_curves.png, similarity_matrix.png and contact_sheet.png.

    Args:
        out_dir: Folder.
        records: One dict a sample.
        features: Those of each stream.
        ranks: stream -> ranks (N,) text to clip and (G,) clip to text.
        results: The nested results, for title and ceilings.
    """
    title = f'{results["protocol"] or "retrieval"}: {results["clips"]} clips, '
    title += f'{results["captions"]} captions, {results["missing"] or 0} missing'
    figures = {'recall_curves': _recalls(features, ranks, results, title)}
    stream = 'AV' if 'AV' in features else next(iter(features))
    found, note = features[stream], f'{title}, stream {stream}'
    figures['similarity_matrix'] = similarity_figure(_matrix(found).numpy(), note)
    word = 'right' if results['right_answers'] == EQUAL_TEXTS else 'own'
    figures['contact_sheet'] = _sheet(records, found, ranks[stream][0], note, word)
    out_dir = Path(out_dir)
    return [save_figure(fig, out_dir / f'{name}.png') for name, fig in figures.items()]


def _recalls(features: dict, ranks: dict, results: dict, title: str):
    asked = {
        stream: (ranks[stream][0], ranks[stream][1][found.answered])
        for stream, found in features.items()
    }
    sizes = {s: (len(f.clips), len(f.owner)) for s, f in features.items()}
    depth = min(CURVE_DEPTH, max(size[0] for size in sizes.values()))
    curves, galleries, ceilings = {}, {}, {}
    for i, name in enumerate(DIRECTIONS):
        curves[name] = {s: recall_curve(found[i], depth) for s, found in asked.items()}
        galleries[name] = {s: size[i] for s, size in sizes.items()}
        best = {s: ceiling_of(results['ceilings'], name, s) for s in features}
        ceilings[name] = {s: found for s, found in best.items() if found}
    return recall_figure(
        curves, galleries, ceilings if any(ceilings.values()) else None, title
    )


def spread(length: int, number: int) -> list[int]:
    """At most ``number`` positions, evenly spread over range(length)."""
    number = min(number, length)
    return [i * length // number for i in range(number)]


def _matrix(features: StreamFeatures) -> Tensor:
    """First captions of some clips with these clips, (n, n)."""
    first = {}
    for caption, clip in enumerate(features.owner.tolist()):
        first.setdefault(clip, caption)
    clips = [list(first)[i] for i in spread(len(first), MATRIX_SIZE)]
    captions = features.caption_chunk([first[clip] for clip in clips])
    return similarity(captions, features.clip_chunk(torch.tensor(clips))).cpu()


def _sheet(
    records: list[dict], features: StreamFeatures, ranks: Tensor, title: str, right: str
):
    chosen = spread(len(features.owner), SHEET_QUERIES)
    asked = torch.tensor(chosen)
    scores, clips = top_clips(features, min(SHEET_CLIPS, len(features.clips)), asked)
    is_right = features.is_right(asked[:, None].expand_as(clips), clips)
    samples = [records[row] for row in features.rows]
    hits = [
        [
            Hit(middle_frame(samples[clip]), score, own)
            for score, clip, own in zip(*row, strict=True)
        ]
        for row in zip(scores.tolist(), clips.tolist(), is_right.tolist(), strict=True)
    ]
    owners = features.owner[chosen].tolist()
    queries = [
        samples[clip]['texts'][features.columns[i]]
        for clip, i in zip(owners, chosen, strict=True)
    ]
    return contact_sheet_figure(queries, hits, ranks[chosen].tolist(), title, right)
