"""VGGSounder's modality confusion, from three runs: sound, picture, both.

    python tools/analysis/modality_confusion.py work_dirs/A work_dirs/V work_dirs/AV \
        --labels data/vggsound/vggsounder.jsonl
"""

import json
from argparse import ArgumentParser
from pathlib import Path

from coavt_mm.analysis.modality_confusion import markdown_table, modality_confusion
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'runs', nargs='+', help='out_dir of each run, with best_classes.json'
    )
    parser.add_argument(
        '--labels', required=True, help='manifest of the protocol vggsounder'
    )
    parser.add_argument('--out', type=Path, help='JSON file for the numbers')
    args = parser.parse_args()
    report = modality_confusion(args.runs, args.labels)
    print(markdown_table(report))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    run_tool(main)
