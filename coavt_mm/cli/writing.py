"""Answers to files: .json, .csv, and .npz for embeddings.

Letters: W windows, F frames, Q queries, E projected width, P texts.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coavt_mm.apis.listing import make_folder
from coavt_mm.errors import InputError
from coavt_mm.streams import STREAMS
from coavt_mm.texts import in_csv

# A name whose bytes are no UTF-8 is written as JSON's own escapes.
ENCODING: dict[str, Any] = dict(encoding='utf-8', errors='backslashreplace')


def check_target(path: str | Path, suffixes: Sequence[str]) -> Path:
    """A file that answers can be written to, found out before they are asked for.

    Args:
        path: The file; its folder is made.
        suffixes: Those that it may have.

    Raises:
        InputError: It has another suffix, or can't be written.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in suffixes:
        raise InputError(f'{path}: answers go to a file *{" or *".join(suffixes)}')
    make_folder(path.parent)
    try:
        _partial(path).touch()
        _partial(path).unlink()
    except OSError as error:
        raise InputError(f'{path}: can not be written ({error.strerror})') from error
    if path.is_dir():
        raise InputError(f'{path}: is a folder')
    return path


def write_answers(answers: Any, path: Path) -> None:
    """Write what a function of this package gave; a file is whole or not there.

    Args:
        answers: A list of dicts, or the dict of :func:`coavt_mm.apis.embed`.
        path: From :func:`check_target`.

    Raises:
        InputError: It can't be written.
    """
    write = {'.json': _write_json, '.csv': _write_csv, '.npz': _write_npz}
    try:
        write[path.suffix.lower()](answers, _partial(path))
        os.replace(_partial(path), path)
    except OSError as error:
        raise InputError(f'{path}: can not be written ({error.strerror})') from error


def _partial(path: Path) -> Path:
    return path.with_name(f'.{path.name}.part')


def _write_json(answers: Any, path: Path) -> None:
    with open(path, 'w', **ENCODING) as file:
        json.dump(
            answers, file, ensure_ascii=False, indent=1, default=np.ndarray.tolist
        )
        file.write('\n')


def _write_csv(answers: list[dict], path: Path) -> None:
    rows = [row for answer in answers for row in flat_rows(answer)]
    names = dict.fromkeys(name for row in rows for name in row if name != 'error')
    with open(path, 'w', newline='', **ENCODING) as file:
        writer = csv.DictWriter(file, [*names, 'error'])
        writer.writeheader()
        writer.writerows({k: in_csv(v) for k, v in row.items()} for row in rows)


def flat_rows(answer: dict) -> Iterator[dict]:
    """A row for each part of an answer: caption, label, text or hit, or its error;
    one for an answer without parts.

    Args:
        answer: Of a clip, or of a query.
    """
    keys = ('clip', 'query', 'unknown_words', 'cut_off')
    head = {key: answer[key] for key in keys if key in answer}
    if 'error' in answer:
        yield dict(head, error=answer['error'])
    elif 'score' in answer:
        yield answer
    for key in ('captions', 'labels', 'texts', 'hits', 'errors'):
        for part in answer.get(key, ()):
            row = head | part
            if words := row.get('unknown_words'):
                row['unknown_words'] = ' '.join(words)
            yield row


def _write_npz(answers: dict, path: Path) -> None:
    """A row for each window in ``clip``, ``start``, ``end`` (s; NaN where the file
    states no length) and AV, A, V (W, F, Q, E), NaN where a window lacks the stream;
    ``text`` (P,) and ``text_embedding`` (P, E); ``failed`` and ``error`` of clips."""
    windows = [dict(w, clip=c['clip']) for c in answers['clips'] for w in c['windows']]
    failed = [clip for clip in answers['clips'] if 'error' in clip]
    ends = [np.nan if w['end'] is None else w['end'] for w in windows]
    arrays: dict[str, Any] = dict(
        clip=np.array([w['clip'] for w in windows], str),
        start=np.array([w['start'] for w in windows], float),
        end=np.array(ends, float),
        text=np.array([text['text'] for text in answers['texts']], str),
        failed=np.array([clip['clip'] for clip in failed], str),
        error=np.array([clip['error'] for clip in failed], str),
    )
    for stream in STREAMS:
        feats = [window['embeddings'].get(stream) for window in windows]
        like = next((x for x in feats if x is not None), None)
        if like is not None:
            empty = np.full_like(like, np.nan)
            arrays[stream] = np.stack([empty if x is None else x for x in feats])
    if answers['texts']:
        feats = [text['embedding'] for text in answers['texts']]
        arrays['text_embedding'] = np.stack(feats)
    with open(path, 'wb') as file:
        np.savez(file, **arrays)
