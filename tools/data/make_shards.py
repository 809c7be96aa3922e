"""Pack the clips of a manifest into WebDataset shards: frames as JPEG, sound as FLAC.

    python tools/data/make_shards.py data/vggsound/train.jsonl \
        data/vggsound_shards/train --data-root data/vggsound --workers 16
    python tools/data/make_shards.py --verify data/vggsound_shards/train

A stopped run goes on where it was when started again.
"""

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from dataclasses import fields
from pathlib import Path

from coavt_mm.preparation.shards import Settings, make_shards, verify
from coavt_mm.cli.launch import run_tool

KINDS = {'num_frames': int, 'short_side': int, 'quality': int, 'sample_rate': int,
         'seconds': float, 'timeout': float}  # fmt: skip


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('manifest', nargs='?', help='clips to pack, JSON lines')
    parser.add_argument('out_dir', help='folder of the shards and their index')
    parser.add_argument('--data-root', default='', help='where its paths start from')
    parser.add_argument('--per-shard', type=int, default=256, help='clips of a shard')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes on this machine'
    )
    parser.add_argument(
        '--ray', metavar='ADDRESS', help="a Ray cluster instead: 'auto', 'ray://...'"
    )
    parser.add_argument(
        '--verify', action='store_true', help='only compare shards with checksums'
    )
    for option in fields(Settings):
        parser.add_argument(
            f'--{option.name.replace("_", "-")}',
            type=KINDS.get(option.name, str),
            default=option.default,
            help=f'{option.metadata["help"]} (default: {option.default})',
        )
    args = parser.parse_args()
    if not args.verify and args.manifest is None:
        parser.error('a manifest and a folder are needed')
    return args


class Progress:
    """A line for each shard: clips so far, failures, and the time that is left."""

    def __init__(self):
        self.begin = time.monotonic()
        self.shards = self.clips = self.failed = 0

    def __call__(self, report: dict, total: int) -> None:
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


def check(out_dir: str) -> None:
    wrong = verify(out_dir)
    print('\n'.join(wrong) if wrong else f'{out_dir}: all shards equal their checksums')
    sys.exit(1 if wrong else 0)


def main() -> None:
    args = parse_args()
    if args.verify:
        check(args.out_dir)
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
        print(f'failed: {clip["id"]}: {clip["reason"]}')
    written = sum(shard['samples'] for shard in header['shards'])
    size = sum(shard['bytes'] for shard in header['shards']) / 1e6
    print(
        f'{Path(args.out_dir) / "index.jsonl"}: {written} clips in '
        f'{len(header["shards"])} shards, {size:.1f} MB; {len(failed)} failed'
    )


if __name__ == '__main__':
    run_tool(main)
