"""The job: prepare, train on, test before and after, write a page about it."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from coavt_mm.checkpoint_files import load_from_local
from coavt_mm.checkpoints import read_state_dict
from coavt_mm.checkpoints.own import fitting_config, save_weights
from coavt_mm.datasets.tokenizer import build_rules, build_tokenizer
from coavt_mm.engine.stages import find_checkpoint, run_command, timed
from coavt_mm.finetuning import recipe
from coavt_mm.finetuning.data import OwnData, prepare_own
from coavt_mm.finetuning.page import Job, next_commands, write_page
from coavt_mm.finetuning.vocabulary import extend_pieces, train_pieces, unknown_words

CAPTIONS, LABELS = (
    f'coavt_mm::coavt/{name}_own.py' for name in ('finetune', 'classify')
)
CHECKPOINT = 'checkpoint.pth'
#: Passes over the training clips, fewest and most steps.
EPOCHS, STEPS = 15, (200, 10_000)
#: A new model learns words and all from nothing.
FROM_NOTHING = 4
#: What an earlier job in the same work dir may have left.
STALE = (
    'train/*.pth', 'train/last_checkpoint', 'report.html',
    'before/*.json', 'after/*.json', 'after/*.png', 'after/features.pth',
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What the user asks for.

    Args:
        folders: With the clips.
        table: Spreadsheet of captions or labels.
        checkpoint: To start from; None for a small model from random weights.
        work_dir: For all that is written.
        labels: Whether labels are learnt, and not captions.
        tuning: Key of :data:`.recipe.TUNING`; None for what the config has.
        steps: Iterations; None for a number that suits the clips.
        batch_size: Clips in a batch.
        workers: Processes that check and read clips.
        prepare_only: Whether to end when the data are ready.
        resume: Whether to go on with a job that was cut off.
        cfg_options: Further settings of the config, ``KEY=VALUE``.
    """

    folders: Sequence[str]
    table: str
    checkpoint: str | None
    work_dir: str
    labels: bool = False
    tuning: str | None = None
    steps: int | None = None
    batch_size: int = 32
    workers: int = 1
    prepare_only: bool = False
    resume: bool = False
    cfg_options: Sequence[str] = ()


def run_finetuning(options: Options) -> Path:
    """Do the job.

    Args:
        options: What is asked for.

    Returns:
        The page, or with ``prepare_only`` the folder of the data.

    Raises:
        CoAVTError: What is given is not fit to train on, or a stage failed.
    """
    out = Path(options.work_dir)
    seconds: dict[str, float] = {}
    begin = recipe.begin(options.checkpoint)  # before anything that takes time
    if not options.labels:
        recipe.tokenizer_of(begin['pipeline'])
    with timed(seconds, 'prepare'):
        data = prepare_own(
            options.folders,
            options.table,
            out / 'data',
            options.labels,
            options.workers,
        )
        settings, notes = _settings(options, data, begin)
        _say(data, notes)
    config = LABELS if options.labels else CAPTIONS
    given = ['--cfg-options', *_written(settings), *options.cfg_options]
    train = ['train', config, '--work-dir', str(out / 'train'), *given]
    command = shlex.join(['coavt', *train])
    if options.prepare_only:
        print(f'\nTrain with\n  {command}')
        return data.root
    _train_and_test(config, train, settings, options, seconds)
    page = write_page(
        Job(
            out,
            data,
            options.folders[0],
            options.checkpoint,
            notes,
            seconds,
            command,
        )
    )
    _end(out, page, options)
    return page


def _forget(out: Path, checkpoint: str | None) -> None:
    """Delete the results of an earlier job, which must not pass for this one's."""
    for path in (path for pattern in STALE for path in out.glob(pattern)):
        if not (checkpoint and os.path.samefile(path, checkpoint)):
            path.unlink()


def _train_and_test(
    config: str,
    train: Sequence[str],
    settings: Mapping[str, Any],
    options: Options,
    seconds: dict[str, float],
) -> None:
    """Test what training starts from, train, test what came of it."""
    out = Path(options.work_dir)
    if not options.resume:
        _forget(out, options.checkpoint)
    done = (out / 'before/retrieval.json').is_file()
    if options.checkpoint and not options.labels and not done:
        with timed(seconds, 'test before'):
            own = {k: v for k, v in settings.items() if k != 'vocab_size'}
            own |= dict(tokenizer=None, out_dir=out / 'before')
            _test(config, options.checkpoint, out / 'before', own, options)
    with timed(seconds, 'train'):
        run_command(*train, *(['--resume'] if options.resume else []))
    checkpoint = _keep_weights(find_checkpoint(out / 'train'), out / CHECKPOINT)
    with timed(seconds, 'test'):
        own = dict(settings, out_dir=out / 'after')
        _test(config, str(checkpoint), out / 'after', own, options)


