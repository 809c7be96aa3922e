"""A page over a search index: ``coavt app``."""

import os
import sys
from argparse import ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path

from coavt_mm.cli.commands import Command
from coavt_mm.errors import ConfigError

AUTH = 'COAVT_APP_AUTH'
HERE = ('127.0.0.1', 'localhost', '::1')


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument('index', metavar='INDEX', help='folder of the index')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen at; 0.0.0.0: all of this machine, for others to see',
    )
    parser.add_argument('--port', type=int, default=7860, help='0: any that is free')
    parser.add_argument(
        '--auth',
        metavar='FILE',
        help='with a line NAME:PASSWORD for each who may see the page; '
        f'default: the variable {AUTH}, else everybody who reaches it',
    )
    parser.add_argument(
        '--texts',
        metavar='FILE',
        help='a text a line, that clips are compared with; default: labels of the '
        'index, and captions of its manifests',
    )
    parser.add_argument('--checkpoint', help='the model; default: where it was')
    parser.add_argument('--config', help='for a checkpoint that does not carry its own')
    parser.add_argument('--device', help="'cpu', 'cuda', ...; default: the best")


def read_users(path: str | None) -> dict[str, str]:
    """Names and passwords, from a file or the environment.

    Args:
        path: Of the file; None: what the environment says.

    Raises:
        ConfigError: The file can't be read, or a line has no name or password.
    """
    where, lines = path or AUTH, os.environ.get(AUTH, '').splitlines()
    if path is not None:
        lines = _lines(path)
    users = {}
    for number, line in enumerate(lines, 1):
        name, _, password = line.strip().partition(':')
        if line.strip() and not (name and password):
            raise ConfigError(f'{where}:{number}: write it as NAME:PASSWORD')
        if name:
            users[name] = password
    if path is not None and not users:
        raise ConfigError(f'{path}: has no line NAME:PASSWORD')
    return users


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path}: can not be read ({error})') from error


def _run(args: Namespace) -> None:
    users = read_users(args.auth)
    texts = [line.strip() for line in _lines(args.texts)] if args.texts else []
    from coavt_mm.app.serving import bound, check_installed, serve

    check_installed()
    line = bound(args.host, args.port)
    from coavt_mm.app.collection import Collection
    from coavt_mm.cli.search import opened

    index, model = opened(args, isolate=True)
    index.close()
    if args.host not in HERE and not users:
        print(
            f'Warning: everybody who reaches {args.host} sees these clips; ask for a '
            'password with --auth',
            file=sys.stderr,
        )
    collection = Collection(index.folder, model, list(filter(None, texts)))
    with closing(collection):
        serve(collection, args.host, line, users)


app = Command(
    'Search an index, look at its clips and its map: a page in the browser.\n\n'
    'Clips and questions stay on this machine. Needs the extra app.',
    _add_arguments,
    _run,
    (
        'coavt app my_index',
        'coavt app my_index --host 0.0.0.0 --auth users.txt',
    ),
)
