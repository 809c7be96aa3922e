"""BERT: ``python tools/converters/bert.py DIR bert.pth --target TextEncoder``."""

from coavt_mm.checkpoints import convert_bert
from coavt_mm.cli.convert import converter_parser, run_converter
from coavt_mm.cli.launch import run_tool


def main() -> None:
    parser = converter_parser('BERT -> TextEncoder or QueryEncoder', num_heads=None)
    parser.add_argument(
        '--target', choices=('TextEncoder', 'QueryEncoder'), default='TextEncoder'
    )
    parser.add_argument('--vocab-size', type=int, help='word pieces, [DEC] included')
    parser.add_argument('--num-queries', type=int, default=32)
    parser.add_argument(
        '--context-dims', type=int, default=768, help='width of the AV tokens'
    )
    parser.add_argument(
        '--cross-every', type=int, default=2, help='cross-attention in layers 0, n, 2n'
    )
    run_converter(convert_bert, parser)


if __name__ == '__main__':
    run_tool(main)
