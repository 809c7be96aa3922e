"""Make manifests of AudioCaps from its csv files and folders of clips.

Example: python tools/data/prepare_audiocaps.py train.csv val.csv test.csv \
    --clips /data/audiocaps
"""

from coavt_mm.preparation import read_audiocaps
from coavt_mm.cli.prepare import make_parser, read_lists, run
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = make_parser(__doc__, 'data/audiocaps')
    parser.add_argument(
        'csv', nargs='+', help='train.csv, val.csv, test.csv; each gives a manifest'
    )
    parser.add_argument(
        '--field',
        default='captions',
        choices=['captions', 'audio_captions'],
        help='match the captions with sound and picture, or with the sound alone',
    )
    args = parser.parse_args()
    splits = read_lists(args.csv, lambda path: read_audiocaps(path, args.field))
    run(args, splits, 'audiocaps')


if __name__ == '__main__':
    run_tool(main)
