"""Bring an index up to date: vectors to the disk first, then the catalogue.

Letters: n windows, F frames, Q queries, E projected width.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.apis.inputs import check_number
from coavt_mm.errors import DatasetMissingError, InputError, SearchError
from coavt_mm.search.index import Index
from coavt_mm.search.reading import Embedded, embedded
from coavt_mm.search.scanning import Plan, Source, make_plan, sources
from coavt_mm.search.stored import making_sense
from coavt_mm.streams import STREAMS


@dataclass
class Report:
    """What was done to an index.

    Attributes:
        new, changed, moved, gone, unchanged, failed: Clips.
        windows: Windows that were embedded.
        errors: Path -> why a clip could not be read.
    """

    new: int = 0
    changed: int = 0
    moved: int = 0
    gone: int = 0
    unchanged: int = 0
    failed: int = 0
    windows: int = 0
    errors: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        named = [f.name for f in fields(self) if f.name not in ('windows', 'errors')]
        counts = [f'{getattr(self, name):,} {name}' for name in named]
        return f'{", ".join(counts)}; {self.windows:,} windows embedded'


def first_vector(features: np.ndarray) -> np.ndarray:
    """The one vector (E,) that stands for a window at first: the mean of all.

    Args:
        features: (F, Q, E).
    """
    mean = features.mean((0, 1), dtype=np.float32)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def add(
    index: Index,
    model: CoAVTInferencer,
    places: Sequence[str | Path],
    labels: Mapping[str, Sequence[str]],
    batch_size: int,
    workers: int,
    on_plan: Callable[[Plan], None],
    on_clip: Callable[[dict], None],
    embed: Callable[..., Iterator[Embedded]] | None = None,
) -> Report:
    """Do what :meth:`Index.add` says, while no other process writes."""
    check_number('batch_size', batch_size, 1)
    check_number('workers', workers, 1)
    with making_sense(index.folder):
        known, listed = _listed(index, places, labels)
        plan = make_plan(index.catalogue, known, listed)
    on_plan(plan)
    report = Report(unchanged=plan.unchanged, moved=len(plan.moved))
    note = index.catalogue.begin('add')
    report.gone = len(plan.gone)
    _write_what_is_known(index, plan)
    hop = index.settings['hop']
    hop = hop if hop < index.settings['seconds'] else None
    found = (embed or embedded)(model, plan.embed, batch_size, workers, hop)
    for batch in _batches(found, batch_size):
        _commit(index, batch, note)
        for clip in batch:
            _count(report, clip)
            on_clip(clip.answer)
    index.catalogue.end(note)
    index.store.prepare()
    return report


def _listed(
    index: Index, given: Sequence[str | Path], labels: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[Source]]:
    """Places that are looked at, and what is there, each clip once."""
    places = [os.path.abspath(os.path.expanduser(place)) for place in given]
    here = list(given)
    if not given:
        query = 'SELECT DISTINCT place, place = path FROM clips'
        live = {
            row[0] for row in index.catalogue.rows(f"{query} WHERE state != 'removed'")
        }
        rows = [
            row
            for row in index.catalogue.rows(query)
            if row[0] in live or os.path.exists(row[0])  # all of it was taken out
        ]
        if not rows:
            raise InputError(f'{index.folder}: name a folder, none is known yet')
        places = [os.fsdecode(place) for place, _ in rows]
        # a single file that is gone is no mistake
        here = [p for p, (_, single) in zip(places, rows, strict=True)
                if not single or os.path.exists(p)]  # fmt: skip
    found: dict[Any, Source] = {}
    for place in here:
        try:
            each = sources(place, labels)
        except DatasetMissingError as error:
            if given:
                raise
            raise DatasetMissingError(
                f'{error}; if it has moved, `coavt search add {index.folder} PLACE` '
                'knows the clips again by their content'
            ) from error
        for source in each:
            found.setdefault(source.key, source)
    _check_labels(labels, found.values())
    return places, list(found.values())


def _check_labels(
    labels: Mapping[str, Sequence[str]], listed: Iterable[Source]
) -> None:
    """Say which labels no clip gets."""
    names = {
        os.path.basename(s.path)
        if s.path == s.place
        else os.path.relpath(s.path, s.place)
        for s in (listed if labels else ())
    }
    if lost := [name for name in labels if name not in names]:
        told = (
            f'{len(lost):,} of {len(labels):,} clips with labels are not among those '
            f'that are looked at, such as {lost[0]}; their paths begin in the folder '
            'that is named'
        )
        if len(lost) == len(labels):
            raise InputError(told)
        warnings.warn(told, stacklevel=2)


def _write_what_is_known(index: Index, plan: Plan) -> None:
    """Moved, touched and relabelled clips, and those that are gone."""
    catalogue = index.catalogue
    with catalogue.transaction():
        gone = catalogue.forget_windows(plan.gone)
        for clip in plan.gone:
            catalogue.put_labels(clip, ())
            catalogue.db.execute('DELETE FROM clips WHERE id = ?', (clip,))
        for source, clip in [*plan.moved, *plan.touched]:
            stamp = source.stamp()
            values = (os.fsencode(source.path), os.fsencode(source.sound))
            catalogue.db.execute(
                'UPDATE clips SET path = ?, sound = ?, place = ?, name = ?, '
                'changed = ?, renewed = ?, looked = ? WHERE id = ?',
                (*values, os.fsencode(source.place), source.name, stamp.changed,
                 stamp.renewed, stamp.looked, clip),
            )  # fmt: skip
        for source, clip in plan.relabelled:
            catalogue.put_labels(clip, source.labels)
    index.store.remove(gone)


def _batches(found: Iterable[Embedded], size: int) -> Iterator[list[Embedded]]:
    """Clips of at least so many windows together, which are committed at once."""
    batch: list[Embedded] = []
    windows = 0
    for clip in found:
        batch.append(clip)
        windows += max(1, len(clip.answer['windows']))
        if windows >= size:
            yield batch
            batch, windows = [], 0
    if batch:
        yield batch


def _count(report: Report, clip: Embedded) -> None:
    if 'error' in clip.answer:
        report.failed += 1
        report.errors[clip.source.path] = clip.answer['error']
    elif clip.source.old is None:
        report.new += 1
    else:
        report.changed += 1
    report.windows += len(clip.answer['windows'])


def _commit(index: Index, batch: Sequence[Embedded], note: int) -> None:
    """Vectors to the disk, or to the server; then clips and windows, all or none."""
    catalogue = index.catalogue
    first = catalogue.last_window + 1
    windows = [window for clip in batch for window in clip.answer['windows']]
    _write_vectors(index, windows, first)
    with catalogue.transaction():
        gone = catalogue.forget_windows(
            clip.source.old for clip in batch if clip.source.old is not None
        )
        number = first
        for clip in batch:
            key = catalogue.put_clip(_row(clip), clip.source.labels)
            rows = []
            for window in clip.answer['windows']:
                streams = sum(1 << STREAMS.index(s) for s in window['embeddings'])
                rows.append((number, key, window['start'], window['end'], streams))
                number += 1
            catalogue.db.executemany('INSERT INTO windows VALUES (?,?,?,?,?)', rows)
        catalogue.note(note, len(batch), len(windows))
    index.store.remove(gone)


def _row(clip: Embedded) -> dict[str, Any]:
    source, stamp, error = clip.source, clip.stamp, clip.answer.get('error')
    return dict(
        path=os.fsencode(source.path),
        sound=os.fsencode(source.sound),
        start=source.start,
        end=source.end,
        place=os.fsencode(source.place),
        name=source.name,
        size=stamp and stamp.size,
        changed=stamp and stamp.changed,
        renewed=stamp and stamp.renewed,
        looked=stamp and stamp.looked,
        hash=clip.hash,
        seconds=clip.seconds,
        state='failed' if error else 'there',
        error=error,
    )


def _write_vectors(index: Index, windows: Sequence[dict], first: int) -> None:
    for stream in STREAMS:
        rows = [i for i, window in enumerate(windows) if stream in window['embeddings']]
        if not rows:
            continue
        features = np.stack([windows[i]['embeddings'][stream] for i in rows])
        ids = np.array(rows, np.int64) + first
        _check_shape(index, stream, features.shape[1:3])
        if file := index.features(stream):
            file.append(ids, features)
        vectors = np.stack([first_vector(each) for each in features])
        index.store.add(stream, ids, vectors)


def _check_shape(index: Index, stream: str, shape: Sequence[int]) -> None:
    """All windows of a stream have the shape of the first."""
    shapes = index.shapes
    known = shapes.setdefault(stream, (shape[0], shape[1]))
    if known != tuple(shape):
        raise SearchError(
            f'{index.folder}: windows of stream {stream} have {shape[0]} frames with '
            f'{shape[1]} queries, those before have {known[0]} with {known[1]}: was '
            'the config of the test pipeline changed? Make an index of its own'
        )
    if shapes != index.shapes:
        with index.catalogue.transaction():
            index.catalogue.write_about(shapes=json.dumps(shapes))


def remove(index: Index, paths: Iterable[str | Path]) -> int:
    """Do what :meth:`Index.remove` says, while no other process writes."""
    catalogue = index.catalogue
    clips: dict[int, None] = {}
    for path in paths:
        name = os.fsencode(os.path.abspath(os.path.expanduser(path)))
        below = name.rstrip(b'/') + b'/'
        found = catalogue.ids(
            "SELECT id FROM clips WHERE state != 'removed' AND "
            '(path = ? OR place = ? OR (path >= ? AND path < ?))',
            (name, name, below, below[:-1] + b'0'),  # 0 is what comes behind /
        )
        if not len(found):
            raise SearchError(f'{index.folder}: {path} is no clip of this index')
        clips.update(dict.fromkeys(found.tolist()))
    note = catalogue.begin('remove')
    with catalogue.transaction():
        gone = catalogue.forget_windows(clips)
        query = "UPDATE clips SET state = 'removed', error = NULL WHERE id = ?"
        catalogue.db.executemany(query, [(clip,) for clip in clips])
        catalogue.note(note, len(clips), len(gone))
    index.store.remove(gone)
    catalogue.end(note)
    return len(clips)


def compact(index: Index) -> int:
    """Do what :meth:`Index.compact` says, while no other process writes."""
    before = index.bytes
    catalogue, generation = index.catalogue, index.generation + 1
    note = catalogue.begin('compact')
    live = index.window_ids()
    index.store.compact(live, generation)
    for stream in STREAMS:
        if (file := index.features(stream)) and file.path.exists():
            name = f'{stream}.{generation}.queries'
            file.rewrite(index.folder / name, live)
    with catalogue.transaction():
        catalogue.write_about(generation=str(generation))
        catalogue.db.execute('DELETE FROM tombstones')
    catalogue.end(note)
    catalogue.rows('PRAGMA wal_checkpoint(TRUNCATE)')
    with catalogue.mended():
        catalogue.db.execute('VACUUM')
    index.generation = generation
    index._clear_away()
    index.store.prepare()
    return before - index.bytes
