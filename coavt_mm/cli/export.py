"""A model as files that run without this package: ``coavt export``."""

import sys
import warnings
from argparse import ArgumentParser, Namespace
from contextlib import redirect_stdout
from pathlib import Path

from coavt_mm.cli.commands import Command


def _add(parser: ArgumentParser) -> None:
    parser.add_argument('checkpoint', help='.pth or .safetensors')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='for the files')
    parser.add_argument('--config', help='for a checkpoint that does not carry its own')
    parser.add_argument(
        '--int8',
        action='store_true',
        help='write *.int8.onnx as well, with weights of 8 bits',
    )
    parser.add_argument(
        '--recall',
        metavar='MANIFEST',
        help='clips with captions (.jsonl): say what recall the files have there, '
        'beside the model',
    )


def _run(args: Namespace) -> None:
    from coavt_mm.cli.checks import check_checkpoint
    from coavt_mm.export.packages import check_packages

    check_packages()
    check_checkpoint(args.checkpoint)
    if args.recall:
        from coavt_mm.datasets.manifest import find_manifest

        find_manifest(args.recall)
    from coavt_mm.apis import load_model
    from coavt_mm.export import export_model, measure_recall

    with redirect_stdout(sys.stderr), warnings.catch_warnings():  # mmengine's log
        warnings.simplefilter('ignore')
        model = load_model(args.checkpoint, args.config, 'cpu', show_progress=False)
        said = export_model(model, args.out, args.int8)
    for part in said['parts'].values():
        for name, about in part['files'].items():
            print(_line(name, about))
    print(f'\nWhat goes in and comes out: {Path(args.out) / "export.json"}')
    if args.recall:
        _print_recall(measure_recall(model, args.out, args.recall))


def _line(name: str, about: dict) -> str:
    line = f'{name:<22} {about["bytes"] / 1e6:8.1f} MB'
    if 'difference' in about:
        line += f'   equal to the model within {about["difference"]:.1g}'
    return line


def _print_recall(found: dict[str, dict[str, float]]) -> None:
    names = ('R@1', 'R@5', 'R@10')
    print('\ntext to clip' + ''.join(f'{name:>8}' for name in names))
    for kind, recalls in found.items():
        print(f'{kind:<12}' + ''.join(f'{recalls[name]:8.1f}' for name in names))


export = Command(
    'Write a model to files that run without this package.\n\n'
    'The encoders of sound, picture, both and text with their projections, each as\n'
    "torch.export's .pt2 and as .onnx, for batches of any size, and export.json, to\n"
    'say what goes in and comes out. Every file is compared with the model.',
    _add,
    _run,
    (
        'coavt export work_dirs/demo/checkpoint.pth --out exported',
        'coavt export work_dirs/demo/checkpoint.pth --out exported --int8 --recall '
        'data/sounding_shapes/test.jsonl',
    ),
)
