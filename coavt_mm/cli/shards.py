"""Shards of clips that are decoded already: ``coavt shards``."""

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from dataclasses import fields
from pathlib import Path

from coavt_mm.cli.commands import Command, add_fields, add_ray, check_ray
from coavt_mm.errors import shown
from coavt_mm.preparation.settings import Settings


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument('manifest', nargs='?', help='clips to pack, JSON lines')
    parser.add_argument('out_dir', help='folder of the shards and their index')
    parser.add_argument('--data-root', default='', help='where its paths start from')
    parser.add_argument('--per-shard', type=int, default=256, help='clips of a shard')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes on this machine'
    )
    add_ray(parser)
    parser.add_argument(
        '--verify', action='store_true', help='only compare shards with checksums'
    )
    add_fields(parser, fields(Settings))


def _check(args: Namespace) -> str | None:
    if not args.verify and args.manifest is None:
        return 'a manifest and a folder are needed'
    return None


class Progress:
    """A line for each shard: clips so far, failures, and the time that is left."""

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.shards = self.clips = self.failed = 0

    def __call__(self, report: dict, total: int) -> None:
        """Print the line of a shard.

        Args:
            report: Of the shard.
            total: How many there will be.
        """
        self.shards += 1
        self.clips += report['shard']['samples']
        self.failed += len(report['failed'])
        seconds = time.monotonic() - self.begin
        left = round(seconds / self.shards * (total - self.shards))
        print(
            f'{self.shards}/{total} shards, {self.clips} clips, {self.failed} failed, '
            f'{self.clips / max(seconds, 1e-3):.1f} clips/s, '
            f'{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left',
            flush=True,
        )


def _verify(out_dir: str) -> None:
    from coavt_mm.preparation.shards import verify

    wrong = verify(out_dir)
    print('\n'.join(wrong) if wrong else f'{out_dir}: all shards equal their checksums')
    sys.exit(1 if wrong else 0)


def _run(args: Namespace) -> None:
    if args.verify:
        _verify(args.out_dir)
    check_ray(args)
    from coavt_mm.datasets.manifest import find_manifest

    find_manifest(args.manifest)

    from coavt_mm.preparation.shards import make_shards

    header = make_shards(
        args.manifest,
        args.out_dir,
        args.data_root,
        settings=Settings(**{f.name: getattr(args, f.name) for f in fields(Settings)}),
        per_shard=args.per_shard,
        workers=args.workers,
        ray_address=args.ray,
        on_report=Progress(),
    )
    failed = header['failed']
    for clip in failed:
        print(shown(f'failed: {clip["id"]}: {clip["reason"]}'))
    written = sum(shard['samples'] for shard in header['shards'])
    size = sum(shard['bytes'] for shard in header['shards']) / 1e6
    print(
        f'{Path(args.out_dir) / "index.jsonl"}: {written} clips in '
        f'{len(header["shards"])} shards, {size:.1f} MB; {len(failed)} failed'
    )


shards = Command(
    'Pack the clips of a manifest into shards: frames as JPEG, sound as FLAC.\n\n'
    'The shards are WebDataset archives. A stopped run goes on where it was when\n'
    'started again.',
    _add_arguments,
    _run,
    (
        'coavt shards data/vggsound/train.jsonl data/vggsound_shards/train '
        '--data-root data/vggsound --workers 16',
        'coavt shards --verify data/vggsound_shards/train',
    ),
    _check,
)
