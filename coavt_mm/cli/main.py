"""The command ``coavt``."""

import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Sequence

from coavt_mm import __version__
from coavt_mm.cli import infer
from coavt_mm.cli.app import app
from coavt_mm.cli.check import check
from coavt_mm.cli.commands import (
    Command,
    CompletionAction,
    Group,
    HelpFormatter,
    add_commands,
    refuse_unknown,
    run_chosen,
)
from coavt_mm.cli.convert import convert
from coavt_mm.cli.demo import demo
from coavt_mm.cli.export import export
from coavt_mm.cli.finetune import finetune
from coavt_mm.cli.info import info
from coavt_mm.cli.launch import run_tool, test, train
from coavt_mm.cli.prepare import prepare
from coavt_mm.cli.search import search
from coavt_mm.cli.shards import shards

COMMANDS: dict[str, Command | Group] = {
    'demo': demo,
    'check': check,
    'train': train,
    'test': test,
    'prepare': prepare,
    'shards': shards,
    'convert': convert,
    **infer.COMMANDS,
    'search': search,
    'app': app,
    'finetune': finetune,
    'export': export,
    'info': info,
}


def make_parser() -> ArgumentParser:
    """Make the parser of all commands."""
    parser = ArgumentParser(
        prog='coavt',
        description='Audio-visual-text pre-training, and what is done with it.\n'
        '`coavt COMMAND --help` says what a command takes.',
        formatter_class=HelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'coavt {__version__}')
    parser.add_argument(
        '--print-completion',
        action=CompletionAction,
        choices=('bash', 'zsh', 'tcsh'),
        dest=SUPPRESS,
        help='print what a shell needs to complete commands and options, e.g. '
        'eval "$(coavt --print-completion bash)" in ~/.bashrc',
    )
    add_commands(parser, COMMANDS)
    return parser


def _parsed(words: Sequence[str]) -> Namespace:
    args, unknown = make_parser().parse_known_args(words)
    _, parser = args.chosen
    refuse_unknown(parser, unknown)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; an error that the user can mend is one line.

    Args:
        argv: Arguments; default those of the process.

    Raises:
        SystemExit: See :func:`coavt_mm.cli.launch.run_tool`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in infer.COMMANDS:
        words = infer.with_dashes(words)
    run_tool(lambda: run_chosen(_parsed(words)))
