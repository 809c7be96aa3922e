"""Look at a corpus: a sheet of clips, histograms of lengths and labels, and how far
retrieval can get where clips share a text.

Example: python tools/data/inspect_manifest.py data/vggsound/train.jsonl --out look

(It isn't called inspect.py: a script's folder comes first in Python's search path, and
all tools here would import it for the standard library's module of that name.)
"""

import argparse
import os

from coavt_mm.datasets.manifest import find_manifest
from coavt_mm.cli.launch import run_tool
from coavt_mm.evaluation.text_ceilings import (
    ceilings_table,
    say_shared,
    shared_texts,
    text_ceilings,
)
from coavt_mm.analysis.corpus import inspect_manifest, manifest_texts


def say_texts(manifest: str, templates: list[str]) -> None:
    """Print what equal texts allow at best, under either rule."""
    texts = manifest_texts(find_manifest(manifest), templates)
    for stream, groups in texts.items():
        print(f'{stream}: {say_shared(shared_texts(groups))}')
    if texts:
        print(ceilings_table({s: text_ceilings(g) for s, g in texts.items()}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=' '.join(__doc__.split('\n\n')[0].splitlines()),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('manifest')
    parser.add_argument('--data-root', help="default: the manifest's folder")
    parser.add_argument('--out', default='look', help='folder for the pictures')
    parser.add_argument('--clips', type=int, default=8, help='clips to show')
    parser.add_argument('--probes', type=int, default=1000, help='lengths to look up')
    parser.add_argument('--seed', type=int, default=0, help='of the draws')
    parser.add_argument('--seconds', type=float, default=10.0, help='of sound, in s')
    parser.add_argument(
        '--templates', nargs='+', default=['{}'], help='text of labels without captions'
    )
    args = vars(parser.parse_args())
    say_texts(args['manifest'], args.pop('templates'))
    root = args.pop('data_root') or os.path.dirname(args['manifest'])
    out_dir = args.pop('out')
    for path in inspect_manifest(data_root=root, out_dir=out_dir, **args):
        print(path)


if __name__ == '__main__':
    run_tool(main)
