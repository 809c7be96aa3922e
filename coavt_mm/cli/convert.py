"""Checkpoints of others, and our own, into this package's form: ``coavt convert``."""

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from coavt_mm.cli.commands import Command, Group
from coavt_mm.errors import CheckpointError

USE = (
    '\n\nSays which tensor went where, which were left out and why, and how a config\n'
    'takes the result. No code of the source is run.'
)


def _add_arguments(parser: ArgumentParser, num_heads: int | None = 12) -> None:
    """Add source, destination and the number of heads."""
    parser.add_argument('source', help='checkpoint of the ancestor')
    parser.add_argument('out', help='.pth or .safetensors file to write')
    parser.add_argument(
        '--num-heads',
        type=int,
        default=num_heads,
        help='attention heads; no tensor tells',
    )


def _add_size_arguments(parser: ArgumentParser, spec_size: tuple | None = None) -> None:
    """Add ``--spec-size`` and ``--img-size``."""
    parser.add_argument(
        '--spec-size',
        type=int,
        nargs=2,
        default=spec_size,
        metavar=('FRAMES', 'BINS'),
        help='spectrogram frames (10 ms each) and mel bins',
    )
    parser.add_argument('--img-size', type=int, help='side of the picture, in pixels')


def _run(converter: str, args: Namespace) -> None:
    """Convert as the command line says, print the report, write the weights.

    Args:
        converter: Name of the function; it takes the other arguments by name.
        args: The command's.
    """
    options = dict(vars(args))
    source, out = options.pop('source'), options.pop('out')
    if not Path(source).expanduser().exists():
        raise CheckpointError(f'{source}: there is no such checkpoint file')

    from coavt_mm import checkpoints

    converted = getattr(checkpoints, converter)(source, **options)
    checkpoints.save_weights(
        converted.state_dict, out, converted.model_cfg, f'from {source}'
    )
    print(converted.report)
    print(f'model = {converted.model_cfg}')
    print(f"written to {out}; use it by init_cfg=dict(type='Converted', "
          f"checkpoint='{out}')")  # fmt: skip


def _add_bert(parser: ArgumentParser) -> None:
    _add_arguments(parser, num_heads=None)
    parser.add_argument(
        '--target',
        choices=('TextEncoder', 'QueryEncoder'),
        default='TextEncoder',
        help='the part that takes the weights',
    )
    parser.add_argument('--vocab-size', type=int, help='word pieces, [DEC] included')
    parser.add_argument(
        '--num-queries', type=int, default=32, help='of the query encoder'
    )
    parser.add_argument(
        '--context-dims', type=int, default=768, help='width of the AV tokens'
    )
    parser.add_argument(
        '--cross-every', type=int, default=2, help='cross-attention in layers 0, n, 2n'
    )


def _add_blip2(parser: ArgumentParser) -> None:
    _add_arguments(parser)
    parser.add_argument('--dec-token-id', type=int, help='[DEC]; default: last piece')
    parser.add_argument('--end-token-id', type=int, default=102, help='[SEP]')


def _add_cavmae(parser: ArgumentParser) -> None:
    _add_arguments(parser)
    _add_size_arguments(parser)


def _add_vit(parser: ArgumentParser) -> None:
    _add_arguments(parser)
    _add_size_arguments(parser, spec_size=(1024, 128))
    parser.add_argument(
        '--joint-depth', type=int, default=1, help='last layers that become joint'
    )


def _add_own(parser: ArgumentParser) -> None:
    parser.add_argument('out', help='.pth or .safetensors file to write')
    parser.add_argument(
        'parts', nargs='+', metavar='[PART=]FILE', help='a whole one, or parts of one'
    )
    parser.add_argument(
        '--config',
        help='config to store as data, so that the file serves the inferencer alone',
    )


def _name_and_path(part: str) -> tuple[str, str]:
    name, equals, path = part.partition('=')
    named = equals and name.isidentifier() and not Path(part).is_file()
    return (name, path) if named else ('', part)


def _own(args: Namespace) -> None:
    from coavt_mm.checkpoint_files import load_from_local
    from coavt_mm.checkpoints import add_config, combine, fitting_config, save_weights
    from coavt_mm.config import load_config

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


def _add_log(parser: ArgumentParser) -> None:
    parser.add_argument('source', help='checkpoint whose training log is pickled')
    parser.add_argument('out', help='.pth file to write; may be the same')


def _log(args: Namespace) -> None:
    from coavt_mm.checkpoints import convert_log

    count = convert_log(args.source, args.out)
    print(f'{count} scalars of the training log are plain numbers in {args.out}')


COMMANDS = {
    'cavmae': Command(
        'CAV-MAE to JointAVEncoder or CoAVTClassifier.' + USE,
        _add_cavmae,
        partial(_run, 'convert_cavmae'),
        ('coavt convert cavmae audio_model.25.pth cavmae.pth',),
    ),
    'vit': Command(
        'Vision MAE or timm ViT to JointAVEncoder.' + USE,
        _add_vit,
        partial(_run, 'convert_vit'),
        ('coavt convert vit mae_pretrain_vit_base.pth vit.pth',),
    ),
    'bert': Command(
        'BERT to TextEncoder or QueryEncoder.' + USE,
        _add_bert,
        partial(_run, 'convert_bert'),
        ('coavt convert bert DIR bert.pth --target QueryEncoder',),
    ),
    'blip2': Command(
        'BLIP-2 stage 1 to query encoder, heads and temperature.' + USE,
        _add_blip2,
        partial(_run, 'convert_blip2'),
        ('coavt convert blip2 blip2_pretrained.pth blip2.pth',),
    ),
    'own': Command(
        'Rewrite or put together checkpoints of this package.\n\n'
        'The config that a checkpoint carries goes with it, if the weights are of it;\n'
        '--config adds one.',
        _add_own,
        _own,
        (
            'coavt convert own weights.safetensors work_dirs/x/iter_300.pth',
            'coavt convert own weights.pth weights.safetensors',
            'coavt convert own all.pth blip2.pth av_encoder=cavmae.pth '
            'text_encoder=bert.pth',
        ),
    ),
    'log': Command(
        'Write a checkpoint of mmengine, or of an early run, with its training log as\n'
        'plain numbers.\n\n'
        'mmengine pickles the log, for which readers would have to allow getattr:\n'
        'such files are refused until this is done, once. Nothing else in them\n'
        'changes.',
        _add_log,
        _log,
        ('coavt convert log work_dirs/x/iter_300.pth work_dirs/x/iter_300.pth',),
    ),
}
convert = Group(
    "Turn weights of CAV-MAE, ViT, BERT or BLIP-2 into this package's.", COMMANDS
)
