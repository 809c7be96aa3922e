"""Make manifests of AudioSet from its segments csv files and folders of clips.

Example: python tools/data/prepare_audioset.py balanced_train_segments.csv \
    eval_segments.csv --clips /data/audioset
"""

from coavt_mm.datasets.labels import class_names
from coavt_mm.preparation import read_audioset
from coavt_mm.cli.prepare import make_parser, read_lists, run
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = make_parser(__doc__, 'data/audioset')
    parser.add_argument(
        'csv',
        nargs='+',
        help='balanced_train_segments.csv, unbalanced_train_segments.csv, '
        'eval_segments.csv; each gives a manifest, such as balanced_train.jsonl',
    )
    args = parser.parse_args()
    splits = read_lists(args.csv, read_audioset, suffix='_segments')
    run(args, splits, 'audioset', class_names('audioset'))


if __name__ == '__main__':
    run_tool(main)
