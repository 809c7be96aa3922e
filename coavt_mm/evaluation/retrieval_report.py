"""What a retrieval evaluation leaves for people: flat numbers, a table, figures."""

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from coavt_mm.evaluation.features import StreamFeatures, stream_texts
from coavt_mm.evaluation.metric import (
    ARROWS,
    cells,
    draw_table,
    heading,
    middle_frame,
    spectrogram,
)
from coavt_mm.evaluation.ranking import (
    CURVE_DEPTH,
    RENAMED,
    recall_curve,
    recall_summary,
    similarity,
    top_clips,
)
from coavt_mm.evaluation.text_ceilings import (
    RULES,
    ceilings_table,
    say_shared,
    shared_texts,
    text_ceilings,
)
from coavt_mm.streams import MODALITIES
from coavt_mm.visualization import (
    Hit,
    contact_sheet_figure,
    over_all_ranks,
    recall_figure,
    similarity_figure,
)

DIRECTIONS = ('text_to_clip', 'clip_to_text')
MATRIX_SIZE = 100  # clips
SHEET_QUERIES, SHEET_CLIPS = 6, 4


@dataclass
class Ranked:
    """What was ranked, by stream.

    Args:
        records: One dict per sample.
        features: Stream -> what it is ranked from.
        ranks: Stream -> score mode -> ranks (N,) text to clip and (G,) clip to text.
    """

    records: list[dict]
    features: dict[str, StreamFeatures]
    ranks: dict[str, dict[str, tuple[Tensor, Tensor]]]

    def asked(self, mode: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Stream -> ranks of all captions, and of the clips that have a caption."""
        return {
            stream: (found[mode][0], found[mode][1][self.features[stream].answered])
            for stream, found in self.ranks.items()
            if mode in found
        }

    def recalls(self, mode: str) -> dict[str, dict[str, dict]]:
        """Direction, with the mode in its name -> stream -> R@1, ..., MeanR."""
        suffix = '' if mode == 'cosine' else f'_{mode}'
        asked = self.asked(mode).items()
        return {
            direction + suffix: {s: recall_summary(ranks[i]) for s, ranks in asked}
            for i, direction in enumerate(DIRECTIONS)
        }

    def texts(self) -> dict[str, dict]:
        """How many texts are shared, and what that allows; {} where none is."""
        shared, ceilings = {}, {}
        for stream, features in self.features.items():
            texts: list[list[str]] = [[] for _ in features.gallery]
            named = stream_texts(self.records, features)
            for clip, text in zip(features.target.tolist(), named, strict=True):
                texts[clip].append(text)
            shared[stream] = shared_texts(texts)
            if shared[stream]['shared']:
                ceilings[stream] = text_ceilings(texts)
        return {'shared_texts': shared, 'text_ceilings': ceilings}


def ceiling_of(ceilings: dict | None, direction: str, stream: str) -> dict | None:
    """Find a ceiling given per direction and stream, or per stream only."""
    ceilings = ceilings or {}
    return ceilings.get(direction, ceilings).get(stream)


def logged_numbers(report: dict) -> dict:
    """Numbers for mmengine's log: 'text_to_clip/AV/R@1', 'matching_accuracy'."""
    recalls = {key: x for key, x in report.items() if key.startswith(DIRECTIONS)}
    return {**recalls, 'matching_accuracy': report.get('matching_accuracy')}


def markdown_table(report: dict) -> str:
    """Readable both in a terminal and on a page; R@k in per cent, ranks from 1."""
    summaries = [
        summary
        for key in report
        if key.startswith(DIRECTIONS)
        for summary in report[key].values()
    ]
    if not summaries:
        return f'{heading(report)}\n\nNo caption has its clip in any gallery.\n'
    names = list(summaries[0])
    # 'missing' is said of clips that are not there at all, in the heading
    head = ['direction', 'score', 'stream', *names, 'gallery', 'captions', 'without']
    lines = [draw_table(head, _rows(report, names))]
    if report.get('matching_accuracy') is not None:
        share = report['matching_accuracy']
        lines.append(f'Matching accuracy on held-out pairs: {100 * share:.1f} %\n')
    notes = [f'{report["note"]}\n'] if report.get('note') else []
    lines += _about_texts(report)
    return '\n'.join([f'{heading(report)}\n', *notes, *lines])


def _rows(report: dict, names: list[str]) -> list[list[str]]:
    rows = []
    for key in report:
        if not key.startswith(DIRECTIONS):
            continue
        direction = next(name for name in DIRECTIONS if key.startswith(name))
        mode = key[len(direction) + 1 :] or 'cosine'
        mode = RENAMED.get(mode, mode)
        for stream, summary in report[key].items():
            counts = [str(n) for n in report['streams'][stream].values()]
            label = [ARROWS[direction], mode, stream]
            rows.append(label + cells(summary, names) + counts)
            best = ceiling_of(report['ceilings'], direction, stream)
            if best and mode == 'cosine':
                label[1] = 'ceiling'
                rows.append(label + cells(best, names) + [''] * len(counts))
    return rows


def _about_texts(report: dict) -> list[str]:
    """What is right, how many texts clips share, and what either rule allows then."""
    if 'right_answers' not in report:  # of an earlier release
        return []
    lines = [f'Rule: {report["right_answers"]}.']
    if report['temperatures']:
        named = report['temperatures'].items()
        said = ', '.join(f'{RENAMED.get(mode, mode)} {t:g}' for mode, t in named)
        lines.append(f'Temperatures: {said}.')
    if report['text_ceilings']:
        shared = report['shared_texts'].items()
        lines += [f'{stream}: {say_shared(numbers)}' for stream, numbers in shared]
        lines += ['', ceilings_table(report['text_ceilings'])]
    else:
        lines.append('No text is of several clips.')
    return ['\n'.join(lines).rstrip() + '\n']


def retrieval_figures(report: dict, scored: Ranked) -> dict[str, Figure]:
    """Recall curves, a similarity matrix and a contact sheet, ranked by cosine."""
    title = f'{report["protocol"] or "retrieval"}: {report["clips"]} clips, '
    title += f'{report["captions"]} captions, {report["missing"] or 0} missing'
    stream = 'AV' if 'AV' in scored.features else next(iter(scored.features))
    right = 'right' if report['right_answers'] == RULES['equal_texts'] else 'own'
    matrix = _matrix(scored.features[stream]).numpy()
    return {
        'recall_curves': _recalls(scored, report['ceilings'], title),
        'similarity_matrix': similarity_figure(
            matrix,
            f'{title}\nstream {stream}; drawn: {len(matrix)} clips, evenly spaced, '
            'with the first caption of each',
        ),
        'contact_sheet': _sheet(scored, stream, f'{title}\nstream {stream}', right),
    }


def _recalls(scored: Ranked, ceilings: dict | None, title: str) -> Figure:
    asked = scored.asked('cosine')
    sizes = {s: (len(f.gallery), len(f.target)) for s, f in scored.features.items()}
    depth = min(CURVE_DEPTH, max(size[0] for size in sizes.values()))
    counts = {s: f.right_counts() for s, f in scored.features.items()}
    curves, galleries, marks, right = {}, {}, {}, {}
    for i, name in enumerate(DIRECTIONS):
        curves[name] = {s: recall_curve(ranks[i], depth) for s, ranks in asked.items()}
        galleries[name] = {s: size[i] for s, size in sizes.items()}
        right[name] = {s: numbers[i].tolist() for s, numbers in counts.items()}
        best = {s: ceiling_of(ceilings, name, s) for s in asked}
        marks[name] = {s: found for s, found in best.items() if found}
    best_of_all = marks if any(marks.values()) else None
    return recall_figure(curves, galleries, best_of_all, title, right=right)


def evenly_spaced(length: int, number: int) -> list[int]:
    """At most ``number`` positions, evenly spaced over range(length)."""
    number = min(number, length)
    return [i * length // number for i in range(number)]


def _matrix(features: StreamFeatures) -> Tensor:
    """First captions of some clips with these clips, (n, n)."""
    first: dict[int, int] = {}
    for caption, clip in enumerate(features.target.tolist()):
        first.setdefault(clip, caption)
    clips = [list(first)[i] for i in evenly_spaced(len(first), MATRIX_SIZE)]
    captions = features.query_chunk([first[clip] for clip in clips])
    return similarity(captions, features.gallery_chunk(torch.tensor(clips))).cpu()


def _sheet(scored: Ranked, stream: str, title: str, right: str) -> Figure:
    features, ranks = scored.features[stream], scored.ranks[stream]['cosine'][0]
    chosen = over_all_ranks(ranks.tolist(), SHEET_QUERIES)
    asked = torch.tensor(chosen)
    texts = stream_texts(scored.records, features)
    top = top_clips(features, min(SHEET_CLIPS, len(features.gallery)), asked)
    hits = [
        _row(scored, stream, *found)
        for found in zip(chosen, *(x.tolist() for x in top), strict=True)
    ]
    title += f'; {len(chosen)} queries, evenly spaced from the best rank to the worst'
    queries = [texts[i] for i in chosen]
    return contact_sheet_figure(queries, hits, ranks[chosen].tolist(), title, right)


def _row(
    scored: Ranked, stream: str, caption: int, scores: list[float], clips: list[int]
) -> list[Hit]:
    """The top clips of a caption and, if no right one is among them, its own."""
    features = scored.features[stream]
    asked = torch.full((len(clips),), caption)
    is_right = features.is_right(asked, torch.tensor(clips)).tolist()
    places = [0] * len(clips)
    if not any(is_right):
        own = int(features.target[caption])
        own_clip = features.gallery_chunk(torch.tensor([own]))
        score = similarity(features.query_chunk([caption]), own_clip)
        rank = int(scored.ranks[stream]['cosine'][0][caption])
        clips, scores = [*clips, own], [*scores, score.item()]
        is_right, places = [*is_right, True], [*places, rank]
    samples = [scored.records[features.rows[i]] for i in clips]
    numbers = zip(samples, scores, is_right, places, strict=True)
    return [_hit(sample, stream, *rest) for sample, *rest in numbers]


def _hit(record: dict, stream: str, score: float, is_right: bool, rank: int) -> Hit:
    """A clip with what the stream looks at."""
    image = middle_frame(record) if 'visual' in MODALITIES[stream] else None
    sound = spectrogram(record) if 'audio' in MODALITIES[stream] else None
    caption = next(iter(record['texts']), '')
    return Hit(image, score, is_right, '', caption, sound, rank)