def _test(
    config: str, checkpoint: str, out: Path, settings: Mapping, options: Options
) -> None:
    given = ['--cfg-options', *_written(settings), *options.cfg_options]
    run_command('test', config, checkpoint, '--work-dir', str(out), *given)


def _settings(
    options: Options, data: OwnData, begin: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Variables of the config, and what to know of the data and of them."""
    clips = len(data.rows['train'])
    batch = min(options.batch_size, clips)
    least, most = STEPS
    steps = max(least, math.ceil(EPOCHS * clips / batch))
    settings: dict[str, Any] = dict(
        data_root=data.root,
        load_from=options.checkpoint,
        batch_size=batch,
        workers=min(options.workers, 8),
    )
    if options.tuning:
        settings['tuning'] = options.tuning
    if options.checkpoint is None:
        steps *= FROM_NOTHING
        settings |= _sizes(data)
    settings['max_iters'] = options.steps or min(steps, most)
    if options.labels:
        about = dict(num_classes=len(data.classes), task=data.task)
        return settings | about, [*data.notes]
    words, notes = _words(options, data, begin)
    return settings | words, [*data.notes, *notes]


def _sizes(data: OwnData) -> dict[str, float]:
    """Of a model from random weights: sound as long as the clips, its statistics."""
    from coavt_mm.analysis.audio_statistics import audio_statistics

    seconds = min(max(data.seconds, 1.28), 10.24)
    if data.stream == 'V':
        return {}
    found = audio_statistics(
        str(data.root / 'train.jsonl'), data_root=str(data.root), seconds=seconds,
        num_mel_bins=64, clips=200,
    )  # fmt: skip
    return dict(
        seconds=round(seconds, 2), spec_mean=found['mean'], spec_std=found['std']
    )


def _words(
    options: Options, data: OwnData, begin: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Settings of captions, and what to know of their words."""
    folder, notes = Path(options.work_dir) / 'tokenizer', []
    captions = data.captions('train')
    if options.checkpoint is None:
        tokenizer = train_pieces(captions, folder)
    else:
        old = recipe.tokenizer_of(begin['pipeline'])
        tokenizer, new = extend_pieces(old, captions, folder)
        if new:
            notes.append(
                f'{new} word pieces of the captions are new to the checkpoint, and are '
                'learnt from the training captions alone'
            )
    held_out = [*data.captions('val'), *data.captions('test')]
    if unknown := unknown_words(tokenizer, held_out):
        notes.append(
            f'words of validation and test that no training caption has: '
            f'{", ".join([*unknown][:10])}{" ..." if len(unknown) > 10 else ""}'
        )
    rules = build_rules(tokenizer)
    lengths = [len(rules.encode(text).ids) for text in [*captions, *held_out]]
    most = min(max(lengths), recipe.places_of(begin['model']))
    cut = sum(length > most for length in lengths)
    if cut:
        notes.append(
            f'{cut} of {len(lengths)} captions are cut: the model takes {most} tokens'
        )
    return dict(
        tokenizer=None if tokenizer.startswith('stored:') else tokenizer,
        vocab_size=len(build_tokenizer(tokenizer)),
        max_tokens=most,
        caption_fields=data.caption_fields,
        stream=data.stream,
        caption_scores=data.stream == 'AV' and find_spec('pycocoevalcap') is not None,
    ), notes


def _written(settings: Mapping[str, Any]) -> list[str]:
    """Settings as one types them; quotes keep paths together."""
    return [
        f'{key}={repr(str(value)) if isinstance(value, str | Path) else value}'
        for key, value in settings.items()
    ]


def _say(data: OwnData, notes: Sequence[str]) -> None:
    sizes = ', '.join(f'{name} {len(rows)}' for name, rows in data.rows.items())
    what = f'{len(data.classes)} classes' if data.classes else 'captions'
    print(f'clips: {sizes}; {what}; stream {data.stream}', *notes, sep='\n')


def _keep_weights(checkpoint: Path, path: Path) -> Path:
    """Write the weights with their config, without the optimiser's state."""
    read = load_from_local(str(checkpoint), 'cpu')
    state = read_state_dict(read)
    save_weights(state, path, config=fitting_config(read, state, str(checkpoint)))
    return path


def _end(out: Path, page: Path, options: Options) -> None:
    lines = next_commands(out, options.folders[0], options.labels)
    print(f'\nReport:     {page}\nCheckpoint: {out / CHECKPOINT}\nNext:')
    print(*(f'  {line}' for line in lines), sep='\n')
