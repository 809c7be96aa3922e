"""Print what pre-training costs on many GPUs: the tables of docs/scaling.md.

    python tools/analysis/cost_model.py
    python tools/analysis/cost_model.py --step 0.439 --cores 8 --clip-bytes 1.9e6

Every piece that was measured, counted or stated can be replaced by your own.
"""

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from dataclasses import fields

from coavt_mm.analysis.cost_model import Pieces, tables
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    for piece in fields(Pieces):
        kind = type(piece.default)
        parser.add_argument(
            f'--{piece.name.replace("_", "-")}', type=kind, default=piece.default
        )
    print(tables(Pieces(**vars(parser.parse_args()))))


if __name__ == '__main__':
    run_tool(main)
