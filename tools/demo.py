"""Render the demo clips, pre-train CoAVT on them, evaluate, print a table.

Example: python tools/demo.py --cfg-options model.contrastive_head.streams.A=0
"""

import argparse
import os

from coavt_mm.engine.demo import run_demo
from coavt_mm.engine.launch import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', default='work_dirs/demo')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes that render'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='settings for training and evaluation',
    )
    args = parser.parse_args()
    run_demo(args.work_dir, args.workers, args.cfg_options)


if __name__ == '__main__':
    run_tool(main)
