"""BLIP-2 stage 1: ``python tools/converters/blip2.py pretrained.pth blip2.pth``."""

from coavt_mm.checkpoints import convert_blip2
from coavt_mm.cli.convert import converter_parser, run_converter
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = converter_parser('BLIP-2 stage 1 -> query encoder, heads, temperature')
    parser.add_argument('--dec-token-id', type=int, help='[DEC]; default: last piece')
    parser.add_argument('--end-token-id', type=int, default=102, help='[SEP]')
    run_converter(convert_blip2, parser)


if __name__ == '__main__':
    run_tool(main)
