"""Make manifests of VALOR-32K or VALOR-1M from their json files and folders of clips.

Example: python tools/data/prepare_valor.py desc_train.json desc_val.json \
    desc_test.json --clips /data/valor
"""

from pathlib import Path

from coavt_mm.datasets.preparation import read_valor
from coavt_mm.datasets.preparation.command import make_parser, run
from coavt_mm.engine.launch import run_tool


def main() -> None:
    parser = make_parser(__doc__, 'data/valor')
    parser.add_argument(
        'json',
        nargs='+',
        help='desc_train.json, desc_val.json, desc_test.json; each gives a manifest, '
        'such as train.jsonl',
    )
    args = parser.parse_args()
    names = [Path(path).stem.removeprefix('desc_') for path in args.json]
    run(args, dict(zip(names, map(read_valor, args.json), strict=True)), 'valor')


if __name__ == '__main__':
    run_tool(main)
