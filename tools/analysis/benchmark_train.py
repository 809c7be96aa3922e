"""Time and memory of a training step with all losses, on noise.

    python tools/analysis/benchmark_train.py configs/coavt/pretrain_demo.py --batch 16
    python tools/analysis/benchmark_train.py configs/coavt/pretrain_vggsound.py \
        --device cuda --batch 32 --amp bf16 --compile
"""

from argparse import ArgumentParser

import torch
from mmengine.registry import init_default_scope

from coavt_mm.analysis.speed import training_rates
from coavt_mm.cli.launch import run_tool
from coavt_mm.config import load_config
from coavt_mm.errors import ConfigError
from coavt_mm.registry import MODELS


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='path of a config with a CoAVT model')
    parser.add_argument('--batch', type=int, default=8, help='clips of a step')
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--amp', choices=['none', 'bf16'], default='none')
    parser.add_argument('--compile', action='store_true', help='torch.compile')
    parser.add_argument('--steps', type=int, default=5, help='steps that are timed')
    args = parser.parse_args()
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        raise ConfigError(f'--device {args.device}: torch finds no GPU here')
    init_default_scope('coavt_mm')
    model = MODELS.build(load_config(args.config).model)
    rates = training_rates(
        model, args.batch, args.device, args.amp == 'bf16', args.compile, args.steps
    )
    print('| batch | device | amp | compile | ms/step | clips/s | peak GiB |')
    print('|---|---|---|---|---|---|---|')
    values = (f'{rates[key]:.4g}' for key in ('ms_per_step', 'clips_per_s', 'peak_gib'))
    print(
        f'| {args.batch} | {args.device} | {args.amp} | {args.compile} | '
        f'{" | ".join(values)} |'
    )


if __name__ == '__main__':
    run_tool(main)
