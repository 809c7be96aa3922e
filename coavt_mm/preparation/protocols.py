"""Named evaluation protocols: which clips a number was measured on.

A protocol resolves to a manifest on disk. Its sidecar names the protocol, the content
hash, clips, captions and missing clips, and where the choice came from; the metrics
print these.
"""

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.logging import print_log

from coavt_mm.datasets.labels import class_names
from coavt_mm.datasets.manifest import (
    content_hash,
    find_manifest,
    iter_manifest,
    iter_rows,
    nearest,
    read_sidecar,
    write_manifest,
)
from coavt_mm.datasets.reading import iter_table, located, read_list
from coavt_mm.errors import ConfigError
from coavt_mm.streams import STREAMS

# '<YouTube id>', perhaps with AudioSet downloaders' Y in front and the start behind
YOUTUBE = re.compile(r'Y?([\w-]{11})(?:_\d+(?:\.\d+)?){0,2}')
OTHER = re.compile(r'(.+?)(?:_\d+\.\d+|_\d{6})(?:_\d+(?:\.\d+)?)?')

CLIPS_PER_CLASS = 5

# Of a protocol's clips; where more are missing there is a warning.
MISSING_SHARE = 0.05

# Columns of a csv that hold ids, the first that is there counts.
ID_COLUMNS = ('youtube_id', 'video_id', 'id')

# VGGSounder's ground truth by a hash of its content, see `release_of`.
VGGSOUNDER_RELEASES = {
    'cbfde11919a1': '1.0',  # 12,014 clips
    'c849325d58da': '1.0+background-music',  # 15,069
    'd914af47e5a7': '0.1.6',  # 12,372
    '0b5241798d9d': '0.1.6+background-music',  # 15,339
    # the package 1.0 has the old lists too, with one label more
    '39f97f6755b3': '0.1.6-of-1.0',
    '3b2c95ea8373': '0.1.6-of-1.0+background-music',
}


@dataclass(frozen=True)
class Protocol:
    """What defines a protocol.

    Args:
        about: One line.
        clips: Clips that the full protocol has.
        needs_list: Whether the clips are those of a published list of ids.
        draws: Class list of which five clips a class are drawn.
        modalities: Of VGGSounder's labels, those kept.
    """

    about: str
    clips: int | None = None
    needs_list: bool = False
    draws: str | None = None
    modalities: Sequence[str] | None = None


PROTOCOLS = {
    'audiocaps-official-975': Protocol('the test csv of AudioCaps 1.0', 975),
    'audiocaps-oncescu-816': Protocol('audio retrieval, Oncescu et al.', 816, True),
    'audiocaps-vast-729': Protocol('the clips that VAST tests on', 729, True),
    'audiocaps-mteb-665': Protocol('the clips that MTEB tests on', 665, True),
    'audiocaps-available': Protocol('what there is of the test csv'),
    'vggsound-test': Protocol('the test rows of vggsound.csv'),
    'audioset-eval': Protocol('eval_segments.csv', 20_371),
    'vggsound-av-5': Protocol('5 test clips a class', 1545, draws='vggsound'),
    'audioset-av-5': Protocol('5 eval clips a class', draws='audioset'),
    'vggsounder': Protocol('all re-labels', modalities=('A', 'V', 'AV')),
    'vggsounder-a': Protocol('re-labels one hears', modalities=('A', 'AV')),
    'vggsounder-v': Protocol('re-labels one sees', modalities=('V', 'AV')),
    'vggsounder-av': Protocol('re-labels one hears and sees', modalities=('AV',)),
}


def recording(clip_id: str) -> str:
    """The recording that a clip is of: its id without start, end and leading Y.

    An id of eleven characters is taken for a YouTube id as it is, whatever underscores
    and digits it has.
    """
    for pattern in (YOUTUBE, OTHER):
        found = pattern.fullmatch(clip_id)
        if found:
            return found[1]
    return clip_id


def read_ids(path: str | Path) -> list[str]:
    """Ids of a list: a manifest (.jsonl), a csv with a column youtube_id, video_id or
    id, or a text file with one id a line.

    Raises:
        ManifestError: A csv without such a column, or with a row without an id.
    """
    path = Path(path).expanduser()
    kind = path.suffix.lower()
    if kind == '.jsonl':
        return [row['sample_id'] for row in iter_manifest(find_manifest(path))]
    if kind != '.csv':
        return read_list(path)

    def check(names: list[str]) -> None:
        if not set(ID_COLUMNS) & set(names):
            raise ValueError(f'no column {", ".join(ID_COLUMNS[:-1])} or id')

    ids = []
    for place, cells in iter_table(path, check):
        name = next(cells[column] for column in ID_COLUMNS if column in cells).strip()
        with located(place):
            if not name:
                raise ValueError('the id is empty')
        ids.append(name)
    return list(dict.fromkeys(ids))


