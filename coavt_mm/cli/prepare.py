"""Manifests from official lists and own folders: ``coavt prepare``."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from coavt_mm.cli.commands import Command, Group, add_fields, add_ray, check_ray
from coavt_mm.demo import Settings
from coavt_mm.errors import ConfigError
from coavt_mm.preparation.settings import PROBLEMS, SOUNDS, UNUSABLE

if TYPE_CHECKING:
    from coavt_mm.preparation.layouts import ClipIndex, FolderIndex
    from coavt_mm.preparation.preparing import Splits
    from coavt_mm.preparation.sources import ListedClip

REPORT = (
    '\n\nEvery clip is checked, and becomes a row of a manifest (JSON lines) or a\n'
    'line of the report. A stopped run goes on where it was when started again.'
)


def _add_arguments(parser: ArgumentParser, out_dir: str) -> None:
    """Add what every command that checks clips takes.

    Args:
        parser: The command's.
        out_dir: Default of --out.
    """
    parser.add_argument(
        '--clips',
        nargs='+',
        required=True,
        metavar='DIR',
        help='folders with the files, searched with all below them',
    )
    parser.add_argument('--out', default=out_dir, help='folder for the manifests')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes that check'
    )
    add_ray(parser)
    _add_checks(parser)


def _add_checks(parser: ArgumentParser) -> None:
    """Add what clips are checked for."""
    parser.add_argument(
        '--drop',
        nargs='+',
        default=[],
        choices=[name for name in (*PROBLEMS, *SOUNDS) if name not in UNUSABLE],
        help='leave out clips with these problems too',
    )
    parser.add_argument(
        '--min-seconds',
        type=float,
        default=1.0,
        help='shorter clips are left out, in s',
    )
    parser.add_argument(
        '--silence-dbfs',
        type=float,
        default=-60.0,
        help='a peak below this level is silence, dB relative to full scale',
    )
    parser.add_argument(
        '--check-sound',
        metavar='CHECKPOINT',
        help='a model that compares sound with picture: name clips whose sound is '
        'another one or shifted',
    )
    parser.add_argument(
        '--headers-only',
        action='store_true',
        help='do not decode: faster, but finds neither damage nor silence',
    )


def read_lists(
    paths: Sequence[str],
    read: Callable[[str], list['ListedClip']],
    prefix: str = '',
    suffix: str = '',
) -> 'Splits':
    """Read lists, each of a split that bears the file's name.

    Args:
        paths: The files.
        read: Reads one.
        prefix: Beginning of the names to leave out.
        suffix: End of the names to leave out.

    Raises:
        ConfigError: Two have the same name.
    """
    splits: dict[str, list[ListedClip]] = {}
    for path in paths:
        name = Path(path).stem.removeprefix(prefix).removesuffix(suffix)
        if name in splits:
            raise ConfigError(f"two of the lists are of a split '{name}'; rename one")
        splits[name] = read(path)
    return splits


def run(
    args: Namespace,
    splits: 'Splits',
    dataset: str,
    classes: Sequence[str] | None = None,
    index: 'ClipIndex | FolderIndex | None' = None,
    notes: Sequence[str] = (),
) -> None:
    """Prepare as the options say, and print what became of the list.

    Args:
        args: Of a parser with ``_add_arguments``.
        splits: Name of a split -> its listed clips.
        dataset: Name of the data set.
        classes: Class names, for the sidecars.
        index: Where the files are. Default: they are looked for by the ids of the
            recordings.
        notes: Lines for the report.
    """
    check_ray(args)
    if set(args.drop) & set(SOUNDS) and not args.check_sound:
        raise ConfigError(
            f'--drop {args.drop[0]}: only a model finds that, give --check-sound'
        )
    if args.check_sound:
        from coavt_mm.cli.checks import check_checkpoint

        check_checkpoint(args.check_sound)
    from coavt_mm.preparation import ClipIndex, prepare
    from coavt_mm.preparation.report import one_line_per_split

    if index is None:
        wanted = (clip.source for clips in splits.values() for clip in clips)
        index = ClipIndex(args.clips, wanted)
    report = prepare(
        splits,
        index,
        args.out,
        dataset=dataset,
        classes=classes,
        notes=notes,
        drop=args.drop,
        workers=args.workers,
        ray_address=args.ray,
        sound_model=args.check_sound,
        min_seconds=args.min_seconds,
        silence_dbfs=args.silence_dbfs,
        decode=not args.headers_only,
    )
    print(one_line_per_split(report))
    print(f'report: {os.path.join(args.out, "report.md")} and report.json')


def _add_audiocaps(parser: ArgumentParser) -> None:
    _add_arguments(parser, 'data/audiocaps')
    parser.add_argument(
        'csv', nargs='+', help='train.csv, val.csv, test.csv; each gives a manifest'
    )
    parser.add_argument(
        '--field',
        default='captions',
        choices=['captions', 'audio_captions'],
        help='match the captions with sound and picture, or with the sound alone',
    )


def _audiocaps(args: Namespace) -> None:
    from coavt_mm.preparation import read_audiocaps

    splits = read_lists(args.csv, lambda path: read_audiocaps(path, args.field))
    run(args, splits, 'audiocaps')


def _add_audioset(parser: ArgumentParser) -> None:
    _add_arguments(parser, 'data/audioset')
    parser.add_argument(
        'csv',
        nargs='+',
        help='balanced_train_segments.csv, unbalanced_train_segments.csv, '
        'eval_segments.csv; each gives a manifest, such as balanced_train.jsonl',
    )


def _audioset(args: Namespace) -> None:
    from coavt_mm.datasets.labels import class_names
    from coavt_mm.preparation import read_audioset

    splits = read_lists(args.csv, read_audioset, suffix='_segments')
    run(args, splits, 'audioset', class_names('audioset'))


def _add_folder(parser: ArgumentParser) -> None:
    _add_arguments(parser, 'data/own')
    parser.add_argument(
        '--csv',
        metavar='TABLE',
        help='csv or xlsx as spreadsheet programs save them, with a header and columns '
        'clip (the file, with or without its suffix) '
        'and any of start, end (s), caption, audio_caption, visual_caption, label, '
        'split; several rows may be of one clip. Default: all files, without text',
    )
    parser.add_argument('--name', default='own', help='name of the data set')


def _folder(args: Namespace) -> None:
    from coavt_mm.preparation import FolderIndex, ListedClip, read_folder_csv

    index = FolderIndex(args.clips)
    if args.csv:
        splits = read_folder_csv(args.csv)
    else:
        splits = dict(all=[ListedClip(name) for name in index.names()])
    labels = {x for clips in splits.values() for c in clips for x in c.labels}
    run(args, splits, args.name, sorted(labels), index)


def _add_valor(parser: ArgumentParser) -> None:
    _add_arguments(parser, 'data/valor')
    parser.add_argument(
        'json',
        nargs='+',
        help='desc_train.json, desc_val.json, desc_test.json; each gives a manifest, '
        'such as train.jsonl',
    )


def _valor(args: Namespace) -> None:
    from coavt_mm.preparation import read_valor

    run(args, read_lists(args.json, read_valor, prefix='desc_'), 'valor')


def _add_vggsound(parser: ArgumentParser) -> None:
    _add_arguments(parser, 'data/vggsound')
    parser.add_argument('csv', help='vggsound.csv: id, start (s), label, split')
    parser.add_argument(
        '--val-clips',
        type=int,
        metavar='N',
        help='clips to cut from the training list for val.jsonl, by recording; 0 cuts '
        'none; default: 2000, and at most a tenth of the list',
    )


def _vggsound(args: Namespace) -> None:
    from coavt_mm.datasets.labels import class_names
    from coavt_mm.preparation import read_vggsound
    from coavt_mm.preparation.validation import cut_validation

    listed = read_vggsound(args.csv)
    number = args.val_clips
    if number is None:
        number = min(2000, len(listed['train']) // 10)
    notes = []
    if number > 0:
        listed['train'], listed['val'] = cut_validation(listed['train'], number)
        notes.append(
            f'val: {len(listed["val"])} clips were cut from the training list by '
            'recording, in the order of a hash: the same ones each time'
        )
    splits = {name: clips for name, clips in listed.items() if clips}
    run(args, splits, 'vggsound', class_names('vggsound'), notes=notes)


def _add_shapes(parser: ArgumentParser) -> None:
    parser.add_argument('out_dir', help='folder to write to')
    add_fields(parser, fields(Settings))
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes that render'
    )


def _shapes(args: Namespace) -> None:
    from coavt_mm.demo import make_sounding_shapes

    options = dict(vars(args))
    out_dir, workers = options.pop('out_dir'), options.pop('workers')
    rendered = make_sounding_shapes(out_dir, Settings(**options), workers)
    print(f'{out_dir}: complete, {rendered} clips rendered now')


COMMANDS = {
    'folder': Command(
        'Make manifests of your own clips: a folder, and perhaps a table of texts.'
        + REPORT,
        _add_folder,
        _folder,
        ('coavt prepare folder --clips my_clips --csv texts.csv --out data/mine',),
    ),
    'vggsound': Command(
        'Make manifests of VGGSound from its csv and a folder of clips.' + REPORT,
        _add_vggsound,
        _vggsound,
        ('coavt prepare vggsound vggsound.csv --clips /data/vggsound',),
    ),
    'audioset': Command(
        'Make manifests of AudioSet from its segments csv files and folders of clips.'
        + REPORT,
        _add_audioset,
        _audioset,
        (
            'coavt prepare audioset balanced_train_segments.csv eval_segments.csv '
            '--clips /data/audioset',
        ),
    ),
    'audiocaps': Command(
        'Make manifests of AudioCaps from its csv files and folders of clips.' + REPORT,
        _add_audiocaps,
        _audiocaps,
        ('coavt prepare audiocaps train.csv val.csv test.csv --clips /data/audiocaps',),
    ),
    'valor': Command(
        'Make manifests of VALOR-32K or VALOR-1M from json files and folders of clips.'
        + REPORT,
        _add_valor,
        _valor,
        (
            'coavt prepare valor desc_train.json desc_val.json desc_test.json '
            '--clips /data/valor',
        ),
    ),
    'sounding-shapes': Command(
        'Render the demo data, Sounding Shapes.',
        _add_shapes,
        _shapes,
        ('coavt prepare sounding-shapes data/sounding_shapes --workers 2',),
    ),
}
prepare = Group('Make manifests of a data set, or of your own clips.', COMMANDS)
