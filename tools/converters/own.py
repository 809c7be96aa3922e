"""Our own checkpoints: ``python tools/converters/own.py OUT [PART=]FILE ...``.

Weights alone to safetensors: ``own.py weights.safetensors work_dirs/x/iter_300.pth``,
and back: ``own.py weights.pth weights.safetensors``. Several parts to one CoAVT:
``own.py all.pth blip2.pth av_encoder=cavmae.pth text_encoder=bert.pth``.
"""

from argparse import ArgumentParser

from coavt_mm.checkpoints import combine, save_weights
from coavt_mm.engine.launch import run_tool


def main() -> None:
    parser = ArgumentParser(description='Rewrite or put together own checkpoints')
    parser.add_argument('out', help='.pth or .safetensors file to write')
    parser.add_argument(
        'parts', nargs='+', metavar='[PART=]FILE', help='a whole one, or parts of one'
    )
    args = parser.parse_args()
    pairs = [part.rpartition('=') for part in args.parts]
    state = combine([(name, path) for name, _, path in pairs])
    save_weights(state, args.out, notes=' '.join(args.parts))
    print(f'{len(state)} tensors written to {args.out}')


if __name__ == '__main__':
    run_tool(main)
