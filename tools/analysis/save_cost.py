"""Saving a checkpoint, beside mmengine's plain saving, by turns.

OMP_NUM_THREADS=1 python tools/analysis/save_cost.py --folder /dev/shm
"""

from argparse import ArgumentParser
from pathlib import Path

from coavt_mm.analysis.save_cost import describe, save_cost
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--folder', type=Path, default=Path('.'), help='on which disk')
    parser.add_argument('--megabytes', type=float, default=100, help='of a checkpoint')
    parser.add_argument('--rounds', type=int, default=9, help='of all, by turns')
    args = parser.parse_args()
    print(describe(save_cost(args.folder, args.megabytes, args.rounds)))


if __name__ == '__main__':
    run_tool(main)
