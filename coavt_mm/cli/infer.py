"""One task on own clips, answers as text: ``coavt caption`` and its like."""

import os
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coavt_mm import apis
from coavt_mm.cli import answer_lines
from coavt_mm.cli.commands import CHECKPOINT_HELP, Command
from coavt_mm.devices import why_no_gpu
from coavt_mm.errors import ClipError, ConfigError, InputError, shown

if TYPE_CHECKING:
    from coavt_mm.apis import CoAVTInferencer


def _add_arguments(
    parser: ArgumentParser, words: str = '', lists: str = '', captions: str = ''
) -> None:
    """Add what a task takes.

    Args:
        parser: The command's.
        words: What its texts are, if it takes some.
        lists: What there may be many of, if it is cut after the best.
        captions: What it does with captions of manifests, if it takes them.
    """
    parser.set_defaults(texts=[], topk=5, captions=False)
    parser.add_argument('checkpoint', help=CHECKPOINT_HELP)
    parser.add_argument(
        'clips',
        nargs='+',
        help='files, addresses, folders with all below them, or manifests (.jsonl)',
    )
    if words:
        parser.add_argument('--texts', nargs='+', default=[], help=words)
    if captions:
        parser.add_argument('--captions', action='store_true', help=captions)
    if lists:
        parser.add_argument('--topk', type=int, default=5, help=lists)
    parser.add_argument('--config', help='for a checkpoint that does not carry its own')
    parser.add_argument('--device', help="'cpu', 'cuda', ...; default: the best")
    parser.add_argument('--batch-size', type=int, default=16, help='windows at once')
    parser.add_argument(
        '--data-root', help="folder of a manifest's paths; default: the manifest's own"
    )
    parser.add_argument(
        '--out',
        help='file for the answers, .json or .csv (embed: .npz or .json); for '
        'visualize the folder, default: pictures',
    )
    parser.add_argument(
        '--isolate',
        action='store_true',
        help='decode in a process beside, for clips of strangers: one that crashes a '
        'decoder costs its own answer alone',
    )
    parser.add_argument(
        '--on-error',
        choices=('raise', 'keep'),
        help='of a clip that can not be read: end, or go on; default: go on where '
        'several clips are given',
    )


def _add_any(parser: ArgumentParser) -> None:
    """Add the task, and what any of them takes."""
    parser.add_argument('task', choices=TASKS, type=_task)
    texts = 'what to search for (retrieve), choose from (classify), compare (match)'
    _add_arguments(parser, texts, 'hits or labels shown')


def _task(word: str) -> str:
    """The task, also by its old name."""
    if word != 'picture':
        return word
    print("The task 'picture' is now called 'visualize'", file=sys.stderr)
    return 'visualize'


def _check(args: Namespace) -> str | None:
    if args.task in ('retrieve', 'match') and not args.texts:
        return f'{args.task} needs --texts'
    if args.data_root is None:
        return None
    from coavt_mm.apis.listing import is_manifest

    if not any(map(is_manifest, args.clips)):
        return '--data-root is for manifests (.jsonl), and none is given'
    return None


def with_dashes(argv: Sequence[str]) -> list[str]:
    """Arguments whose file names don't look like options: ids may begin with a dash."""
    words = list(argv)
    end = words.index('--') if '--' in words else len(words)
    for i, word in enumerate(words[:end]):
        if word.startswith('-') and (os.path.lexists(word) or _is_media(word)):
            words[i] = os.path.join('.', word)
    return words


def _is_media(word: str) -> bool:
    if not Path(word).suffix:  # an option's name
        return False
    from coavt_mm.apis.listing import has_media_suffix

    return has_media_suffix(word)


