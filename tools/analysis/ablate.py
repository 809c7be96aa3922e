"""Run the demo ablations over seeds: ``python tools/analysis/ablate.py``.

The table of variants is in configs/coavt/ablations.py. Every run is trained and tested
in a process of its own, one after the other. A run whose result lies in the work dir is
not repeated, one that was interrupted goes on; table and plot are written anew after
each. ``--cfg-options`` reach all runs.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from coavt_mm.analysis.ablations import ROOT, read_variants, run_variant, write_page
from coavt_mm.cli.launch import run_tool


def parse_args() -> Namespace:
    parser = ArgumentParser(description='Run the demo ablations over seeds')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--only', nargs='+', help="names, such as 'full' or 'no_at'")
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablations'))
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'ablations.md')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE')
    parser.add_argument(
        '--table-only', action='store_true', help='write table and plot, run nothing'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    variants = read_variants(args.only)
    for seed in args.seeds if not args.table_only else []:
        for name, variant in variants.items():
            folder = args.work_dir / name / f'seed_{seed}'
            run_variant(variant, folder, seed, args.cfg_options)
            write_page(args.work_dir, args.seeds, args.out)
    write_page(args.work_dir, args.seeds, args.out)


if __name__ == '__main__':
    run_tool(main)
