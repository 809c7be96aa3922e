"""Which clips are there, and what has become of those that an index knows."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from coavt_mm.apis.listing import is_address, is_manifest
from coavt_mm.datasets.folders import MEDIA_SUFFIXES, media_files
from coavt_mm.datasets.manifest import content_hash, find_manifest, iter_manifest
from coavt_mm.errors import DatasetMissingError, InputError
from coavt_mm.search.catalogue import Catalogue

# A file that was changed so shortly (ns) before it was looked at may have been changed
# again since, within a tick of the file system's clock.
TICK = 2_000_000_000

Key = tuple[bytes, bytes, float | None, float | None]


@dataclass(frozen=True)
class Stamp:
    """How a clip's files looked.

    Args:
        size: Bytes of both.
        changed: When the later one's content was, in ns; anyone can set it.
        renewed: When the later one was last written, renamed or put here, in ns.
        looked: When that was read, in ns.
    """

    size: int
    changed: int
    renewed: int
    looked: int

    def equals(self, row: Mapping[str, Any]) -> bool:
        """Whether a clip of the catalogue is surely as it was."""
        names = ('size', 'changed', 'renewed')
        same = all(getattr(self, name) == row[name] for name in names)
        return same and row['renewed'] < row['looked'] - TICK


@dataclass(frozen=True)
class Source:
    """A clip to index.

    Args:
        path: Absolute, of the picture, or of both.
        place: What it was named by: a folder, a file, or a manifest.
        sound: Absolute, where the sound lies in another file.
        start, end: The span in s; None: from the begin, to the end.
        name: Its id in a manifest.
        labels: Its labels.
        old: Id of the clip in the catalogue that it replaces.
    """

    path: str
    place: str
    sound: str = ''
    start: float | None = None
    end: float | None = None
    name: str | None = None
    labels: tuple[str, ...] = ()
    old: int | None = None

    @property
    def key(self) -> Key:
        """What the catalogue knows it by."""
        return os.fsencode(self.path), os.fsencode(self.sound), self.start, self.end

    @property
    def files(self) -> list[str]:
        """Its files."""
        return [path for path in (self.path, self.sound) if path]

    def stamp(self) -> Stamp:
        """Look at its files.

        Raises:
            OSError: One is missing.
        """
        looked = time.time_ns()
        found = [os.stat(path) for path in self.files]
        size = sum(status.st_size for status in found)
        changed = max(status.st_mtime_ns for status in found)
        renewed = max(status.st_ctime_ns for status in found)
        return Stamp(size, changed, renewed, looked)

    @cached_property
    def hash(self) -> str:
        """Of the content of its files."""
        return '-'.join(content_hash(Path(path)) for path in self.files)


def sources(place: str | Path, labels: Mapping[str, Sequence[str]]) -> list[Source]:
    """List the clips of a folder, file or manifest.

    Args:
        place: Which.
        labels: Labels by path, from the folder on; of a single file by its name.

    Raises:
        InputError: It is an address, no clip, or has none.
        DatasetMissingError: It is not there.
        ManifestError: A row of the manifest is wrong.
    """
    if is_address(place):
        raise InputError(f'{place}: an index is made of files of this machine')
    path = os.path.abspath(os.path.expanduser(place))
    if is_manifest(path):
        return list(_rows(find_manifest(path)))
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise DatasetMissingError(f'{place}: there is no such folder or file')
        own = tuple(labels.get(os.path.basename(path), ()))
        return [Source(path, path, labels=own)]
    found = media_files(path)
    if not found:
        raise InputError(
            f'{place}: the folder has no media file ({", ".join(MEDIA_SUFFIXES)}); if '
            'a disk is not mounted, do that; clips are taken out with `remove`'
        )
    named = {name: tuple(each) for name, each in labels.items()}
    return [
        Source(file, path, labels=named.get(os.path.relpath(file, path), ()))
        for file in found
    ]


def _rows(manifest: Path) -> Iterator[Source]:
    for row in iter_manifest(manifest, manifest.parent):
        picture, sound = row['clip_path'], row['audio_path']
        path, beside = picture or sound, sound if picture and sound != picture else ''
        start = row['start'] or None
        yield Source(
            os.path.abspath(path),
            str(manifest),
            sound=beside and os.path.abspath(beside),
            start=start,
            end=row['end'],
            name=row['sample_id'],
            labels=tuple(row.get('labels') or ()),
        )


@dataclass
class Plan:
    """What has to be done so that an index is up to date.

    Attributes:
        embed: Clips that are new or changed.
        moved: Clips by whose content they are known: (source, id of the clip).
        touched: Clips of which only the time has changed, likewise.
        relabelled: Clips whose labels are others, likewise.
        gone: Ids of clips that are no more.
        unchanged: How many are as they were.
        changed: How many of ``embed`` were known by their path.
    """

    embed: list[Source] = field(default_factory=list)
    moved: list[tuple[Source, int]] = field(default_factory=list)
    touched: list[tuple[Source, int]] = field(default_factory=list)
    relabelled: list[tuple[Source, int]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    unchanged: int = 0
    changed: int = 0


def make_plan(
    catalogue: Catalogue, places: Iterable[str], listed: Iterable[Source]
) -> Plan:
    """Compare what is there with what is known.

    A clip is gone if its file is, and it came with one of the places or lies below it;
    or if a manifest no longer has it. A file that is passed over for want of
    permission is not. One that is met elsewhere, wherever it was, has moved.

    Args:
        catalogue: Of the index.
        places: Absolute; those that were listed.
        listed: What is there, from :func:`sources`.
    """
    plan, new = Plan(), {}
    known = _known(catalogue)
    named = {os.fsencode(place) for place in places}
    below = tuple(place.rstrip(b'/') + b'/' for place in named)
    seen = set()
    for source in listed:
        seen.add(source.key)
        row = known.get(source.key)
        if row is None:
            new[source.key] = source
        else:
            _compare(plan, source, row)
    away = [row for key, row in known.items() if key not in seen]
    lost = [
        row['id']
        for row in away
        if (row['place'] in named or row['path'].startswith(below))
        and row['state'] != 'removed'
        and _is_gone(row, named)
    ]
    moved = _find_moved(plan, new, away, {*lost})
    plan.embed += new.values()
    plan.gone += [id_ for id_ in lost if id_ not in moved]
    return plan


COLUMNS = ('id', 'path', 'sound', 'start', 'end', 'place', 'size', 'changed',
           'renewed', 'looked', 'hash', 'state')  # fmt: skip


def _known(catalogue: Catalogue) -> dict[Key, dict[str, Any]]:
    labels: dict[int, set[str]] = {}
    for clip, label in catalogue.rows('SELECT clip, label FROM labels'):
        labels.setdefault(clip, set()).add(label)
    found = {}
    for values in catalogue.rows(f'SELECT {", ".join(COLUMNS)} FROM clips'):
        row = dict(zip(COLUMNS, values, strict=True))
        row['labels'] = labels.get(row['id'], set())
        found[row['path'], row['sound'], row['start'], row['end']] = row
    return found


def _compare(plan: Plan, source: Source, row: dict[str, Any]) -> None:
    """What to do with a clip that is known by its path."""
    is_named = source.place == source.path  # by itself, so it is wanted
    if row['state'] == 'removed' and not is_named:
        plan.unchanged += 1
        return
    again = is_named and row['state'] != 'there'
    try:
        stamp = source.stamp()
        same = stamp.equals(row)
        is_known = not again and (same or _same_content(source, stamp, row))
    except OSError:  # the model's reader says what is the matter
        is_known = same = False
    if not is_known:
        plan.embed.append(replace(source, old=row['id']))
        plan.changed += 1
        return
    plan.unchanged += 1
    if not same:
        plan.touched.append((source, row['id']))
    if source.labels and set(source.labels) != row['labels']:
        plan.relabelled.append((source, row['id']))


def _same_content(source: Source, stamp: Stamp, row: dict[str, Any]) -> bool:
    return row['size'] == stamp.size and row['hash'] == source.hash


def _is_gone(row: dict[str, Any], named: set[bytes]) -> bool:
    if row['place'] in named and is_manifest(os.fsdecode(row['place'])):
        return True  # it lists what is wanted
    for path in filter(None, (row['path'], row['sound'])):
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # no permission: it may be there
            continue
    return False


def _find_moved(
    plan: Plan, new: dict[Key, Source], away: list[dict[str, Any]], lost: set[int]
) -> set[int]:
    """Take clips whose content is known out of those that are new.

    Args:
        plan: Gets them.
        new: Clips by their keys.
        away: Rows of clips that were not met where they were.
        lost: Ids of those among them whose files are known to be gone.

    Returns:
        Ids of those that were found.
    """
    by_size: dict[tuple, dict[str, list[dict[str, Any]]]] = {}
    for row in away:
        if row['state'] != 'failed':
            span = (row['size'], row['start'], row['end'])
            by_size.setdefault(span, {}).setdefault(row['hash'], []).append(row)
    found = set()
    for key, source in list(new.items() if by_size else ()):
        try:
            alike = by_size.get((source.stamp().size, source.start, source.end))
            rows = alike.get(source.hash, []) if alike else []
        except OSError:
            continue
        while rows:
            row = rows.pop()
            is_named = source.place == source.path  # then it is wanted
            if row['state'] == 'removed' and is_named:
                continue
            if row['id'] in lost or _is_gone(row, set()):
                found.add(row['id'])
                plan.moved.append((source, row['id']))
                if source.labels and set(source.labels) != row['labels']:
                    plan.relabelled.append((source, row['id']))
                del new[key]
                break
    return found
