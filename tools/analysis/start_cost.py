"""Opening a long manifest in several processes at once: time and memory.

OMP_NUM_THREADS=1 python tools/analysis/start_cost.py --rows 2000000 --processes 8
"""

from argparse import ArgumentParser

from coavt_mm.analysis.start_cost import measure_start
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', type=int, default=2_000_000, help='of the manifest')
    parser.add_argument('--processes', type=int, default=8, help='that open it')
    args = parser.parse_args()
    measure_start(args.rows, args.processes)


if __name__ == '__main__':
    run_tool(main)
