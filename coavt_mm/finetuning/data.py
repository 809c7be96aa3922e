"""From a folder and a spreadsheet to the manifests of training, validation and test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from coavt_mm.datasets.folders import PICTURE_SUFFIXES
from coavt_mm.datasets.manifest import iter_rows, write_manifest
from coavt_mm.errors import ConfigError, DatasetMissingError, ManifestError
from coavt_mm.finetuning.splitting import (
    NAMES,
    SPLITS,
    check_splits,
    keys_of,
    split_rows,
)
from coavt_mm.preparation.journal import read_journal
from coavt_mm.preparation.layouts import FolderIndex
from coavt_mm.preparation.preparing import JOURNAL, prepare
from coavt_mm.preparation.settings import UNUSABLE
from coavt_mm.preparation.sources import ListedClip, read_folder_csv
from coavt_mm.streams import CAPTION_FIELDS, STREAMS, available

#: From so many clips on, files of their own are slower to read than shards.
MANY = 20_000
FEWEST = 20  # clips in all
FEWEST_OF_SPLIT = 2


@dataclass(frozen=True)
class OwnData:
    """What there is to train on.

    Args:
        root: Folder with train.jsonl, val.jsonl and test.jsonl.
        rows: Split -> rows, as in the files.
        stream: The fullest that a clip has.
        seconds: Half of the clips are longer.
        classes: Names of the labels, if these are learnt.
        notes: What to know of it, in sentences.
    """

    root: Path
    rows: Mapping[str, Sequence[dict]]
    stream: str
    seconds: float
    classes: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=list)

    @property
    def caption_fields(self) -> list[str]:
        """Those that have captions in training."""
        return [f for f in CAPTION_FIELDS if any(r.get(f) for r in self.rows['train'])]

    def captions(self, split: str) -> list[str]:
        """All captions of a split."""
        return [
            text
            for row in self.rows[split]
            for name in CAPTION_FIELDS
            for text in row.get(name) or ()
        ]

    @property
    def task(self) -> str:
        """How classes are told: one of a clip, or any number."""
        rows = (row for split in self.rows.values() for row in split)
        single = all(len(row.get('labels') or ()) == 1 for row in rows)
        return 'single_label' if single else 'multi_label'


def prepare_own(
    folders: Sequence[str], table: str, root: Path, labels: bool, workers: int
) -> OwnData:
    """Check the clips of a list, split them, write manifests.

    Args:
        folders: With the clips.
        table: Spreadsheet with their captions or labels, see ``read_folder_csv``.
        root: Where the manifests go.
        labels: Whether labels are learnt, and not captions.
        workers: Processes that check.

    Raises:
        CoAVTError: The list, the clips or the splits are not fit to train on.
    """
    listed = _listed(table, labels)
    classes = sorted({x for own in listed.values() for c in own for x in c.labels})
    if labels and len(classes) < 2:
        raise ManifestError(f'{table}: all clips have the label {classes[0]!r}')
    index = FolderIndex(folders)
    _check_found(listed, index, table)
    report = prepare(
        listed,
        index,
        root,
        dataset='own',
        classes=classes if labels else None,
        workers=workers,
    )
    recordings = {c.clip_id: c.recording for own in listed.values() for c in own}
    lost = _lost(report, root)
    rows = {name: [r for r, _ in iter_rows(root / f'{name}.jsonl')] for name in listed}
    _check_sizes(rows, root, lost)
    splits = _split(rows, root, not labels, recordings)
    for name, own in splits.items():
        about: dict[str, Any] = dict(protocol=f'own-{name}', missing=0)
        if labels:
            about['classes'] = classes
        write_manifest(root / f'{name}.jsonl', own, about)
    return OwnData(
        root,
        splits,
        _stream(report, splits),
        _seconds(root / JOURNAL),
        classes if labels else (),
        [
            *lost,
            *_unlisted(index, listed),
            *_odd_labels(splits, classes),
            *_many(splits, root),
        ],
    )


def _listed(table: str, labels: bool) -> dict[str, list[ListedClip]]:
    """The clips of the list by split, each with what is to be learnt of it."""
    listed: dict[str, list[ListedClip]] = {}
    for name, clips in read_folder_csv(table).items():
        split = NAMES.get(name.casefold(), name.casefold())
        listed.setdefault(split, []).extend(clips)
    if set(listed) != {'all'} and not {'train'} <= set(listed) <= {*SPLITS}:
        raise ManifestError(
            f'{table}: its column "split" has {", ".join(sorted(listed))} (all: empty '
            'cells); it must have train, and may have val and test, or be left out'
        )
    what = 'label' if labels else 'caption'
    texts = ('labels',) if labels else tuple(CAPTION_FIELDS)
    for clip in (clip for own in listed.values() for clip in own):
        for key in CAPTION_FIELDS:  # a row that is there twice
            setattr(clip, key, [*dict.fromkeys(getattr(clip, key))])
    bare = [c.clip_id for own in listed.values() for c in own
            if not any(getattr(c, key) for key in texts)]  # fmt: skip
    if bare:
        raise ManifestError(
            f'{table}: {len(bare)} clips have no {what}, the first is {bare[0]}; fill '
            f'the column "{what}", or take them out'
        )
    return listed


def _check_found(
    listed: Mapping[str, Sequence[ListedClip]], index: FolderIndex, table: str
) -> None:
    names = [clip.source for own in listed.values() for clip in own]
    if any(index.find(ListedClip(name)) for name in names):
        return
    cure = 'paths start from the folder, the working directory or the root'
    if names[0].lower().endswith(PICTURE_SUFFIXES):
        cure = 'a picture becomes a clip by `ffmpeg -loop 1 -i a.jpg -t 2 a.mp4`'
    where = ', '.join(index.folders)
    raise DatasetMissingError(
        f'{table}: not one of its {len(names)} clips is below {where}, the first is '
        f'{names[0]!r}; {cure}'
    )


def _check_sizes(rows: Mapping[str, Sequence], root: Path, lost: Sequence[str]) -> None:
    clips = sum(map(len, rows.values()))
    if clips < FEWEST:
        few = f'{clips} clips are too few to learn from; {FEWEST} is the least'
        raise ConfigError('; '.join([few, *lost]))
    for name, own in rows.items():
        if len(own) < FEWEST_OF_SPLIT:
            raise ConfigError(
                f'the split {name} of the list has {len(own)} clips that can be used, '
                f'and needs {FEWEST_OF_SPLIT} at least; see {root}/report.md'
            )


def _split(
    rows: Mapping[str, list[dict]],
    root: Path,
    captions: bool,
    recordings: Mapping[str, str],
) -> dict[str, list[dict]]:
    """The splits of the list, checked; those that it lacks are drawn."""
    every = [row for own in rows.values() for row in own]  # bytes are compared over all
    found = iter(keys_of(every, root, captions, recordings))
    keys = {name: [next(found) for _ in own] for name, own in rows.items()}
    check_splits(rows, keys)
    source = 'all' if 'all' in rows else 'train'
    wanted = [name for name in ('test', 'val') if name not in rows]
    drawn = split_rows(rows[source], keys[source], wanted, labels=not captions)
    return {name: [*(drawn.get(name) or rows[name])] for name in SPLITS}


def _stream(report: Mapping, splits: Mapping[str, Sequence[dict]]) -> str:
    """What both training and test have most clips of; AV from half as many on."""
    lacking = {
        problem: {clip for own in report['splits'].values()
                  for clip in own['problems'].get(problem, ())}
        for problem in ('no_sound', 'no_picture')
    }  # fmt: skip

    def counted(rows: Sequence[dict]) -> dict[str, int]:
        there = [available(row['id'] not in lacking['no_sound'],
                           row['id'] not in lacking['no_picture'])
                 for row in rows]  # fmt: skip
        return {stream: sum(own[stream] for own in there) for stream in STREAMS}

    train, test = counted(splits['train']), counted(splits['test'])
    both = {stream: min(train[stream], test[stream]) for stream in STREAMS}
    most = max(STREAMS, key=lambda stream: both[stream])
    if not both[most]:
        raise ConfigError('clips of training and test have nothing in common: sound '
                          'alone there, pictures alone here')  # fmt: skip
    return 'AV' if 2 * both['AV'] >= both[most] else most


def _seconds(journal: Path) -> float:
    lengths = [
        (result.get('end') or result['seconds']) - result['start']
        for result in read_journal(journal).values()
        if 'hash' in result and result.get('seconds')
    ]
    return median(lengths) if lengths else 0.0


def _lost(report: Mapping, root: Path) -> list[str]:
    """Clips of the list that nothing can be learnt from."""
    splits = report['splits'].values()
    listed, written = (sum(s[key] for s in splits) for key in ('listed', 'written'))
    if not written:
        raise ConfigError(
            f'not one of the {listed} clips can be used; see {root}/report.md'
        )
    if written == listed:
        return []
    counts = {name: sum(len(s['problems'].get(name, ())) for s in splits)
              for name in UNUSABLE}  # fmt: skip
    why = ', '.join(f'{n} {name.replace("_", " ")}' for name, n in counts.items() if n)
    return [
        f'{listed - written} of {listed} listed clips can not be used ({why}); which: '
        f'{root / "report.md"}'
    ]


def _odd_labels(
    splits: Mapping[str, Sequence[dict]], classes: Sequence[str]
) -> list[str]:
    notes = []
    learnt = {label for row in splits['train'] for label in row.get('labels') or ()}
    if classes and (never := sorted({*classes} - learnt)):
        notes.append(f'labels that no clip of training has: {", ".join(never)}')
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(' '.join(name.casefold().split()), []).append(name)
    notes += [
        f'{" and ".join(map(repr, names))} are taken for different labels'
        for names in alike.values()
        if len(names) > 1
    ]
    return notes


def _unlisted(
    index: FolderIndex, listed: Mapping[str, Sequence[ListedClip]]
) -> list[str]:
    found = {tuple(index.find(ListedClip(name)) or ()) for name in index.names()}
    clips = (clip for own in listed.values() for clip in own)
    named = {tuple(index.find(clip) or ()) for clip in clips}
    more = len(found - named - {()})
    return [f'{more} more clips in the folder are not in the list'] if more else []


def _many(rows: Mapping[str, Sequence], root: Path) -> list[str]:
    clips = len(rows['train'])
    if clips < MANY:
        return []
    return [
        f'{clips} clips are many to read from single files: make shards with '
        f'`coavt shards {root / "train.jsonl"} {root / "shards/train"}`, and train '
        'from these (docs/shards.md)'
    ]