def _rows(path: Path) -> list[tuple[str, dict]]:
    """(id, row as in the file) of a checked manifest."""
    return [(row['sample_id'], written) for written, row in iter_rows(path)]


def _listed(rows: list, wanted: Sequence[str]) -> tuple[list, int]:
    """Rows that a list names, and how many of its ids have none."""
    exact = set(wanted)
    # an id without a start stands for the recording, on either side
    loose = {recording(name): name for name in wanted}
    kept, met = [], set()
    for name, row in rows:
        source = recording(name)
        entry = next((x for x in (name, source) if x in exact), None)
        if entry is None and name == source:
            entry = loose.get(source)
        if entry is not None:
            kept.append((name, row))
            met.add(entry)
    return kept, len(exact - met)


def _draw(rows: list, classes: Sequence[str], seed: int) -> list:
    """The first five clips of each class in an order drawn from the seed.

    The order is that of a hash of seed and id: a clip that is missing changes one pick
    and no other. A clip may stand for several of its classes.
    """
    order = sorted(
        rows, key=lambda row: hashlib.sha256(f'{seed}:{row[0]}'.encode()).digest()
    )
    of_class = defaultdict(list)
    for name, row in order:
        for label in row.get('labels') or ():
            of_class[label].append(name)
    unknown = set(of_class) - set(classes)
    if unknown:
        label = sorted(unknown)[0]
        raise ConfigError(f"label '{label}' is none of the {len(classes)} classes")
    drawn = {name for names in of_class.values() for name in names[:CLIPS_PER_CLASS]}
    return [(name, row) for name, row in rows if name in drawn]


def read_vggsounder(path: str | Path) -> list[tuple[str, str, str]]:
    """(clip id, label, modality) of the rows of VGGSounder's csv.

    Raises:
        ManifestError: A column is missing, or a modality none of A, V, AV.
    """
    names = ('video_id', 'label', 'modality')

    def check(found: list[str]) -> None:
        if not set(names) <= set(found):
            raise ValueError(f'no columns {", ".join(names)}')

    entries = []
    for place, cells in iter_table(path, check):
        video, label, modality = (cells[name].strip() for name in names)
        with located(place):
            if modality not in STREAMS:
                raise ValueError(f'modality {modality!r} is none of A, V, AV')
        entries.append((video, label, modality))
    return entries


def release_of(entries: Sequence[tuple[str, str, str]]) -> str:
    """The release of VGGSounder that a list of labels is of, told by its content.

    Order, further columns and the way the file is written don't count. A list that is
    none of the known ones is named by its hash, 'unknown-0123456789ab'.
    """
    text = '\n'.join('\t'.join(entry) for entry in sorted(entries))
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return VGGSOUNDER_RELEASES.get(digest, f'unknown-{digest}')


def _known_release(entries: Sequence[tuple[str, str, str]], path: str | Path) -> str:
    release = release_of(entries)
    if release not in VGGSOUNDER_RELEASES.values():
        print_log(
            f'{path} holds none of the known releases of VGGSounder: {release}',
            logger='current',
            level=logging.WARNING,
        )
    return release


def _relabel(
    rows: list, entries: Sequence[tuple[str, str, str]], modalities: Sequence[str]
) -> tuple[list, int]:
    """Replace labels by VGGSounder's of some modalities; clips without one are left
    out. Also gives how many of its clips have no row."""
    labels = defaultdict(list)
    for clip, label, modality in entries:
        if modality in modalities:
            labels[clip].append(label)
    kept = [(n, dict(row, labels=labels[n])) for n, row in rows if n in labels]
    return kept, len(labels) - len(kept)


def _missing(protocol: Protocol, known: int | None, clips: int) -> int:
    return known or 0 if protocol.clips is None else max(protocol.clips - clips, 0)


def _named(path: str | Path) -> str:
    return f'{Path(path).name} ({content_hash(Path(path).expanduser())})'


