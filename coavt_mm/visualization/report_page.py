"""What a training led to, as one HTML page that needs nothing beside itself.

Pictures and sounds lie in the page, so it can be sent to somebody. All texts are
escaped: whoever names a file or writes a caption writes no HTML.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from coavt_mm.visualization.page_parts import (
    BRIEF,
    definitions,
    figure_image,
    frame_image,
    player,
    section,
    spectrogram_image,
    table,
    tag,
    text,
    whole_page,
)
from coavt_mm.visualization.plots import tidy

SHOWN_EXAMPLES, SHOWN_HITS, SHOWN_ANSWERS = 6, 3, 12
SHOWN_FRAMES = SHOWN_CAPTIONS = 3  # of a clip
SHOWN_SECONDS = 10.0  # of a clip's sound
FAINT = {'class': 'faint'}


@dataclass(frozen=True)
class ClipCard:
    """A clip as the page shows it.

    Args:
        name: Such as its path in the data.
        frames: (H, W, 3) uint8 RGB each; three of them are shown, none means that the
            clip has no picture.
        waveform: (S,) float, full scale 1; None where the clip has no sound. Its first
            10 s are shown and played.
        rate: Of the waveform in Hz.
        captions: What was written about it by people.
    """

    name: str
    frames: Sequence[np.ndarray] = ()
    waveform: np.ndarray | None = None
    rate: int = 16000
    captions: Sequence[str] = ()


@dataclass(frozen=True)
class Found:
    """A clip that a query brought up.

    Args:
        clip: The clip.
        score: Its similarity with the query.
        is_right: Whether it is what was asked for.
    """

    clip: ClipCard
    score: float
    is_right: bool


@dataclass(frozen=True)
class Example:
    """A query with what was found.

    Args:
        query: Its text.
        rank: Of the best right clip, from 1.
        hits: The clips put first, best first; three are shown.
        right: The right clip, for where it is not among them.
    """

    query: str
    rank: int
    hits: Sequence[Found]
    right: ClipCard | None = None


@dataclass(frozen=True)
class Answer:
    """What the model says of a clip, beside what is true.

    Args:
        clip: The clip.
        written: A caption, or the class with the best score.
        true: The captions of people, or the true classes.
    """

    clip: ClipCard
    written: str
    true: Sequence[str]


@dataclass(frozen=True)
class Report:
    """All that the page says; what is empty is left out.

    Args:
        title: Of the page.
        facts: Name -> value: the data, the checkpoint, before and after.
        warnings: Sentences, shown first.
        figures: Heading -> figure, or the path of a png.
        tables: Heading -> rows; the first holds the names of the columns.
        best: Queries that went best.
        worst: Queries that went worst.
        answers: Captions, or classes, of some clips.
        answers_title: Of their section.
        commands: What to type next.
    """

    title: str
    facts: Mapping[str, object] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    figures: Mapping[str, Figure | Path] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Sequence[object]]] = field(default_factory=dict)
    best: Sequence[Example] = ()
    worst: Sequence[Example] = ()
    answers: Sequence[Answer] = ()
    answers_title: str = 'Captions'
    commands: Sequence[str] = ()


def report_page(report: Report) -> str:
    """Write the page: a few MB at most, whatever the report holds.

    Args:
        report: What it says.

    Returns:
        HTML, to be saved as UTF-8.
    """
    return whole_page(report.title, list(_sections(report)))


def _sections(report: Report) -> Iterator[tuple[str, str]]:
    """(heading, HTML) of each section."""
    if report.warnings:
        lines = ''.join(tag('li', text(line)) for line in report.warnings[:BRIEF])
        note = _count(report.warnings, BRIEF, 'warnings')
        yield section('Mind this', tag('ul', lines) + note, kind='warnings')
    if report.facts:
        yield section('In brief', definitions(report.facts))
    for heading, figure in report.figures.items():
        yield section(heading, figure_image(figure, heading))
    for heading, rows in report.tables.items():
        yield section(heading, table(rows, heading))
    for heading, examples in (
        ('Queries that went best', report.best),
        ('Queries that went worst', report.worst),
    ):
        shown = ''.join(map(_example, examples[:SHOWN_EXAMPLES]))
        if shown:
            note = _count(examples, SHOWN_EXAMPLES, 'queries')
            yield section(heading, note + shown)
    if report.answers:
        shown = ''.join(map(_answer, report.answers[:SHOWN_ANSWERS]))
        note = _count(report.answers, SHOWN_ANSWERS, 'clips')
        grid = tag('div', shown, {'class': 'cards'})
        yield section(report.answers_title, note + grid)
    if report.commands:
        commands = '\n'.join(report.commands).splitlines()
        code = tag('code', '\n'.join(map(text, commands)))
        yield section('What next', tag('pre', code, {'tabindex': '0'}))


def _count(items: Sequence, most: int, what: str) -> str:
    if len(items) <= most:
        return ''
    return tag('p', f'The first {most} of {len(items)} {what}.', FAINT)


def _example(example: Example) -> str:
    hits = example.hits[:SHOWN_HITS]
    cards = [
        _card(hit.clip, f'{place}. similarity {hit.score:.2f}', hit.is_right)
        for place, hit in enumerate(hits, 1)
    ]
    if example.right is not None and not any(hit.is_right for hit in hits):
        cards.append(_card(example.right, f'rank {example.rank}', True))
    rank = 'first' if example.rank == 1 else f'at rank {example.rank}'
    title = tag('h3', f'“{text(tidy(example.query))}”', {'dir': 'auto'})
    note = tag('p', f'The right clip is {rank}.', FAINT)
    return tag('article', title + note + tag('div', ''.join(cards), {'class': 'cards'}))


def _answer(answer: Answer) -> str:
    written = text(tidy(answer.written)) or '(no word)'
    names = {'dir': 'auto', 'class': 'written'}
    says = tag('p', _label('model') + written, names)
    return _figure(answer.clip, says + _lines(answer.true, _label('true')))


def _label(word: str) -> str:
    return tag('span', word, FAINT)


def _card(clip: ClipCard, place: str, is_right: bool) -> str:
    right = ' · right' if is_right else ''
    head = tag('p', tag('strong', place + right))
    lines = _lines(clip.captions)
    return _figure(clip, head + lines, 'right' if is_right else '')


def _lines(captions: Sequence[str], label: str = '') -> str:
    """The first of a clip's captions, a paragraph each."""
    shown = (text(tidy(caption)) for caption in captions[:SHOWN_CAPTIONS])
    lines = ''.join(tag('p', label + caption, {'dir': 'auto'}) for caption in shown)
    more = len(captions) - SHOWN_CAPTIONS
    return lines + (tag('p', f'and {more} more', FAINT) if more > 0 else '')


