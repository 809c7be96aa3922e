"""The command line of ``tools/infer.py``: one task on own clips, answers as text."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence

from .functions import caption, classify, match, picture
from .retrieval import retrieve
from .session import load_model


def parse_args(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line.

    Args:
        argv (Sequence[str], optional): Arguments; default those of the process.
    """
    parser = ArgumentParser(description='A trained model on own clips.')
    parser.add_argument('task', choices=TASKS)
    parser.add_argument('checkpoint', help='.pth or .safetensors')
    parser.add_argument('clips', nargs='+', help='files, addresses or one folder')
    parser.add_argument(
        '--texts',
        nargs='+',
        default=[],
        help='what to search for (retrieve), choose from (classify), compare (match)',
    )
    parser.add_argument('--config', help='for a checkpoint that does not carry its own')
    parser.add_argument('--device', help="'cpu', 'cuda', ...; default: the best")
    parser.add_argument('--batch-size', type=int, default=8, help='windows at once')
    parser.add_argument('--topk', type=int, default=5, help='hits or labels shown')
    parser.add_argument('--out', default='pictures', help='folder (picture)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the model, run the task, print a line for each answer.

    Args:
        argv (Sequence[str], optional): Arguments; default those of the process.
    """
    args = parse_args(argv)
    model = load_model(args.checkpoint, args.config, args.device)
    clips = args.clips[0] if len(args.clips) == 1 else args.clips
    options = dict(model=model, batch_size=args.batch_size)
    for line in TASKS[args.task](clips, args, options):
        print(line)


def _captions(clips, args: Namespace, options: dict) -> Iterator[str]:
    for found in caption(clips, **options):
        for part in found['captions']:
            yield f'{_place(found["clip"], part)}  {part["text"]}'


def _classes(clips, args: Namespace, options: dict) -> Iterator[str]:
    labels = args.texts or None
    for found in classify(clips, labels, topk=args.topk, **options):
        yield found['clip']
        for label in found['labels']:
            yield f'  {label["score"]:.3f}  {label["label"]}'


def _hits(clips, args: Namespace, options: dict) -> Iterator[str]:
    for found in retrieve(args.texts, clips, topk=args.topk, **options):
        yield found['query']
        for hit in found['hits']:
            place = _place(hit['candidate'], hit)
            yield f'  {hit["rank"]}. {hit["similarity"]:.3f}  {place}'


def _matches(clips, args: Namespace, options: dict) -> Iterator[str]:
    for found in match(clips, args.texts, **options):
        for text in found['texts']:
            place = _place(found['clip'], text)
            yield f'{text["probability"]:.3f}  {place}  {text["text"]}'


def _pictures(clips, args: Namespace, options: dict) -> Iterator[str]:
    yield from map(str, picture(clips, args.out, args.texts, **options))


def _place(name: str, window: dict) -> str:
    end = '' if window['end'] is None else f'{window["end"]:.1f}'
    return f'{name} [{window["start"]:.1f}-{end} s, {window["stream"]}]'


TASKS = {
    'caption': _captions,
    'classify': _classes,
    'retrieve': _hits,
    'match': _matches,
    'picture': _pictures,
}
