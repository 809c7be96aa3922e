"""Answers as lines of text."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from coavt_mm.errors import shown


def print_lines(lines: Iterator[str]) -> None:
    """Print lines; what the terminal's encoding lacks is escaped."""
    encoding = sys.stdout.encoding or 'utf-8'
    for line in lines:
        print(shown(line).encode(encoding, 'backslashreplace').decode(encoding))


def errors_of(answers: Sequence[Any]) -> list[str]:
    """What went wrong, a line a clip."""
    found = [answer['error'] for answer in answers if 'error' in answer]
    # each query lacks the same candidates
    return found + [bad['error'] for bad in answers[0].get('errors', ())]


def captions(found: dict) -> Iterator[str]:
    """A caption per stream and window."""
    for part in found['captions']:
        yield f'{_place(found["clip"], part)}  {part["text"]}'


def labels(found: dict) -> Iterator[str]:
    """The best labels, with their probabilities."""
    if found['labels']:
        yield found['clip']
    for label in found['labels']:
        yield f'  {label["score"]:.3f}  {label["label"]}'


def hits(found: dict) -> Iterator[str]:
    """A query, then what was found for it."""
    yield found['query']
    for hit in found['hits']:
        place = _place(hit['candidate'], hit)
        yield f'  {hit["rank"]}. {hit["similarity"]:.3f}  {place}'


def matches(found: dict) -> Iterator[str]:
    """How well each text fits."""
    for text in found['texts']:
        place = _place(found['clip'], text)
        yield f'{text["probability"]:.3f}  {place}  {text["text"]}'


def fits(found: dict) -> Iterator[str]:
    """How well sound and picture fit, and the best shift."""
    if 'score' in found:
        line, shift = f'{found["score"]:.3f}  {found["clip"]}  ', found['shift']
        better = f'{found["best_score"]:.3f} with the sound shifted by '
        yield line + (
            f'no shift: {found["why"]}' if shift is None else f'{better}{-shift:+.2f} s'
        )


def windows(found: dict) -> Iterator[str]:
    """The shape of the features of each window and stream."""
    for window in found['windows']:
        for stream, feats in window['embeddings'].items():
            yield f'{_place(found["clip"], dict(window, stream=stream))}  {feats.shape}'


def drawings(found: dict) -> Iterator[str]:
    """Where the picture is."""
    if 'drawing' in found:
        yield found['drawing']


def _place(name: str, window: dict) -> str:
    end = '' if window['end'] is None else f'{window["end"]:.1f}'
    silent = ', silent' if window.get('silent') else ''
    return f'{name} [{window["start"]:.1f}-{end} s, {window["stream"]}{silent}]'
