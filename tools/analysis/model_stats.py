"""Parameters, multiply-adds, memory: ``python tools/analysis/model_stats.py CONFIG``.

With ``--train`` one training step with all losses is taken on noise and its memory
measured.
"""

from argparse import ArgumentParser

from mmengine.registry import init_default_scope

from coavt_mm.analysis.model_cost import (
    macs_by_step,
    parameters_by_part,
    training_step,
)
from coavt_mm.cli.launch import run_tool
from coavt_mm.config import load_config
from coavt_mm.registry import MODELS


def main() -> None:
    parser = ArgumentParser(description='Parameters, multiply-adds and memory')
    parser.add_argument('config', help='path of a config with a CoAVT model')
    parser.add_argument('--train', action='store_true', help='take a training step')
    parser.add_argument('--batch', type=int, default=2, help='clips of that step')
    args = parser.parse_args()
    cfg = load_config(args.config)
    init_default_scope('coavt_mm')
    model = MODELS.build(cfg.model)
    parts = parameters_by_part(model)
    print('| part | parameters |\n|---|---|')
    for name, number in {**parts, 'all': sum(parts.values())}.items():
        print(f'| {name} | {number:,} |')
    print('\n| step | multiply-adds |\n|---|---|')
    for name, number in macs_by_step(model).items():
        print(f'| {name} | {number / 1e9:.2f} G |')
    if args.train:
        print('\n| training step | |\n|---|---|')
        for name, number in training_step(model, args.batch).items():
            print(f'| {name} | {number:.3f} |')


if __name__ == '__main__':
    run_tool(main)
