"""What a command is: its help page, its options, what it does.

Modules of commands import nothing heavy at their top, so that ``--help`` answers at
once; what a command needs is imported when it runs.
"""

from argparse import (
    SUPPRESS,
    Action,
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, NoReturn

from coavt_mm.errors import ConfigError
from coavt_mm.values import read_settings

CHECKPOINT_HELP = '.pth or .safetensors; or folder or hub id of a CLAP, CLIP, PE-AV'


class HelpFormatter(RawDescriptionHelpFormatter):
    """Leaves texts as they are written, and says defaults where there are any."""

    def _get_help_string(self, action: Action) -> str | None:
        default, text = action.default, action.help
        is_none = default is None or default is False or default in ('', SUPPRESS)
        is_none = is_none or (isinstance(default, list | dict) and not default)
        if not text or not action.option_strings or is_none or '%(default)' in text:
            return text
        return f'{text} (default: %(default)s)'


class SettingsAction(Action):
    """Read KEY=VALUE pairs as mmengine's ``DictAction``, which cuts blanks out."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add to the settings that are there already."""
        try:
            settings = read_settings(values)
        except ValueError as error:
            parser.error(f'{option_string} {error}')
        before = getattr(namespace, self.dest) or {}
        setattr(namespace, self.dest, {**before, **settings})


def setting(text: str) -> str:
    """A KEY=VALUE that is handed on to another command as it stands.

    Args:
        text: What was typed.
    """
    try:
        read_settings([text])
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


def add_ray(parser: ArgumentParser) -> None:
    """Add the option of work that a cluster may do.

    Args:
        parser: The command's.
    """
    parser.add_argument(
        '--ray',
        metavar='ADDRESS',
        help="a Ray cluster does it: 'auto', 'host:port', 'ray://host:port'; 'local' "
        'starts one here',
    )


def check_ray(args: Namespace) -> None:
    """Say that Ray is missing before anything is read or loaded.

    Args:
        args: Of a parser with ``add_ray``.

    Raises:
        ConfigError: It is.
    """
    if args.ray and not find_spec('ray'):
        raise ConfigError('--ray needs Ray: pip install "coavt-mm[scale]"')


class CompletionAction(Action):
    """Print the completion of all commands for a shell, and end."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Import the library only when it is asked for."""
        try:
            from shtab import complete
        except ImportError:
            parser.error(f'{option_string} needs the package shtab: pip install shtab')
        print(complete(parser, values))
        parser.exit()


def _page(about: str, epilog: str | None = None) -> dict[str, Any]:
    return dict(description=about, epilog=epilog, formatter_class=HelpFormatter)


_UNKNOWN = 'unrecognized arguments: '


def refuse_unknown(parser: ArgumentParser, unknown: Sequence[str]) -> None:
    """End with what a command doesn't know, and what is meant perhaps.

    Args:
        parser: The command's.
        unknown: Words that it has not read.
    """
    if not unknown:
        return
    options = [word.partition('=')[0] for word in unknown if word.startswith('--')]
    known = [name for action in parser._actions for name in action.option_strings]
    close = [near for word in options for near in get_close_matches(word, known, n=1)]
    hint = f'; is {" ".join(close)} meant?' if close else ''
    ArgumentParser.error(parser, f'{_UNKNOWN}{" ".join(unknown)}{hint}')


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End; a mistyped option is told the nearest."""
        if message.startswith(_UNKNOWN):
            refuse_unknown(self, message.removeprefix(_UNKNOWN).split())
        super().error(message)


@dataclass(frozen=True)
class Command:
    """A command; called with arguments, it runs as they say.

    Args:
        about: Its help text; the first line stands in lists of commands.
        add: Adds its options to a parser.
        run: Does what the options say.
        examples: Command lines, each as one types it.
        check: Finds what is wrong with options that fit each by itself; returns
            nothing, or what to tell.
    """

    about: str
    add: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], Any]
    examples: Sequence[str] = ()
    check: Callable[[Namespace], str | None] = field(default=lambda args: None)

    @property
    def page(self) -> dict[str, Any]:
        """What a parser is made with."""
        lines = ''.join(f'\n  {line}' for line in self.examples)
        return _page(self.about, f'examples:{lines}' if lines else None)

    def parse(self, argv: Sequence[str] | None = None) -> Namespace:
        """Read a command line.

        Args:
            argv: Arguments; default those of the process.
        """
        parser = _Parser(**self.page)
        self.add(parser)
        args = parser.parse_args(argv)
        if complaint := self.check(args):
            parser.error(complaint)
        return args

    def __call__(self, argv: Sequence[str] | None = None) -> Any:
        """Run as a command line says.

        Args:
            argv: Arguments; default those of the process.
        """
        return self.run(self.parse(argv))


@dataclass(frozen=True)
class Group:
    """Commands that share a word, such as ``coavt prepare``.

    Args:
        about: Its help text.
        commands: Word -> command.
    """

    about: str
    commands: Mapping[str, Command]


def add_commands(
    parser: ArgumentParser, commands: Mapping[str, Command | Group]
) -> None:
    """Add commands to a parser; what was chosen is left as ``chosen``.

    Args:
        parser: The parser; it gets a positional argument.
        commands: Word -> command, or several.
    """
    parsers = parser.add_subparsers(
        title='commands', metavar='COMMAND', required=True, prog=parser.prog
    )
    for word, command in commands.items():
        about = command.about.splitlines()[0]
        if isinstance(command, Group):
            made = parsers.add_parser(word, help=about, **_page(command.about))
            add_commands(made, command.commands)
        else:
            made = parsers.add_parser(word, help=about, **command.page)
            command.add(made)
            made.set_defaults(chosen=(command, made))


def run_chosen(args: Namespace) -> Any:
    """Run what a parser with :func:`add_commands` has read."""
    command, parser = vars(args).pop('chosen')
    if complaint := command.check(args):
        parser.error(complaint)
    return command.run(args)


def add_fields(parser: ArgumentParser, fields: Sequence[Field]) -> None:
    """Add an option for each field of a dataclass, with the help that it has.

    Args:
        parser: The parser.
        fields: With ``help`` in their metadata.
    """
    for option in fields:
        kind: dict[str, Any] = {'action': 'store_true'}
        if option.type is not bool:
            types = getattr(option.type, '__args__', (option.type,))
            kind = {'type': types[0]}
        parser.add_argument(
            f'--{option.name.replace("_", "-")}',
            default=option.default,
            help=option.metadata['help'],
            **kind,
        )
