"""Render the demo clips, pre-train CoAVT on them, evaluate, print a table.

python tools/demo.py --cfg-options model.contrastive_head.streams.A=0
python tools/demo.py --recipes    # then every other recipe, from that checkpoint
"""

import argparse
import os

from coavt_mm.cli.launch import run_tool
from coavt_mm.demo.run import RECIPES, run_demo, run_recipes


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
    parser.add_argument(
        '--recipes',
        '--twins',  # the name of release 0.1
        nargs='*',
        choices=RECIPES,
        help='fine-tune and test these (default: all) from the checkpoint of the demo',
    )
    parser.add_argument(
        '--page',
        default='docs/demo_results.md',
        help='where the recipes are written up',
    )
    args = parser.parse_args()
    if args.recipes is not None:
        run_recipes(args.workers, args.page, args.recipes or tuple(RECIPES))
        return
    run_demo(args.work_dir, args.workers, args.cfg_options)


if __name__ == '__main__':
    run_tool(main)
