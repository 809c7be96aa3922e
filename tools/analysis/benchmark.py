"""A training step by part and whole, beside the plain baseline: time, memory, MFU.

    OMP_NUM_THREADS=2 python tools/analysis/benchmark.py \
        configs/coavt/pretrain_vggsound.py --batch 4
    python tools/analysis/benchmark.py --device cuda --quick --json F --markdown F

Exits with 1 when a section failed or did not come to its end.
"""

import os
import sys
from argparse import ArgumentParser, Namespace

from coavt_mm.analysis.benchmark import SECTIONS, USUAL, benchmark
from coavt_mm.analysis.benchmark_steps import PRECISIONS, Options
from coavt_mm.cli.commands import SettingsAction
from coavt_mm.cli.launch import run_tool

PAPER = 'configs/coavt/pretrain_vggsound.py'


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', nargs='?', default=PAPER, help='of a CoAVT model')
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--batch', type=int, help='clips (4, on a GPU 32)')
    parser.add_argument('--precision', nargs='+', choices=PRECISIONS)
    parser.add_argument('--compile', action='store_true', help='torch.compile as well')
    parser.add_argument('--steps', type=int, default=5, help='rounds that are timed')
    parser.add_argument('--quick', action='store_true', help='all within four minutes')
    parser.add_argument(
        '--only',
        nargs='+',
        metavar='SECTION',
        help=f'of {", ".join(SECTIONS)}; without --quick {", ".join(USUAL)}',
    )
    parser.add_argument('--budget', type=float, help='seconds for all sections')
    parser.add_argument('--large', type=int, help='clips of the large batch')
    cores = os.cpu_count() or 2
    parser.add_argument('--workers', type=int, default=max(2, cores - 2),
                        help="the loader's")  # fmt: skip
    parser.add_argument('--json', help='file for the rows')
    parser.add_argument('--markdown', help='file for the table')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=SettingsAction,
        default={},
        metavar='KEY=VALUE',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    gpu = args.device.startswith('cuda')
    usual = ('float32', 'tf32', 'bf16') if gpu else ('float32', 'bf16')
    options = Options(
        config=args.config,
        device=args.device,
        batch=args.batch or (32 if gpu else 4),
        precisions=tuple(args.precision or (usual if args.quick else usual[:1])),
        compile=args.compile,
        steps=args.steps,
        large=args.large,
        workers=args.workers,
        cfg_options=args.cfg_options,
    )
    whole = benchmark(
        options, args.only, args.quick, args.budget, args.json, args.markdown
    )
    sys.exit(not whole)


if __name__ == '__main__':
    run_tool(main)