def _figure(clip: ClipCard, words: str, kind: str = '') -> str:
    """A clip's frames, spectrogram and player, with words and its name below."""
    name = tag('p', text(clip.name), {'class': 'faint name', 'dir': 'auto'})
    media = ''.join(chain(_frames(clip), _sound(clip)))
    caption = tag('figcaption', words + name)
    return tag('figure', media + caption, {'class': f'card {kind}'.strip()})


def _frames(clip: ClipCard) -> Iterator[str]:
    if not len(clip.frames):
        yield tag('p', 'no picture', {'class': 'missing'})
        return
    places = np.linspace(0, len(clip.frames) - 1, SHOWN_FRAMES).round().astype(int)
    chosen = [clip.frames[i] for i in dict.fromkeys(places.tolist())]
    images = (
        frame_image(frame, f'frame {i} of {len(chosen)} of {clip.name}')
        for i, frame in enumerate(chosen, 1)
    )
    yield tag('div', ''.join(images), {'class': 'frames'})


def _sound(clip: ClipCard) -> Iterator[str]:
    if clip.waveform is None or not len(clip.waveform):
        yield tag('p', 'no sound', {'class': 'missing'})
        return
    sound = clip.waveform[: round(SHOWN_SECONDS * clip.rate)]
    seconds = f'{len(sound) / clip.rate:.1f} s'
    yield spectrogram_image(sound, clip.rate, f'spectrogram of {clip.name}, {seconds}')
    yield player(sound, clip.rate, f'sound of {clip.name}, {seconds}')
    if len(sound) < len(clip.waveform):
        whole = f'{len(clip.waveform) / clip.rate:.1f} s'
        yield tag('p', f'the first {seconds} of {whole}', FAINT)