def parse_args(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line of ``tools/infer.py``.

    Args:
        argv: Arguments; default those of the process.
    """
    return _infer.parse(with_dashes(sys.argv[1:] if argv is None else argv))


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line of ``tools/infer.py`` says.

    Args:
        argv: Arguments; default those of the process.

    Raises:
        ClipError: A clip could not be read; the others were answered.
    """
    _run(parse_args(argv))


def _check_device(device: str | None) -> None:
    """Say that there is no GPU before a model is read."""
    if device is None or not device.startswith('cuda'):
        return
    reason = why_no_gpu()
    if reason is None:
        import torch

        if not torch.cuda.is_available():
            reason = f'torch {torch.__version__} finds no GPU with a driver here'
    if reason is not None:
        raise ConfigError(
            f'device {device!r} can not be used: {reason}; leave --device out for the '
            'best there is'
        )


def _run(args: Namespace) -> None:
    """Load the model, run the task, print the answers and write them to a file.

    Answers alone go to the standard output, all else to the standard error.
    """
    from coavt_mm.cli.checks import check_checkpoint
    from coavt_mm.cli.writing import check_target, write_answers

    task = TASKS[args.task]
    _check_device(args.device)
    target = args.out and task.suffixes and check_target(args.out, task.suffixes)
    check_checkpoint(args.checkpoint)
    clips = _clips(args)
    if args.captions:
        args.texts = [*args.texts, *_captions_in(args.clips)]
    with redirect_stdout(sys.stderr), warnings.catch_warnings():  # mmengine's log
        warnings.filterwarnings('ignore', r'\d+ of \d+ clips are without an answer')
        warnings.showwarning = _say
        model = apis.load_model(
            args.checkpoint, args.config, args.device, isolate=args.isolate
        )
        options = dict(batch_size=args.batch_size, on_error=args.on_error)
        answers = task.ask(model, clips, args, options)
    if target:
        write_answers(answers, target)
    answers = answers['clips'] if isinstance(answers, dict) else answers
    answer_lines.print_lines(line for answer in answers for line in task.lines(answer))
    if errors := answer_lines.errors_of(answers):
        for error in errors:
            print(shown(error), file=sys.stderr)
        count = len(clips) if isinstance(clips, list) else 1
        raise ClipError(f'{len(errors)} of {count} clips are without an answer')


def _say(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning in one line, without the place in our code that it comes from."""
    print(f'Warning: {shown(str(message))}', file=sys.stderr)


def _clips(args: Namespace) -> Any:
    """A single clip as it is; else a list."""
    from coavt_mm.apis.listing import is_address, is_manifest, listed
    from coavt_mm.datasets.manifest import find_manifest

    first = args.clips[0]
    for manifest in filter(is_manifest, args.clips):
        find_manifest(manifest)
    if len(args.clips) == 1 and not is_address(first) and not os.path.exists(first):
        raise ClipError(f'{first}: No such file or directory')
    clips: list[Any] = []
    for given in args.clips:
        if is_manifest(given):
            clips += apis.read_clips(given, args.data_root)
        else:
            clips += listed(given)
    return first if clips == args.clips[:1] else clips


def _captions_in(places: Sequence[str]) -> list[str]:
    """Captions of all kinds in the manifests, each once."""
    from coavt_mm.apis.listing import is_manifest
    from coavt_mm.datasets.manifest import iter_manifest
    from coavt_mm.streams import CAPTION_FIELDS

    rows = (r for p in filter(is_manifest, places) for r in iter_manifest(Path(p)))
    texts = [x for row in rows for field in CAPTION_FIELDS for x in row.get(field, ())]
    if not texts:
        raise InputError('--captions: no manifest (.jsonl) with captions is given')
    return [*dict.fromkeys(texts)]


def _draw(
    model: 'CoAVTInferencer', clips: Any, args: Namespace, options: dict
) -> list[dict]:
    folder = args.out or 'pictures'
    drawn = model.visualize(clips, folder, args.texts or None, **options)
    return [x if isinstance(x, dict) else dict(drawing=str(x)) for x in drawn]


@dataclass(frozen=True)
class Task:
    """What a word on the command line does.

    Args:
        ask: From model, clips, command line and common options to answers.
        lines: From an answer to lines of text.
        suffixes: Of files that answers go to.
    """

    ask: Callable[['CoAVTInferencer', Any, Namespace, dict], Any]
    lines: Callable[[dict], Iterator[str]]
    suffixes: tuple[str, ...] = ('.json', '.csv')


TASKS = {
    'caption': Task(
        lambda model, clips, _, options: model.caption(clips, **options),
        answer_lines.captions,
    ),
    'classify': Task(
        lambda model, clips, args, options: model.classify(
            clips, args.texts or None, topk=args.topk, **options
        ),
        answer_lines.labels,
    ),
    'retrieve': Task(
        lambda model, clips, args, options: model.retrieve(
            args.texts, clips, topk=args.topk, **options
        ),
        answer_lines.hits,
    ),
    'match': Task(
        lambda model, clips, args, options: model.match(clips, args.texts, **options),
        answer_lines.matches,
    ),
    'check-sound': Task(
        lambda model, clips, _, options: model.check_sound(clips, **options),
        answer_lines.fits,
    ),
    'embed': Task(
        lambda model, clips, args, options: model.embed(
            clips, text=args.texts or None, **options
        ),
        answer_lines.windows,
        ('.npz', '.json'),
    ),
    'visualize': Task(_draw, answer_lines.drawings, ()),
}


_infer = Command(
    'A trained model on own clips. Ends with status 1 if a clip can not be read;\n'
    'the others are answered all the same.',
    _add_any,
    _run,
    examples=('infer.py caption work_dirs/demo/checkpoint.pth my_clip.mp4',),
    check=_check,
)
_ENDS = (
    '\n\nPrints the answers; ends with status 1 if a clip can not be read, the others\n'
    'are answered all the same.'
)


def _command(task: str, about: str, example: str, **options: str) -> Command:
    def add(parser: ArgumentParser) -> None:
        parser.set_defaults(task=task)
        _add_arguments(parser, **options)

    line = f'coavt {task} work_dirs/demo/checkpoint.pth {example}'
    return Command(about + _ENDS, add, _run, (line,), _check)


COMMANDS = {
    'embed': _command(
        'embed',
        'Embed clips, and perhaps texts, in the space in which they are compared.',
        'my_clips --out features.npz',
        words='texts to embed, too',
        captions='embed the captions of the manifests, too',
    ),
    'caption': _command(
        'caption', 'Say in a sentence what clips show and sound like.', 'my_clip.mp4'
    ),
    'classify': _command(
        'classify',
        'Say which of some words fits each clip best.\n\n'
        'A classifier has classes of its own; any other model needs --texts. It was\n'
        'trained on sentences: those fit better than single words.',
        'my_clip.mp4 --texts "a dog barks" "a bell rings"',
        words='what to choose from; default: the classes of a classifier',
        lists='labels shown',
    ),
    'match': _command(
        'match',
        'Say how likely texts and clips belong to each other.',
        'my_clip.mp4 --texts "a dog barks at a bell"',
        words='what to compare each clip with',
    ),
    'check-sound': _command(
        'check-sound',
        'Say whether sound and picture belong together, or would if one were shifted.'
        '\n\n'
        'Takes a model that was trained to compare the two, such as that of\n'
        'configs/coavt/av_retrieval_demo.py.',
        'my_clip.mp4',
    ),
    'retrieve': _command(
        'retrieve',
        'Search clips by text: the best hits for each text.',
        'my_clips --texts "a dog barks" --topk 3',
        words='what to search for',
        lists='hits shown',
    ),
    'visualize': _command(
        'visualize',
        'Draw clips as the model sees them: frames, spectrogram, attention, scores.',
        'my_clip.mp4 --texts "a dog barks" --out pictures',
        words='texts whose best are drawn with their scores',
    ),
}
