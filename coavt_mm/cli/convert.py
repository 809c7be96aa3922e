"""What the thin commands under tools/converters share."""

from argparse import ArgumentParser
from collections.abc import Callable

from coavt_mm.checkpoints.conversion import Converted
from coavt_mm.checkpoints.own import save_weights


def converter_parser(description: str, num_heads: int | None = 12) -> ArgumentParser:
    """Parser of a converter: source, destination and the number of heads.

    Args:
        description: First line of the help text.
        num_heads: Default of ``--num-heads``.
    """
    parser = ArgumentParser(description=description)
    parser.add_argument('source', help='checkpoint of the ancestor')
    parser.add_argument('out', help='.pth or .safetensors file to write')
    parser.add_argument(
        '--num-heads',
        type=int,
        default=num_heads,
        help='attention heads; no tensor tells (default: %(default)s)',
    )
    return parser


def add_size_arguments(parser: ArgumentParser, spec_size: tuple | None = None) -> None:
    """Add ``--spec-size`` and ``--img-size``."""
    parser.add_argument(
        '--spec-size',
        type=int,
        nargs=2,
        default=spec_size,
        metavar=('FRAMES', 'BINS'),
        help='spectrogram frames (10 ms each) and mel bins (default: %(default)s)',
    )
    parser.add_argument('--img-size', type=int, help='side of the picture, in pixels')


def run_converter(convert: Callable[..., Converted], parser: ArgumentParser) -> None:
    """Convert as the command line says, print the report, write the weights.

    Args:
        convert: Converter; takes the parser's other arguments by name.
        parser: The command's.
    """
    options = vars(parser.parse_args())
    source, out = options.pop('source'), options.pop('out')
    converted = convert(source, **options)
    save_weights(converted.state_dict, out, converted.model_cfg, f'from {source}')
    print(converted.report)
    print(f'model = {converted.model_cfg}')
    print(f"written to {out}; use it by init_cfg=dict(type='Converted', "
          f"checkpoint='{out}')")  # fmt: skip
