"""What the command lines of the prepare tools share."""

import os
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from coavt_mm.errors import ConfigError
from coavt_mm.preparation.checking import PROBLEMS, UNUSABLE
from coavt_mm.preparation.layouts import ClipIndex, FolderIndex
from coavt_mm.preparation.preparing import Splits, prepare
from coavt_mm.preparation.report import one_line_per_split
from coavt_mm.preparation.sources import ListedClip


def make_parser(doc: str, out_dir: str) -> ArgumentParser:
    """A parser with the options of every prepare tool.

    Args:
        doc: The tool's docstring; its first line is shown.
        out_dir: Default of --out.
    """
    parser = ArgumentParser(
        description=doc.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter
    )
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
    parser.add_argument(
        '--drop',
        nargs='+',
        default=[],
        choices=[name for name in PROBLEMS if name not in UNUSABLE],
        help='leave out clips with these problems too',
    )
    parser.add_argument('--min-seconds', type=float, default=1.0, help='in s')
    parser.add_argument(
        '--silence-dbfs',
        type=float,
        default=-60.0,
        help='a peak below this level is silence, dB relative to full scale',
    )
    parser.add_argument(
        '--headers-only',
        action='store_true',
        help='do not decode: faster, but finds neither damage nor silence',
    )
    return parser


def read_lists(
    paths: Sequence[str],
    read: Callable[[str], list[ListedClip]],
    prefix: str = '',
    suffix: str = '',
) -> Splits:
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
    splits: Splits,
    dataset: str,
    classes: Sequence[str] | None = None,
    index: ClipIndex | FolderIndex | None = None,
) -> None:
    """Prepare as the options say, and prints what became of the list.

    Args:
        args: Of a parser from ``make_parser``.
        splits: Name of a split -> its listed clips.
        dataset: Name of the data set.
        classes: Class names, for the sidecars.
        index: Where the files are. Default: they are looked for by the ids of the
            recordings.
    """
    if index is None:
        wanted = (clip.source for clips in splits.values() for clip in clips)
        index = ClipIndex(args.clips, wanted)
    report = prepare(
        splits,
        index,
        args.out,
        dataset=dataset,
        classes=classes,
        drop=args.drop,
        workers=args.workers,
        min_seconds=args.min_seconds,
        silence_dbfs=args.silence_dbfs,
        decode=not args.headers_only,
    )
    print(one_line_per_split(report))
    print(f'report: {os.path.join(args.out, "report.md")} and report.json')
