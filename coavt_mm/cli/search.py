"""An index of own clips that keeps: ``coavt search``."""

import json
import os
import sys
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

from coavt_mm.cli.commands import CHECKPOINT_HELP, Command, Group, add_ray, check_ray
from coavt_mm.errors import CoAVTError, InputError, SearchError, shown

if TYPE_CHECKING:
    from coavt_mm.apis import CoAVTInferencer
    from coavt_mm.search import Index

PLACES = 'folders with all below them, files, or manifests (.jsonl)'


def _add_model(parser: ArgumentParser, where: str) -> None:
    parser.add_argument('--checkpoint', help=where)
    parser.add_argument('--config', help='for a checkpoint that does not carry its own')
    parser.add_argument('--device', help="'cpu', 'cuda', ...; default: the best")


def _add_work(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--labels',
        metavar='TABLE',
        help='spreadsheet (.csv, .xlsx) with columns clip and label; a manifest brings '
        'its own',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=16,
        help='windows that go through the model, and are safe on the disk, at once',
    )
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='threads that read clips'
    )
    add_ray(parser)


def _add_index(parser: ArgumentParser) -> None:
    parser.add_argument('places', nargs='+', metavar='FOLDER', help=PLACES)
    parser.add_argument('--out', required=True, metavar='INDEX', help='folder for it')
    _add_model(parser, f'the model: {CHECKPOINT_HELP}; needed for a new index')
    parser.add_argument(
        '--store',
        default='embedded',
        help='where vectors lie: in the folder (embedded), postgresql://..., or for '
        'Milvus http://... or a file *.db',
    )
    parser.add_argument(
        '--overlap',
        type=float,
        default=0.0,
        help='share of a window that the next one of a long clip repeats: 0.5 or 0.75 '
        'finds moments more exactly, and takes two or four times as long',
    )
    _add_work(parser)


def _add_add(parser: ArgumentParser) -> None:
    parser.add_argument('index', metavar='INDEX', help='folder of the index')
    parser.add_argument(
        'places',
        nargs='*',
        metavar='FOLDER',
        help=f'{PLACES}; default: all that it was made of',
    )
    _add_model(parser, 'the model; default: where it was')
    _add_work(parser)


def _add_remove(parser: ArgumentParser) -> None:
    parser.add_argument('index', metavar='INDEX', help='folder of the index')
    parser.add_argument('paths', nargs='+', metavar='PATH', help='clips, or folders')


def _add_compact(parser: ArgumentParser) -> None:
    parser.add_argument('index', metavar='INDEX', help='folder of the index')


def _add_info(parser: ArgumentParser) -> None:
    parser.add_argument('index', metavar='INDEX', help='folder of the index')
    parser.add_argument('--json', action='store_true', help='print JSON')


def _add_query(parser: ArgumentParser) -> None:
    parser.add_argument('index', metavar='INDEX', help='folder of the index')
    parser.add_argument('text', nargs='?', metavar='TEXT', help='what is looked for')
    parser.add_argument('--sound', metavar='FILE', help='what it sounds like')
    parser.add_argument('--picture', metavar='FILE', help='what it looks like')
    parser.add_argument('--clip', metavar='FILE', help='both; what is given adds up')
    parser.add_argument(
        '--stream',
        default='fullest',
        choices=('AV', 'A', 'V', 'best', 'fullest'),
        help='compare with sound and picture together, one of them, whichever fits '
        'best, or the fullest that a clip has',
    )
    parser.add_argument('--topk', type=int, default=10, help='hits shown')
    parser.add_argument(
        '--rerank',
        type=int,
        default=0,
        metavar='N',
        help='read the N best hits again and rank them by matching',
    )
    parser.add_argument(
        '--moments', action='store_true', help='say when: spans that answer'
    )
    _add_filters(parser)
    parser.add_argument('--json', action='store_true', help='print JSON')
    _add_model(parser, 'the model; default: where it was')


