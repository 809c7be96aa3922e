"""Which clips train, which are watched, which judge: nothing on two sides.

A recording, the bytes of a file and, where captions are learnt, a caption belong to one
split alone.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from coavt_mm.datasets.manifest import content_hash
from coavt_mm.errors import ConfigError, ManifestError
from coavt_mm.streams import CAPTION_FIELDS

SPLITS = ('train', 'val', 'test')
#: Other names that lists give the splits.
NAMES = dict(training='train', valid='val', validation='val', dev='val', testing='test')
#: Share of all clips, fewest and most clips of the splits that don't train.
SHARES = {'test': (0.2, 5, 1000), 'val': (0.1, 3, 500)}
#: Share of all clips that a group may have which is larger than a split should be.
LARGEST = 0.2

Row = dict
Keys = Callable[[Row], Iterable[str]]


def keys_of(
    rows: Sequence[Row],
    data_root: Path,
    captions: bool,
    recordings: Mapping[str, str] | None = None,
) -> list[set[str]]:
    """What no two splits may have in common, for each row.

    Args:
        rows: Of a manifest, as in the file.
        data_root: Folder that their paths start from.
        captions: Whether captions count, as they do unless labels are learnt.
        recordings: Id of a clip -> what its file was cut from, where that is known.
    """
    same = _same_bytes(rows, data_root)
    keys = []
    for row in rows:
        own = {f'file {same[path]}' for path in _paths(row, data_root)}
        if cut_from := (recordings or {}).get(row['id']):
            own.add(f'recording {cut_from}')
        if captions:
            own |= {f'caption "{text}"' for text in _texts(row)}
        keys.append(own)
    return keys


def _paths(row: Row, data_root: Path) -> list[str]:
    named = (row.get('clip'), row.get('audio'))
    return [os.path.realpath(data_root / path) for path in named if path]


def _texts(row: Row) -> set[str]:
    """Captions without what nobody hears: case, spaces, the stop at the end."""
    texts = (text for field in CAPTION_FIELDS for text in row.get(field) or ())
    return {' '.join(text.casefold().split()).rstrip(' .!') for text in texts}


def _same_bytes(rows: Sequence[Row], data_root: Path) -> dict[str, str]:
    """Path -> the first path with the same bytes; unequal sizes aren't read."""
    of_size = defaultdict(list)
    for path in dict.fromkeys(p for row in rows for p in _paths(row, data_root)):
        of_size[os.path.getsize(path)].append(path)
    first: dict[str, str] = {}
    for paths in of_size.values():
        by_hash: dict[str, str] = {}
        for path in paths:
            digest = content_hash(Path(path)) if len(paths) > 1 else path
            first[path] = by_hash.setdefault(digest, path)
    return first


def groups_of(keys: Sequence[set[str]]) -> list[list[int]]:
    """Rows that must stay together, since a chain of common keys connects them."""
    parent = [*range(len(keys))]

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    owner: dict[str, int] = {}
    for index, own in enumerate(keys):
        for key in own:
            parent[root(index)] = root(owner.setdefault(key, index))
    groups = defaultdict(list)
    for index in range(len(keys)):
        groups[root(index)].append(index)
    return [*groups.values()]


def split_rows(
    rows: Sequence[Row],
    keys: Sequence[set[str]],
    wanted: Sequence[str] = ('test', 'val'),
    labels: bool = False,
) -> dict[str, list[Row]]:
    """Draw splits; the same clips are always split alike, in any order, and whether
    they are named from here, from their folder or from the root.

    Args:
        rows: Of a manifest.
        keys: From :func:`keys_of`.
        wanted: Splits to draw; the rest trains.
        labels: Whether every split is to have all labels, as far as there are clips.

    Returns:
        Name -> rows, in their order.

    Raises:
        ConfigError: There are too few clips, or too many belong together.
    """
    named = _names(rows)
    groups = sorted(groups_of(keys), key=lambda group: _draw(named, group))
    kinds = defaultdict(list)
    for group in groups:
        kind = (rows[group[0]].get('labels') or ('',))[0] if labels else ''
        kinds[kind].append(group)
    chosen: dict[int, str] = {}
    for own in kinds.values():
        _choose(own, wanted, chosen, fewest=not labels)
    names = ('train', *wanted)
    splits: dict[str, list[Row]] = {name: [] for name in SPLITS if name in names}
    for index, row in enumerate(rows):
        splits[chosen.get(index, 'train')].append(row)
    told_apart = ({*map(str, own)} if labels else set().union(*map(_texts, own))
                  for own in splits.values())  # fmt: skip
    if any(len(found) < 2 for found in told_apart):
        hint = '; captions of many clips are labels: --labels'
        if labels:
            hint = (
                f'; there are {len(kinds)} labels, and each needs 3 groups to be judged'
            )
        raise ConfigError(
            f'{len(rows)} clips are {len(groups)} groups with no recording or caption '
            'in common, too few to split; give the list a column "split" (train, val, '
            f'test), or more clips{hint}'
        )
    return splits


def _draw(names: Sequence[str], group: Sequence[int]) -> str:
    first = min(names[index] for index in group)
    return hashlib.sha256(first.encode()).hexdigest()


def _names(rows: Sequence[Row]) -> list[str]:
    """Names below the folder that all have in common: however paths are written."""
    parts = [re.split(r'[/\\]', row['id']) for row in rows]
    shared = len(os.path.commonprefix([own[:-1] for own in parts]))
    return ['/'.join(own[shared:]) for own in parts]


def _choose(
    groups: Sequence[Sequence[int]],
    wanted: Sequence[str],
    chosen: dict[int, str],
    fewest: bool,
) -> None:
    """Give groups to the splits until these have their share; one at least is left."""
    total = sum(map(len, groups))
    left = [*groups]
    for name in wanted:
        share, few, most = SHARES[name]
        size = min(max(round(share * total), few if fewest else 1), most)
        taken = 0
        for group in [*left]:
            if len(group) <= size - taken and len(left) > 1:
                chosen.update(dict.fromkeys(group, name))
                left.remove(group)
                taken += len(group)
        smallest = min(left, key=len)
        if not taken and len(left) > 1 and len(smallest) <= total * LARGEST:
            chosen.update(dict.fromkeys(smallest, name))
            left.remove(smallest)


def check_splits(
    splits: Mapping[str, Sequence[Row]], keys: Mapping[str, Sequence[set[str]]]
) -> None:
    """Refuse splits of a list that have something in common.

    Args:
        splits: Name -> rows.
        keys: Name -> what :func:`keys_of` gives for them.

    Raises:
        ManifestError: The message names what is on two sides.
    """
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for name, rows in splits.items():
        for row, own in zip(rows, keys[name], strict=True):
            for key in own:
                sides[key].setdefault(name, row['id'])
    leaks = {key: found for key, found in sides.items() if len(found) > 1}
    if leaks:
        key, found = next(iter(leaks.items()))
        where = ' and '.join(f'{name} ({clip})' for name, clip in found.items())
        raise ManifestError(
            f'{len(leaks)} recordings or captions are in more than one split, so that '
            f'the test would ask what was learnt; the first is {key}: {where}. Put '
            'each into one split, or leave the column out and let them be split'
        )
