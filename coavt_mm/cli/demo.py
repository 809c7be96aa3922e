"""The demo: ``coavt demo``."""

import os
from argparse import ArgumentParser, Namespace

from coavt_mm.cli.commands import Command, setting
from coavt_mm.demo.settings import RECIPES, SMALL, small_options


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--small',
        action='store_true',
        help='minutes instead: 128 clips and 50 steps, in data/sounding_shapes_small; '
        'says whether all works here, not how well',
    )
    parser.add_argument(
        '--work-dir', help='folder for all results; default: work_dirs/demo[_small]'
    )
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes that render'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        type=setting,
        default=[],
        metavar='KEY=VALUE',
        help='settings for training and evaluation',
    )
    parser.add_argument(
        '--recipes',
        '--twins',  # the name of release 0.1
        nargs='*',
        choices=RECIPES,
        help='fine-tune and test these (default: all) from the checkpoint of the demo',
    )
    parser.add_argument(
        '--page',
        default='docs/demo_results.md',
        help='where the results of --recipes are written up',
    )


def _run(args: Namespace) -> None:
    from coavt_mm.demo.run import run_demo, run_recipes

    if args.recipes is not None:
        run_recipes(args.workers, args.page, args.recipes or tuple(RECIPES))
        return
    name = 'demo_small' if args.small else 'demo'
    work_dir, options = args.work_dir or f'work_dirs/{name}', args.cfg_options
    if args.small:
        options = [*small_options('data/sounding_shapes_small'), *options]
    run_demo(work_dir, args.workers, options, SMALL if args.small else None)


demo = Command(
    'Render the demo clips, pre-train on them, evaluate, print a table.\n\n'
    'Clips go to data/sounding_shapes; results, plots and checkpoint.pth, with which\n'
    'the other commands can be tried, to the work dir. Takes some ten minutes on\n'
    'two CPU cores, --small a few minutes, and no network.',
    _add_arguments,
    _run,
    (
        'coavt demo --small',
        'coavt demo',
        'coavt demo --cfg-options model.contrastive_head.streams.A=0',
        'coavt demo --recipes    # then every other recipe, from that checkpoint',
    ),
)
