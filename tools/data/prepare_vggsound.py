"""Make manifests of VGGSound from its csv and a folder of clips.

Example: python tools/data/prepare_vggsound.py vggsound.csv --clips /data/vggsound
"""

from coavt_mm.datasets.labels import class_names
from coavt_mm.preparation import read_vggsound
from coavt_mm.cli.prepare import make_parser, run
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = make_parser(__doc__, 'data/vggsound')
    parser.add_argument('csv', help='vggsound.csv: id, start (s), label, split')
    args = parser.parse_args()
    splits = {name: clips for name, clips in read_vggsound(args.csv).items() if clips}
    run(args, splits, 'vggsound', class_names('vggsound'))


if __name__ == '__main__':
    run_tool(main)
