"""From a folder of own clips to a model: ``coavt finetune``."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from coavt_mm.cli.commands import Command, setting
from coavt_mm.errors import CoAVTError, ConfigError


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        'folders', nargs='+', metavar='FOLDER', help='with the clips, and all below it'
    )
    table = parser.add_mutually_exclusive_group(required=True)
    table.add_argument(
        '--captions',
        metavar='TABLE',
        help='spreadsheet (.csv, .xlsx) with columns clip and caption; may have '
        'audio_caption, visual_caption, start, end (s), recording, split (train, val, '
        'test); several rows may be of one clip',
    )
    table.add_argument(
        '--labels',
        metavar='TABLE',
        help='train a classifier: columns clip and label, and as above',
    )
    parser.add_argument(
        '--work-dir', help='for all results; default: work_dirs/finetune_FOLDER'
    )
    _add_training(parser)


def _add_training(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--from',
        dest='checkpoint',
        metavar='CHECKPOINT',
        help='to start from, with its config; default: a small model from random '
        'weights, which needs more clips',
    )
    parser.add_argument(
        '--train',
        choices=('frozen', 'all'),
        help='what goes on learning: all but the encoder of sound and picture (default '
        'for captions), or everything (default for labels)',
    )
    parser.add_argument(
        '--steps', type=int, help='default: 15 passes over the clips, at least 200'
    )
    parser.add_argument('--batch-size', type=int, default=32, help='clips in a batch')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes that read clips'
    )
    parser.add_argument(
        '--prepare-only',
        action='store_true',
        help='make manifests and tokenizer, and say how to train with them',
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with the same job in the work dir, which was cut off',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        type=setting,
        default=[],
        metavar='KEY=VALUE',
        help='settings of the config, such as lr=0.0003',
    )


def _check(args: Namespace) -> str | None:
    for name in ('steps', 'batch_size'):
        value = getattr(args, name)
        if value is not None and value < 2:
            return f'--{name.replace("_", "-")} must be at least 2, not {value}'
    return None


def _run(args: Namespace) -> None:
    table = args.captions or args.labels
    for path, is_there, what in (
        *((folder, os.path.isdir, 'folder') for folder in args.folders),
        (table, os.path.isfile, 'spreadsheet'),
        (args.checkpoint, os.path.isfile, 'checkpoint'),
    ):
        if path is not None and not is_there(path):
            raise ConfigError(f'{path}: there is no such {what}')

    from coavt_mm.finetuning.run import Options, run_finetuning

    name = Path(os.path.abspath(args.folders[0])).name
    options = Options(
        folders=args.folders,
        table=table,
        checkpoint=args.checkpoint,
        work_dir=args.work_dir or f'work_dirs/finetune_{name}',
        labels=args.labels is not None,
        tuning=args.train,
        steps=args.steps,
        batch_size=args.batch_size,
        workers=args.workers,
        prepare_only=args.prepare_only,
        resume=args.resume,
        cfg_options=args.cfg_options,
    )
    try:
        run_finetuning(options)
    except KeyboardInterrupt:
        raise CoAVTError(
            'interrupted; the same command with --resume goes on from the last '
            'checkpoint'
        ) from None


finetune = Command(
    'Train on your own clips: prepare, split, train, test, report.\n\n'
    'Nothing is needed but a folder and a spreadsheet. Clips that are cut from one\n'
    'recording, have the same bytes or the same caption, come into one split.\n'
    'Results, checkpoint.pth for the other commands, and report.html, a page with all\n'
    'that was found, go to the work dir.',
    _add_arguments,
    _run,
    (
        'coavt finetune my_clips --captions captions.csv --from checkpoint.pth',
        'coavt finetune my_clips --labels labels.xlsx --from checkpoint.pth',
        'coavt finetune my_clips --captions captions.csv    # from random weights',
    ),
    check=_check,
)
