"""Make manifests of your own clips: a folder, and perhaps a csv of texts.

Example: python tools/data/prepare_folder.py --clips my_clips --csv texts.csv \
    --out data/mine
"""

from coavt_mm.preparation import FolderIndex, ListedClip, read_folder_csv
from coavt_mm.cli.prepare import make_parser, run
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = make_parser(__doc__, 'data/own')
    parser.add_argument(
        '--csv',
        help='with a header and columns clip (the file, with or without its suffix) '
        'and any of start, end (s), caption, audio_caption, visual_caption, label, '
        'split; several rows may be of one clip. Default: all files, without text',
    )
    parser.add_argument('--name', default='own', help='name of the data set')
    args = parser.parse_args()
    index = FolderIndex(args.clips)
    if args.csv:
        splits = read_folder_csv(args.csv)
    else:
        splits = dict(all=[ListedClip(name) for name in index.names()])
    labels = {x for clips in splits.values() for c in clips for x in c.labels}
    run(args, splits, args.name, sorted(labels), index)


if __name__ == '__main__':
    run_tool(main)
