"""Our own checkpoints: ``python tools/converters/own.py OUT [PART=]FILE ...``.

Weights alone to safetensors: ``own.py weights.safetensors work_dirs/x/iter_300.pth``,
and back: ``own.py weights.pth weights.safetensors``. Several parts to one CoAVT:
``own.py all.pth blip2.pth av_encoder=cavmae.pth text_encoder=bert.pth``.
The config that a checkpoint carries goes with it; ``--config CONFIG`` adds one.
"""

from argparse import ArgumentParser

from coavt_mm.checkpoints import add_config, carried_config, combine, save_weights
from coavt_mm.compat import load_from_local
from coavt_mm.engine.launch import load_config, run_tool


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
    pairs = [part.rpartition('=') for part in args.parts]
    parts = [(name, load_from_local(path, 'cpu')) for name, _, path in pairs]
    state = combine(parts)
    if args.config:
        config = add_config(load_config(args.config), state)
    else:
        whole = len(parts) == 1 and not parts[0][0]
        config = carried_config(parts[0][1]) if whole else None
    save_weights(state, args.out, notes=' '.join(args.parts), config=config)
    print(f'{len(state)} tensors written to {args.out}')


if __name__ == '__main__':
    run_tool(main)
