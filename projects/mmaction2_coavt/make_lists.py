"""Write the lists that mmaction2's VideoDataset and AudioDataset read.

python projects/mmaction2_coavt/make_lists.py data/vggsound/train.jsonl \
    data/vggsound/test.jsonl --data-root data/vggsound --out data/vggsound/lists
"""

from argparse import ArgumentParser
from pathlib import Path

from coavt_mm.cli.launch import run_tool
from coavt_mm.datasets.manifest import find_manifest, iter_manifest, read_sidecar
from coavt_mm.datasets.media import probe
from coavt_mm.errors import ManifestError


def label_indices(row: dict, classes: list[str]) -> str:
    """'3' or '3 7 12': the row's labels that are among the classes, by index."""
    indices = [str(classes.index(name)) for name in row['labels'] if name in classes]
    if not indices:
        raise ManifestError(f'clip {row["sample_id"]}: none of its labels is a class')
    return ' '.join(indices)


def check_row(row: dict) -> None:
    """Refuse what these lists can't say."""
    if row['start'] or row['end'] is not None:
        raise ManifestError(
            f'clip {row["sample_id"]} is a span of a file; mmaction2 reads whole '
            'files, cut it out first'
        )
    if row['clip_path'] is None or ' ' in row['clip_path']:
        raise ManifestError(
            f'clip {row["sample_id"]}: mmaction2 needs a film, without spaces in its '
            f'name, got {row["clip_path"]}'
        )


def write_lists(
    manifest: Path, root: str, out: Path, classes: list[str] | None
) -> list[str]:
    """Write ``<stem>_video.txt`` and ``<stem>_audio.txt``; return the classes."""
    classes = classes or read_sidecar(manifest).get('classes')
    if not classes:
        raise ManifestError(f'{manifest}: its sidecar has no classes; give --classes')
    video, audio, silent = [], [], 0
    for row in iter_manifest(manifest, root):
        check_row(row)
        label, info = label_indices(row, classes), probe(row['clip_path'])
        name = Path(row['clip_path']).relative_to(root)
        if info.has_video:
            video.append(f'{name} {label}\n')
        if info.has_audio:  # AudioDataset wants a length: in windows of 10 ms
            audio.append(f'{name} {round(info.audio_end * 100)} {label}\n')
        silent += not (info.has_video and info.has_audio)
    for kind, lines in (('video', video), ('audio', audio)):
        (out / f'{manifest.stem}_{kind}.txt').write_text(''.join(lines), 'utf-8')
    print(f'{manifest}: {len(video)} films, {len(audio)} sounds, {len(classes)} '
          f'classes; {silent} clips lack one of the two')  # fmt: skip
    return classes


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('manifests', nargs='+')
    parser.add_argument('--data-root', default='', help='where clip paths start from')
    parser.add_argument('--out', required=True, help='folder for the lists')
    parser.add_argument('--classes', nargs='+', help="default: the sidecar's")
    args = parser.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for manifest in args.manifests:
        classes = write_lists(
            find_manifest(manifest), args.data_root, out, args.classes
        )
    (out / 'classes.txt').write_text('\n'.join(classes) + '\n', 'utf-8')


if __name__ == '__main__':
    run_tool(main)
