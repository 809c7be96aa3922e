"""The page about a training on own clips: what it led to, and on what clips."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coavt_mm.analysis.logs import read_run
from coavt_mm.apis import load_model
from coavt_mm.datasets.decoding import read_audio, read_frames, sample_times
from coavt_mm.datasets.manifest import iter_manifest
from coavt_mm.datasets.media import probe
from coavt_mm.errors import ClipError
from coavt_mm.evaluation.features import stream_texts
from coavt_mm.evaluation.ranking import top_clips
from coavt_mm.evaluation.records import read_records
from coavt_mm.evaluation.retrieval import RetrievalMetric
from coavt_mm.evaluation.retrieval_report import Ranked, retrieval_figures
from coavt_mm.finetuning.data import OwnData
from coavt_mm.streams import CAPTION_FIELDS
from coavt_mm.visualization import training_figure
from coavt_mm.visualization.report_page import (
    Answer,
    ClipCard,
    Example,
    Found,
    Report,
    report_page,
)

EXAMPLES, HITS, ANSWERS, RATE = 4, 3, 8, 16000
SHOWN_SECONDS = 10.0


@dataclass(frozen=True)
class Job:
    """What was done.

    Args:
        out: Folder of the job, with its results.
        data: What was trained on.
        folder: Where its clips are.
        checkpoint: That training started from; None for random weights.
        notes: What to know, in sentences.
        seconds: Stage -> time.
        command: That trained.
    """

    out: Path
    data: OwnData
    folder: str
    checkpoint: str | None
    notes: Sequence[str]
    seconds: Mapping[str, float]
    command: str


def write_page(job: Job) -> Path:
    """Write report.html.

    Args:
        job: What was done.

    Returns:
        Its path.
    """
    labels, cards = bool(job.data.classes), _Cards(job.data)
    found = (_classes if labels else _retrieval)(job.out, cards)
    sizes = (f'{name} {len(rows)}' for name, rows in job.data.rows.items())
    times = (f'{name} {spent:.0f} s' for name, spent in job.seconds.items())
    facts = {
        'clips': ', '.join(sizes),
        'started from': job.checkpoint or 'random weights',
        **found.pop('facts'),
        'time': ', '.join(times),
    }
    curves = training_figure(read_run(job.out / 'train'))
    report = Report(
        title=f'{Path(job.folder).name or job.folder}: what was learnt',
        facts=facts,
        warnings=job.notes,
        figures={**found.pop('figures'), 'Training': curves},
        commands=[
            *next_commands(job.out, job.folder, labels),
            '# trained with',
            job.command,
        ],
        **found,
    )
    path = job.out / 'report.html'
    path.write_text(report_page(report), encoding='utf-8')
    return path


def next_commands(out: Path, folder: str, labels: bool) -> list[str]:
    """What to type with the new checkpoint."""
    words = shlex.join([str(out / 'checkpoint.pth'), folder])
    if labels:
        return [f'coavt classify {words}']
    return [
        f'coavt retrieve {words} --texts "what to look for"',
        f'coavt caption {words}',
    ]


class _Cards:
    """Clips of the test as the page shows them, each read once."""

    def __init__(self, data: OwnData):
        manifest = data.root / 'test.jsonl'
        rows = iter_manifest(manifest, data.root)
        self.rows = {row['sample_id']: row for row in rows}
        self._made: dict[str, ClipCard] = {}

    def __getitem__(self, clip: str) -> ClipCard:
        if clip not in self._made:
            row = self.rows[clip]
            texts = [text for field in CAPTION_FIELDS for text in row[field]]
            self._made[clip] = ClipCard(
                clip, _frames(row), _sound(row), RATE, texts or row['labels']
            )
        return self._made[clip]

    def source(self, clip: str) -> dict[str, Any]:
        """The clip as the API takes it."""
        row = self.rows[clip]
        named = dict(video=row['clip_path'], audio=row['audio_path'])
        span = dict(start=row['start'], end=row['end'])
        return {k: v for k, v in {**named, **span}.items() if v is not None}


def _frames(row: Mapping) -> list[np.ndarray]:
    """Three frames, or none of a clip without a picture."""
    if row['clip_path'] is None:
        return []
    try:
        info = probe(row['clip_path'])
        if not info.has_video:
            return []
        end = row['end'] or info.video_end or row['start']
        return read_frames(
            row['clip_path'], sample_times(3, row['start'], end).tolist()
        )[0]
    except ClipError:
        return []


def _sound(row: Mapping) -> np.ndarray | None:
    start = row['start']
    end = min(row['end'] or np.inf, start + SHOWN_SECONDS)
    try:
        return read_audio(row['audio_path'] or row['clip_path'], start, end, RATE)
    except ClipError:
        return None


# --------------------------------------------------------------------------------------
# Captions
# --------------------------------------------------------------------------------------
def _retrieval(out: Path, cards: _Cards) -> dict[str, Any]:
    """What the page says of retrieval and captions."""
    metric = RetrievalMetric()
    metric.dataset_meta, records = read_records(out / 'after' / 'features.pth')
    scored = metric.score(records)
    report = {**metric.describe(records), **metric.report(scored)}
    stream = next(s for s in ('AV', 'A', 'V') if s in scored.features)
    before = _read(out / 'before' / 'retrieval.json')
    figures = retrieval_figures(report, scored)
    figures.pop('contact_sheet')
    best, worst = _examples(scored, stream, cards)
    return dict(
        facts=_recalls(before, report),
        tables={'Recall before and after': _table(before, report)},
        figures={
            'Recall': figures['recall_curves'],
            'Texts and clips': figures['similarity_matrix'],
        },
        best=best,
        worst=worst,
        answers=_captions(out, cards) if stream == 'AV' else (),
    )


def _read(path: Path) -> dict:
    return json.loads(path.read_text('utf-8')) if path.is_file() else {}


def _recalls(before: Mapping, after: Mapping) -> dict[str, str]:
    """R@1 of texts and clips, before and after, by stream."""
    facts = {}
    for name, key in (('text → clip', 'text_to_clip'), ('clip → text', 'clip_to_text')):
        for stream, now in after[key].items():
            was = before.get(key, {}).get(stream)
            first = '' if was is None else f'{was["R@1"]:.1f} → '
            facts[f'R@1, {name}, {stream}'] = f'{first}{now["R@1"]:.1f} %'
    return facts


def _table(before: Mapping, after: Mapping) -> list[list[str]]:
    rows = [['', 'stream', 'R@1', 'R@5', 'R@10', 'median rank']]
    for title, report in (('before', before), ('after', after)):
        for key in ('text_to_clip', 'clip_to_text'):
            for stream, found in report.get(key, {}).items():
                values = [f'{found[k]:.1f}' for k in ('R@1', 'R@5', 'R@10', 'MedR')]
                rows.append([f'{title}, {key.replace("_", " ")}', stream, *values])
    return rows


def _examples(
    scored: Ranked, stream: str, cards: _Cards
) -> tuple[list[Example], list[Example]]:
    """The queries that went best and worst; of equals those with the surest answer."""
    features, ranks = scored.features[stream], scored.ranks[stream]['cosine'][0]
    texts = stream_texts(scored.records, features)
    every = torch.arange(len(texts))
    scores, clips = top_clips(features, min(HITS, len(features.gallery)), every)
    surety = scores[:, 0] - (scores[:, 1] if scores.shape[1] > 1 else 0)
    order = sorted(every.tolist(), key=lambda i: (int(ranks[i]), -float(surety[i])))

    def example(index: int) -> Example:
        names = [scored.records[features.rows[i]]['sample_id'] for i in clips[index]]
        right = features.is_right(every[index].repeat(len(names)), clips[index])
        hits = [
            Found(cards[name], float(score), bool(fits))
            for name, score, fits in zip(names, scores[index], right, strict=True)
        ]
        own = scored.records[features.rows[int(features.target[index])]]['sample_id']
        return Example(texts[index], int(ranks[index]), hits, cards[own])

    few = min(EXAMPLES, len(order) // 2) or 1
    worst = [i for i in reversed(order[few:]) if ranks[i] > 1][:EXAMPLES]
    return [*map(example, order[:few])], [*map(example, worst)]


def _captions(out: Path, cards: _Cards) -> list[Answer]:
    """Captions that the new model writes of the first clips of the test."""
    model = load_model(out / 'checkpoint.pth')
    clips = [*cards.rows][:ANSWERS]
    if getattr(model.model, 'lm_head', None) is None:
        return []
    found = model.caption([cards.source(clip) for clip in clips], windows=False)
    return [
        Answer(cards[clip], answer['captions'][0]['text'], cards[clip].captions)
        for clip, answer in zip(clips, found, strict=True)
        if answer.get('captions')
    ]


# --------------------------------------------------------------------------------------
# Labels
# --------------------------------------------------------------------------------------
def _classes(out: Path, cards: _Cards) -> dict[str, Any]:
    """What the page says of a classifier."""
    report = _read(out / 'after' / 'classification.json')
    model = load_model(out / 'checkpoint.pth')
    clips = [*cards.rows][:ANSWERS]
    found = model.classify([cards.source(c) for c in clips], windows=False, topk=1)
    answers = [
        Answer(cards[clip], answer['labels'][0]['label'], cards[clip].captions)
        for clip, answer in zip(clips, found, strict=True)
        if answer.get('labels')
    ]
    most = max(row['clips'] for row in report['per_class']) / report['clips']
    numbers = {key: value for key, value in report.items() if isinstance(value, float)}
    facts = {name.replace('_', ' '): _shown(name, v) for name, v in numbers.items()}
    pictures = sorted((out / 'after').glob('*.png'))
    return dict(
        facts={**facts, 'of the largest class': _shown('', most)},
        tables={'Classes of the test': _class_table(report['per_class'])},
        figures={path.stem.replace('_', ' '): path for path in pictures},
        answers=answers,
        answers_title='Clips of the test',
    )


def _shown(name: str, value: float) -> str:
    """A share in per cent; d' is none."""
    return f'{value:.2f}' if name.startswith('d') else f'{100 * value:.1f} %'


def _class_table(rows: Sequence[Mapping]) -> list[list[str]]:
    """One row per class, the worst first."""
    (value,) = rows[0].keys() - {'class', 'clips'}
    ordered = sorted(rows, key=lambda row: (row[value] is None, row[value]))
    shown = [
        [row['class'], str(row['clips']),
         '-' if row[value] is None else _shown(value, row[value])]
        for row in ordered
    ]  # fmt: skip
    return [['class', 'clips', value.replace('_', ' ')], *shown]
