"""Make manifests of VALOR-32K or VALOR-1M from their json files and folders of clips.

Example: python tools/data/prepare_valor.py desc_train.json desc_val.json \
    desc_test.json --clips /data/valor
"""

from coavt_mm.preparation import read_valor
from coavt_mm.cli.prepare import make_parser, read_lists, run
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = make_parser(__doc__, 'data/valor')
    parser.add_argument(
        'json',
        nargs='+',
        help='desc_train.json, desc_val.json, desc_test.json; each gives a manifest, '
        'such as train.jsonl',
    )
    args = parser.parse_args()
    run(args, read_lists(args.json, read_valor, prefix='desc_'), 'valor')


if __name__ == '__main__':
    run_tool(main)
