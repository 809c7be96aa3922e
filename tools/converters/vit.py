"""Vision MAE, timm ViT: ``python tools/converters/vit.py mae_vit_base.pth vit.pth``."""

from coavt_mm.checkpoints import convert_vit
from coavt_mm.cli.convert import (
    add_size_arguments,
    converter_parser,
    run_converter,
)
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = converter_parser('Vision MAE or timm ViT -> JointAVEncoder')
    add_size_arguments(parser, spec_size=(1024, 128))
    parser.add_argument(
        '--joint-depth', type=int, default=1, help='last layers that become joint'
    )
    run_converter(convert_vit, parser)


if __name__ == '__main__':
    run_tool(main)
