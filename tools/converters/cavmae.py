"""CAV-MAE: ``python tools/converters/cavmae.py audio_model.25.pth cavmae.pth``."""

from coavt_mm.checkpoints import convert_cavmae
from coavt_mm.cli.convert import (
    add_size_arguments,
    converter_parser,
    run_converter,
)
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = converter_parser('CAV-MAE -> JointAVEncoder or CoAVTClassifier')
    add_size_arguments(parser)
    run_converter(convert_cavmae, parser)


if __name__ == '__main__':
    run_tool(main)