def _checked_ids(name: str, protocol: Protocol, path: str | Path) -> list[str]:
    wanted = list(dict.fromkeys(read_ids(path)))
    # a list of drawn clips may be any; the others are defined by their length
    if protocol.clips and not protocol.draws and len(wanted) != protocol.clips:
        raise ConfigError(
            f'{name} has {protocol.clips} clips, the list {path} has {len(wanted)} ids'
        )
    return wanted


def _select(
    name: str,
    manifest: Path,
    ids: str | Path | None,
    relabels: str | Path | None,
    seed: int,
) -> tuple[str, list, int, str]:
    """Full name of a protocol, its rows, the number of its clips without a row, and
    words that say what the choice was made by."""
    protocol, rows = PROTOCOLS[name], _rows(manifest)
    known = read_sidecar(manifest).get('missing')
    if (ids if protocol.modalities else relabels) is not None:
        option = 'list of ids' if protocol.modalities else 'VGGSounder file'
        raise ConfigError(f'{name} makes no use of a {option}')
    if protocol.modalities:
        if relabels is None:
            raise ConfigError(f'{name} needs the file vggsounder.csv (--relabels)')
        entries = read_vggsounder(relabels)
        kept, missing = _relabel(rows, entries, protocol.modalities)
        full_name = f'{name}-{_known_release(entries, relabels)}'
        return full_name, kept, missing, f', labels of {_named(relabels)}'
    if ids is not None:
        kept, missing = _listed(rows, _checked_ids(name, protocol, ids))
        return name, kept, missing, f', list {_named(ids)}'
    if protocol.needs_list:
        raise ConfigError(f'{name} needs the list of its {protocol.clips} ids (--ids)')
    if protocol.draws:
        kept = _draw(rows, class_names(protocol.draws), seed)
        missing = _missing(protocol, known, len(kept))
        return name, kept, missing, f', drawn with seed {seed}'
    return name, rows, _missing(protocol, known, len(rows)), ''


def make_protocol(
    name: str,
    manifest: str | Path,
    out: str | Path | None = None,
    ids: str | Path | None = None,
    relabels: str | Path | None = None,
    seed: int = 0,
) -> dict:
    """Write the manifest of a protocol.

    Args:
        name: One of ``PROTOCOLS``.
        manifest: Manifest of the whole test set, from a prepare tool.
        out: Where to. Default: ``<name>.jsonl`` beside it.
        ids: The list of ids, see ``read_ids``.
        relabels: vggsounder.csv.
        seed: Of the draw of five clips a class.

    Returns:
        The sidecar: protocol (VGGSounder's with its release, see ``release_of``), hash,
        clips, captions, missing, source, classes.

    Raises:
        ConfigError: The name is unknown, a list is needed, or its length is wrong.
    """
    if name not in PROTOCOLS:
        hint = nearest(name, list(PROTOCOLS)) or f'; there is {", ".join(PROTOCOLS)}'
        raise ConfigError(f"protocol '{name}' is unknown{hint}")
    protocol, manifest = PROTOCOLS[name], find_manifest(manifest)
    full_name, kept, missing, choice = _select(name, manifest, ids, relabels, seed)
    source = f'{manifest.name} ({content_hash(manifest)}){choice}'
    if not kept:
        raise ConfigError(f'{name}: no clip of {manifest} belongs to it')
    if protocol.clips and len(kept) > protocol.clips:
        raise ConfigError(
            f'{name} has {protocol.clips} clips, {manifest} has {len(kept)} of them'
        )
    sidecar = dict(protocol=full_name, missing=missing, source=source)
    classes = read_sidecar(manifest).get('classes')
    if classes:
        sidecar['classes'] = classes
    out = Path(out) if out else manifest.with_name(f'{name}.jsonl')
    if out.absolute() == manifest.absolute():
        raise ConfigError(f'{out} would overwrite the manifest it comes from')
    out.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(out, [row for _, row in kept], sidecar)
    _warn_of_missing(full_name, len(kept), missing)
    return read_sidecar(out)


def _warn_of_missing(name: str, clips: int, missing: int) -> None:
    """Say it where a protocol's name promises more than is there."""
    if missing > MISSING_SHARE * (clips + missing):
        print_log(
            f'{name}: ONLY {clips} OF {clips + missing} CLIPS ARE THERE, {missing} are '
            'missing. Numbers of these do not compare with those of the whole protocol',
            logger='current',
            level=logging.WARNING,
        )
