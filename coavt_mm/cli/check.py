"""The command ``check``."""

import sys
from argparse import ArgumentParser, Namespace

from coavt_mm.cli.commands import Command
from coavt_mm.cli.launch import add_config_argument


def _add(parser: ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument(
        '--work-dir', help='folder of the run, whose disk is looked at; nothing is '
        'written there'
    )  # fmt: skip


def _check(args: Namespace) -> None:
    from coavt_mm.config import idle_settings, load_config, set_work_dir

    cfg = load_config(args.config, args.cfg_options)
    set_work_dir(cfg, args.work_dir)

    from coavt_mm.cli.check_report import report
    from coavt_mm.cli.checking import check_config

    check = check_config(cfg)
    for line in report(check):
        print(line)
    for line in idle_settings(args.config, cfg):
        print(f'Warning: {line}')
    for finding in check.found:
        if finding.kind == 'note':
            print(f'Note: {finding.text}')
    for finding in check.found:
        if finding.kind != 'note':
            print(f'Error: {finding.text}', file=sys.stderr)
    if check.failed:
        sys.exit(1)
    print(f'ready: coavt train {args.config}')


check = Command(
    'Look at a run before it begins: all that is wrong with it, and what it takes.\n\n'
    'Everything that the config names is built, ten clips of each split are read, one\n'
    'training step and one batch of the validation are run. Parameters, memory, time\n'
    'and disk of the run are printed, then a line that begins with "ready"; or a line\n'
    'for each problem, and the status is 1. Nothing is written.',
    _add,
    _check,
    (
        'coavt check coavt_mm::coavt/pretrain_demo.py',
        'coavt check my_config.py --cfg-options train_dataloader.batch_size=64',
    ),
)
