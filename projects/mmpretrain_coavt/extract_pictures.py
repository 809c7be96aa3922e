"""Write the middle frame of every clip to <out>/<label>/<id>.png, as mmpretrain's
CustomDataset reads pictures.

python projects/mmpretrain_coavt/extract_pictures.py data/vggsound/test.jsonl \
    --data-root data/vggsound --out data/vggsound/pictures/test
"""

from argparse import ArgumentParser
from pathlib import Path

from PIL import Image

from coavt_mm.cli.launch import run_tool
from coavt_mm.datasets.manifest import find_manifest, iter_manifest, read_sidecar
from coavt_mm.datasets.transforms import LoadFrames
from coavt_mm.errors import ManifestError


def label_of(row: dict, classes: list[str]) -> str:
    """The one label of a row that is among the classes."""
    names = [name for name in row['labels'] if name in classes]
    if len(names) != 1 or '/' in names[0]:
        raise ManifestError(
            f'clip {row["sample_id"]}: {len(names)} of its labels are among the '
            'classes, it takes exactly one, that can name a folder; choose them with '
            '--classes'
        )
    return names[0]


def main() -> None:
    parser = ArgumentParser(description='Middle frames in a folder for each label.')
    parser.add_argument('manifest')
    parser.add_argument('--data-root', default='', help='where clip paths start from')
    parser.add_argument('--out', required=True, help='folder for the pictures')
    parser.add_argument('--classes', nargs='+', help="default: the sidecar's")
    args = parser.parse_args()
    manifest = find_manifest(args.manifest)
    classes = args.classes or read_sidecar(manifest).get('classes') or []
    load, written, dark = LoadFrames(pick='middle'), 0, 0
    for name in classes:  # each, so that all splits number them alike
        (Path(args.out) / name).mkdir(parents=True, exist_ok=True)
    for row in iter_manifest(manifest, args.data_root):
        shown = load(row)
        if not shown['has_visual']:
            dark += 1
            continue
        folder = Path(args.out) / label_of(row, classes)
        Image.fromarray(shown['imgs'][0]).save(folder / f'{row["sample_id"]}.png')
        written += 1
    print(f'{args.out}: {written} pictures; {dark} clips without a picture')


if __name__ == '__main__':
    run_tool(main)