def _add_filters(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('which clips are asked')
    group.add_argument('--folder', nargs='+', default=[], help='below one of these')
    group.add_argument('--label', nargs='+', default=[], help='with all of these')
    group.add_argument('--after', metavar='DATE', help='changed then or later')
    group.add_argument('--before', metavar='DATE', help='changed before')
    group.add_argument('--longer', type=float, metavar='SECONDS', help='at least')
    group.add_argument('--shorter', type=float, metavar='SECONDS', help='at most')


# --------------------------------------------------------------------------------------
# Doing it
# --------------------------------------------------------------------------------------
def _load(args: Namespace, checkpoint: str, isolate: bool = False) -> 'CoAVTInferencer':
    from coavt_mm.apis import load_model

    if not checkpoint:
        raise InputError('which model? Give --checkpoint')
    with redirect_stdout(sys.stderr), warnings.catch_warnings():  # mmengine's log
        return load_model(checkpoint, args.config, args.device, False, isolate)


def opened(args: Namespace, isolate: bool = False) -> 'tuple[Index, CoAVTInferencer]':
    """The index, and its model.

    Args:
        args: With ``index``, ``checkpoint``, ``config``, ``device``.
        isolate: Whether a process beside decodes clips.

    Raises:
        SearchError: There is no index, or its model is gone.
    """
    from coavt_mm.search import Index

    index = Index(args.index)
    stored = index.settings['checkpoint']
    if args.checkpoint is None and not os.path.exists(stored):
        raise SearchError(
            f'{args.index}: its model is no longer at {stored}; say where it is with '
            '--checkpoint'
        )
    return index, _load(args, args.checkpoint or stored, isolate)


def _index(args: Namespace) -> None:
    from coavt_mm.search import Index

    check_ray(args)
    if os.path.isdir(args.out) and os.listdir(args.out):
        args.index = args.out
        index, model = opened(args)
    else:
        model = _load(args, args.checkpoint)
        options = dict(store=args.store, overlap=args.overlap)
        index = Index.create(args.out, model, args.checkpoint, **options)
    _bring_up(index, model, args)


def _bring_up(index: 'Index', model: 'CoAVTInferencer', args: Namespace) -> None:
    """Index what is new, and tell of it."""
    from coavt_mm.cli.search_screen import Progress
    from coavt_mm.search import OnRay

    labels = _labels(args.labels) if args.labels else {}
    options = (args.places, labels, args.batch_size, args.workers)
    checkpoint = args.checkpoint or index.settings['checkpoint']
    embed = args.ray and OnRay(args.ray, checkpoint, args.config, args.device)
    try:
        with _short_warnings(), index, Progress() as progress:
            report = index.add(model, *options, progress.begin, progress, embed)
            empty = _why_empty(index)
    except KeyboardInterrupt:
        raise CoAVTError(
            'interrupted; what was indexed is safe, and the same command goes on'
        ) from None
    print(f'{index.folder}: {report}')
    for why in report.errors.values():
        print(shown(why), file=sys.stderr)
    if empty:
        raise SearchError(empty)


def _why_empty(index: 'Index') -> str | None:
    """Why nothing can be found in an index; None where something can."""
    query = 'SELECT state, count(*) FROM clips GROUP BY state'
    states = dict(index.catalogue.rows(query))
    if 'there' in states:
        return None
    if failed := states.get('failed', 0):
        return (
            f'{index.folder}: none of its {failed:,} clips could be read, so that '
            f'nothing can be found; `coavt search info {index.folder}` says why, and '
            '`add` tries them again when they have changed'
        )
    return f'{index.folder}: no clip is in it; take some in with `coavt search add`'


@contextmanager
def _short_warnings() -> Iterator[None]:
    """A warning is one line, without the place in our code that it comes from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(
            f'Warning: {shown(str(message))}', file=sys.stderr
        )
        yield


def _labels(table: str) -> dict[str, list[str]]:
    from coavt_mm.preparation.sources import read_folder_csv

    splits = read_folder_csv(table)
    found = {c.source: c.labels for clips in splits.values() for c in clips}
    if not any(found.values()):
        raise InputError(f'{table}: no row has a label; its column is "label"')
    return found


def _add(args: Namespace) -> None:
    check_ray(args)
    index, model = opened(args)
    _bring_up(index, model, args)


def _remove(args: Namespace) -> None:
    from coavt_mm.search import Index

    with Index(args.index) as index:
        print(f'{args.index}: {index.remove(args.paths):,} clips removed')


def _compact(args: Namespace) -> None:
    from coavt_mm.search import Index

    with Index(args.index) as index:
        freed = max(0, index.compact())
        print(f'{args.index}: {freed / 1e6:.1f} MB are free, {index.bytes / 1e6:.1f} '
              'MB are left')  # fmt: skip


def _info(args: Namespace) -> None:
    from coavt_mm.search import Index
    from coavt_mm.search.stored import making_sense

    with Index(args.index) as index:
        info = index.info()
    if args.json:
        _print_json(info)
        return
    from coavt_mm.cli.search_screen import info_lines

    with making_sense(index.folder):
        _print(info_lines(args.index, info))


def _query(args: Namespace) -> None:
    from coavt_mm.cli.search_screen import hit_lines
    from coavt_mm.search import Filters
    from coavt_mm.search.stored import making_sense

    filters = Filters(
        folders=tuple(args.folder),
        labels=tuple(args.label),
        after=args.after,
        before=args.before,
        longer=args.longer,
        shorter=args.shorter,
    )
    filters.sql()  # a date that is none is said before the model is loaded
    index, model = opened(args)
    begun = time.monotonic()
    with index, _short_warnings():
        found = index.query(
            model,
            args.text,
            sound=args.sound,
            picture=args.picture,
            clip=args.clip,
            stream=args.stream,
            topk=args.topk,
            filters=filters,
            rerank=args.rerank,
            moments=args.moments,
        )
        empty = None if found['hits'] else _why_empty(index)
        if not found['hits'] and not empty:
            _say_left_out(index, filters)
    if empty:
        raise SearchError(empty)
    if args.json:
        _print_json(found)
    else:
        with making_sense(index.folder):
            _print(hit_lines(found))
        print(f'{1e3 * (time.monotonic() - begun):.0f} ms', file=sys.stderr)


def _say_left_out(index: 'Index', filters: Any) -> None:
    if not len(index.window_ids(filters)):
        print(
            'no clip passes folder, label, date and length; `coavt search info '
            f'{shown(str(index.folder))}` lists folders and labels',
            file=sys.stderr,
        )


def _check_query(args: Namespace) -> str | None:
    if not any((args.text, args.sound, args.picture, args.clip)):
        return 'say what to look for: TEXT, --sound, --picture or --clip'
    if args.rerank and not args.text:
        return '--rerank compares with a text, and none is given'
    return None


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def _print(lines: Iterator[str]) -> None:
    """Names that the terminal's encoding lacks are escaped."""
    encoding = sys.stdout.encoding or 'utf-8'
    for line in lines:
        print(shown(line).encode(encoding, 'backslashreplace').decode(encoding))


search = Group(
    'Search your own clips: an index that keeps.\n\n'
    'Made once, it answers at once, and takes in what is new, changed, moved or gone.',
    {
        'index': Command(
            'Make an index of clips, or go on with one.\n\n'
            'Can be stopped at any moment; the same command goes on.',
            _add_index,
            _index,
            (
                'coavt search index my_clips --out my_index --checkpoint '
                'work_dirs/demo/checkpoint.pth',
            ),
        ),
        'add': Command(
            'Bring an index up to date: new, changed, moved and deleted files.',
            _add_add,
            _add,
            ('coavt search add my_index', 'coavt search add my_index more_clips'),
        ),
        'remove': Command(
            'Take clips out of an index; the files stay as they are.\n\n'
            '`add` leaves them out, too, unless they are named one by one.',
            _add_remove,
            _remove,
            ('coavt search remove my_index my_clips/private',),
        ),
        'compact': Command(
            'Give back the room of what was changed or removed.',
            _add_compact,
            _compact,
            ('coavt search compact my_index',),
        ),
        'info': Command(
            'Say what is in an index.',
            _add_info,
            _info,
            ('coavt search info my_index',),
        ),
        'query': Command(
            'Search by words, sound, picture, clip, or several of these at once.',
            _add_query,
            _query,
            (
                'coavt search query my_index "a dog barks while it rains"',
                'coavt search query my_index --sound bell.wav --stream A',
                'coavt search query my_index "a red car" --sound horn.wav --moments',
            ),
            _check_query,
        ),
    },
)
