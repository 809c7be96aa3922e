"""Time the cosine ranks of a large test set, beside the rate of a matrix product.

    OMP_NUM_THREADS=2 python tools/analysis/benchmark_retrieval.py
    python tools/analysis/benchmark_retrieval.py --clips 2000 --captions 10000 --check

Features are drawn: 'steep' ones have a spectrum like those of the demo's model, 'flat'
ones use nearly all axes, 'random' ones resemble nothing. Exits with 1 where ranks are
not those of the plain way.
"""

import json
import sys
from argparse import ArgumentParser, Namespace

from coavt_mm.analysis.retrieval_speed import KINDS, measure, synthetic
from coavt_mm.cli.launch import run_tool


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kind', nargs='+', choices=KINDS, default=['steep'])
    parser.add_argument('--clips', type=int, default=20_000)
    parser.add_argument('--captions', type=int, default=100_000)
    parser.add_argument('--queries', type=int, default=32)
    parser.add_argument('--width', type=int, default=256)
    parser.add_argument(
        '--check', action='store_true', help='compare with the plain way (whole table)'
    )
    parser.add_argument('--json', help='file for the rows')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    sizes = args.clips, args.captions, args.queries, args.width
    rows = []
    for kind in args.kind:
        row = dict(kind=kind, **measure(synthetic(kind, *sizes), args.check))
        rows.append(row)
        print(
            f'{kind}: {row["seconds"]:.1f} s ({row["processor_seconds"]:.1f} s of '
            f'processor), all products at {row["gflops"]:.0f} GFLOP/s: '
            f'{row["product_seconds"]:.1f} s ({row["product_processor_seconds"]:.1f} '
            f's); bound of width {row["bound_width"]}; peak '
            f'{row["peak_bytes"] / 1e9:.2f} GB; R@1 '
            f'{row["text_to_clip"]["R@1"]:.1f} / {row["clip_to_text"]["R@1"]:.1f}'
            + (f'; equal: {row["equal"]}' if args.check else ''),
            flush=True,
        )
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as file:
            json.dump(rows, file, indent=1)
    sys.exit(not all(row.get('equal', True) for row in rows))


if __name__ == '__main__':
    run_tool(main)
