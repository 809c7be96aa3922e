"""Our own checkpoints: ``python tools/converters/own.py OUT [PART=]FILE ...``.

Weights alone to safetensors: ``own.py weights.safetensors work_dirs/x/iter_300.pth``,
and back: ``own.py weights.pth weights.safetensors``. Several parts to one CoAVT:
``own.py all.pth blip2.pth av_encoder=cavmae.pth text_encoder=bert.pth``.
The config that a checkpoint carries goes with it, if the weights are of it;
``--config CONFIG`` adds one.
"""

from argparse import ArgumentParser
from pathlib import Path

from coavt_mm.checkpoints import add_config, combine, fitting_config, save_weights
from coavt_mm.cli.launch import run_tool
from coavt_mm.compat import load_from_local
from coavt_mm.config import load_config


def _name_and_path(part: str) -> tuple[str, str]:
    name, equals, path = part.partition('=')
    named = equals and name.isidentifier() and not Path(part).is_file()
    return (name, path) if named else ('', part)


def main() -> None:
    parser = ArgumentParser(description='Rewrite or put together own checkpoints')
    parser.add_argument('out', help='.pth or .safetensors file to write')
    parser.add_argument(
        'parts', nargs='+', metavar='[PART=]FILE', help='a whole one, or parts of one'
    )
    parser.add_argument(
        '--config',
        help='config to store as data, so that the file serves the inferencer alone',
    )
    args = parser.parse_args()
    pairs = [_name_and_path(part) for part in args.parts]
    parts = [(name, load_from_local(path, 'cpu')) for name, path in pairs]
    state, config = combine(parts), None
    if args.config:
        config = add_config(load_config(args.config), state)
    elif len(parts) == 1 and not parts[0][0]:
        config = fitting_config(parts[0][1], state, args.parts[0])
    save_weights(state, args.out, notes=' '.join(args.parts), config=config)
    compared = 'as its config asks' if config else 'compared with no config'
    print(f'{len(state)} tensors written to {args.out}, {compared}')


if __name__ == '__main__':
    run_tool(main)
