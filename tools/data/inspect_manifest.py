"""Look at a corpus: a sheet of clips, and histograms of lengths and labels.

Example: python tools/data/inspect_manifest.py data/vggsound/train.jsonl --out look

(It isn't called inspect.py: a script's folder comes first in Python's search path, and
all tools here would import it for the standard library's module of that name.)
"""

import argparse
import os

from coavt_mm.engine.launch import run_tool
from coavt_mm.visualization.corpus import inspect_manifest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('manifest')
    parser.add_argument('--data-root', help="default: the manifest's folder")
    parser.add_argument('--out', default='look', help='folder for the pictures')
    parser.add_argument('--clips', type=int, default=8, help='clips to show')
    parser.add_argument('--probes', type=int, default=1000, help='lengths to look up')
    parser.add_argument('--seed', type=int, default=0, help='of the draws')
    parser.add_argument('--seconds', type=float, default=10.0, help='of sound, in s')
    args = vars(parser.parse_args())
    root = args.pop('data_root') or os.path.dirname(args['manifest'])
    out_dir = args.pop('out')
    for path in inspect_manifest(data_root=root, out_dir=out_dir, **args):
        print(path)


if __name__ == '__main__':
    run_tool(main)
