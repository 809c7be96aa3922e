"""Gather the results of many evaluations into one page of tables and one CSV.

    python tools/analysis/collect_results.py work_dirs --out all.md --csv all.csv
    python tools/analysis/collect_results.py work_dirs/a work_dirs/b --metrics retrieval

Every JSON file below the folders that names its metric is read: retrieval.json,
av_retrieval.json, classification.json, captioning.json, zeroshot.json, ... The CSV has
every number unrounded; the tables leave out lists by class.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

from coavt_mm.analysis.results import (
    find_results,
    markdown_tables,
    read_rows,
    write_csv,
)
from coavt_mm.cli.launch import run_tool
from coavt_mm.errors import CoAVTError


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folders', nargs='+', help='work dirs, or files')
    parser.add_argument('--out', type=Path, help='Markdown file; default: the terminal')
    parser.add_argument('--csv', type=Path, help='CSV file, one number a line')
    parser.add_argument(
        '--metrics', nargs='+', help="those wanted, such as 'retrieval'; default: all"
    )
    args = parser.parse_args()
    found, others = find_results(args.folders)
    rows = [row for path in found for row in read_rows(path)]
    metrics = {row.facts['metric'] for row in rows}
    unknown = set(args.metrics or ()) - metrics
    if unknown:
        raise CoAVTError(
            f'no results of {", ".join(sorted(unknown))}; there are '
            f'{", ".join(sorted(metrics))}'
        )
    rows = [row for row in rows if row.facts['metric'] in (args.metrics or metrics)]
    if args.csv:
        write_csv(rows, args.csv)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(f'# Results\n\n{markdown_tables(rows)}', 'utf-8')
    else:
        print(markdown_tables(rows))
    print(
        f'{len(found)} files of results; {len(others)} other JSON files left out',
        file=sys.stderr,
    )


if __name__ == '__main__':
    run_tool(main)
