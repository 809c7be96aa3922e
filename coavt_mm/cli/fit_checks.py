"""Whether the parts of a run fit each other: model, data, metrics, length, batches."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.runner import Runner

from coavt_mm.cli.plan_checks import of_best, of_length
from coavt_mm.cli.run_parts import Finding, Parts, parts_of_run
from coavt_mm.cli.texts import LOOKED_AT, parts_of, steps_of, texts_of
from coavt_mm.errors import ConfigError
from coavt_mm.models import CoAVT, CoAVTClassifier


def check_fit(runner: Runner) -> list[str]:
    """Refuse a run whose parts don't fit each other.

    Args:
        runner: Its model and loaders built.

    Returns:
        What may be otherwise than it is meant, a line for each.

    Raises:
        ConfigError: The message names what can't be; `coavt check` says all of it.
    """
    found = [*findings(parts_of_run(runner))]
    refuse([finding.text for finding in found if finding.kind == 'error'])
    return [finding.text for finding in found]


def refuse(problems: list[str]) -> None:
    """Raise what is wrong, if something is.

    Args:
        problems: A line for each.

    Raises:
        ConfigError: With the first one, and the number of the others.
    """
    if problems:
        more = f' (and {len(problems) - 1} more: `coavt check` lists all)'
        raise ConfigError(problems[0] + more * (len(problems) > 1))


def findings(parts: Parts) -> Iterator[Finding]:
    """Look at all that can be told without a batch.

    Args:
        parts: Of the run.
    """
    for split, dataset in (('train', parts.train), ('val', parts.val)):
        if parts.model is not None and dataset is not None:
            yield from _of_inputs(parts.model, split, dataset)
    yield from _of_batches(parts)
    if parts.val is not None:
        yield from _of_validation(parts)
        for metric in parts.metrics:
            yield from _of_metric(parts, metric)
    yield from of_best(parts)
    yield from of_length(parts)


# --------------------------------------------------------------------------------------
# Model and data
# --------------------------------------------------------------------------------------
def _of_inputs(model: Any, split: str, dataset: Any) -> Iterator[Finding]:
    encoder = getattr(model, 'av_encoder', None)
    front = getattr(getattr(model, 'data_preprocessor', None), 'front_end', None)
    wanted, given = getattr(encoder, 'spec_size', None), getattr(front, 'size', None)
    if split == 'train' and wanted and given and tuple(wanted) != tuple(given):
        yield Finding(
            f'model.av_encoder.spec_size={tuple(wanted)} (frames, mel bins), but the '
            f'data_preprocessor makes spectrograms of {tuple(given)}: set spec_size, '
            'or spec_frames and logmel.num_mel_bins of the data_preprocessor'
        )
    for part in parts_of(dataset):
        for step in steps_of(getattr(part, 'pipeline', None)):
            yield from _of_sound(split, step, front)
        side = getattr(encoder, 'img_size', None)
        made = _side_of([*steps_of(getattr(part, 'pipeline', None))])
        if side and made and {*made} != {side}:
            yield Finding(wrong_picture(split, made, side))


def wrong_picture(split: str, made: tuple[int, int], side: int) -> str:
    """Say that pictures are of another size than the encoder takes.

    Args:
        split: Whose.
        made: Height and width that they have.
        side: Height and width that they need.
    """
    return (
        f'{split}_dataloader: the pipeline makes pictures of {made[0]} x {made[1]} '
        f'pixels, model.av_encoder.img_size is {side}: set one to the other'
    )


def _of_sound(split: str, step: Any, front: Any) -> Iterator[Finding]:
    name = type(step).__name__
    rate, seconds = getattr(step, 'sample_rate', None), getattr(step, 'seconds', None)
    if front is None or rate is None or seconds is None:
        return
    if rate != front.sample_rate:
        yield Finding(
            f'{split}_dataloader: {name}.sample_rate={rate:g} Hz, but the front end of '
            f'the model takes {front.sample_rate:g} Hz'
        )
    if abs(seconds - front.seconds) > 0.05 * front.seconds:
        how = 'the rest is silence' if seconds < front.seconds else 'more is cut off'
        yield Finding(
            f'{split}_dataloader: {name}.seconds={seconds:g}, but a spectrogram holds '
            f'{front.seconds:g} s ({front.size[0]} frames): {how}',
            'note',
        )


def _side_of(steps: list[Any]) -> tuple[int, int] | None:
    """Height and width that the last step that sets both gives.

    None where a step of another library comes behind, which may change them.
    """
    for step in reversed(steps):
        size = getattr(step, 'crop_size', None)
        if size is None and not getattr(step, 'keep_ratio', True):
            size = getattr(step, 'scale', None)
        of_others = not type(step).__module__.startswith(('coavt_mm.', 'mmcv.'))
        if size is None and of_others and 'Flip' not in type(step).__name__:
            return None
        if isinstance(size, int):
            return size, size
        if isinstance(size, list | tuple) and len(size) == 2 and min(size) > 0:
            return size[1], size[0]
    return None


def _of_batches(parts: Parts) -> Iterator[Finding]:
    loader = parts.cfg.get('train_dataloader') or {}
    batch = loader.get('batch_size') or 0
    total = batch * parts.processes
    heads = getattr(parts.model, 'heads', {})
    compares = any(head.needs_negatives for head in heads.values())
    if total == 1 and compares and (parts.steps or 10) >= 10:
        yield Finding(
            'train_dataloader.batch_size=1: contrastive and matching losses compare '
            'the clips of a batch, so that nothing is learned of one; take 2 or more'
        )
    stages = (loader.get('sampler') or {}).get('curriculum') or ()
    for number, stage in enumerate(stages):
        size = stage.get('group_size', 1) if isinstance(stage, dict) else 1
        if isinstance(size, int) and batch and batch % size:
            yield Finding(
                f'train_dataloader.sampler.curriculum.{number}.group_size={size}: '
                f'batches of {batch} clips cut groups apart; make batch_size a '
                'multiple of it',
                'loss',
            )
    clips = len(parts.train) if parts.train is not None else total
    if loader.get('drop_last') and 0 < clips < total:
        yield Finding(
            f'train_dataloader.drop_last: {clips} clips are less than a batch of '
            f'{total}, so that there is none'
        )


# --------------------------------------------------------------------------------------
# Metrics and validation data
# --------------------------------------------------------------------------------------
_COMPARED = ('RetrievalMetric', 'ZeroShotMetric', 'AVRetrievalMetric')
_WRITTEN = ('CaptionMetric', 'AttributeAccuracy')


def _of_validation(parts: Parts) -> Iterator[Finding]:
    for part in parts_of(parts.val):
        if getattr(part, 'test_mode', True) is False and hasattr(part, 'on_error'):
            yield Finding(
                'val_dataloader.dataset.test_mode is not True: another clip would be '
                'taken for one that can not be read; set test_mode=True'
            )
    classes: list[Any] = [
        getattr(dataset, 'metainfo', {}).get('classes')
        for dataset in (parts.train, parts.val)
    ]
    if isinstance(parts.model, CoAVTClassifier):
        if all(classes) and [*classes[0]] != [*classes[1]]:
            yield Finding(
                f'the {len(classes[0])} classes of the training data are not the '
                f'{len(classes[1])} of the validation data: give both data sets the '
                'same `classes`'
            )
        known = getattr(getattr(parts.model, 'head', None), 'num_classes', None)
        for name, of in zip(('train', 'val'), classes, strict=True):
            if of and known and len(of) != known:
                yield Finding(
                    f'model.head.num_classes={known}, but {name}_dataloader.dataset '
                    f'has {len(of)} classes'
                )


def _of_metric(parts: Parts, metric: dict) -> Iterator[Finding]:
    name = str(metric.get('type')).rpartition('.')[2].rstrip("'>")
    model, rows = parts.model, [*islice(_rows(parts.val), LOOKED_AT)]
    where = f'val_evaluator: {name}'
    if isinstance(model, CoAVT) and name == 'ClassificationMetric':
        yield Finding(
            f'{where} needs class scores, which a CoAVT does not give: take '
            'RetrievalMetric or ZeroShotMetric, or a CoAVTClassifier as model'
        )
    if isinstance(model, CoAVTClassifier) and name in (*_COMPARED, *_WRITTEN):
        yield Finding(
            f'{where} needs features and captions of a CoAVT, the model is a '
            f'{type(model).__name__}: take ClassificationMetric'
        )
    yield from _of_heads(model, metric, name, where)
    if not rows:
        return
    has_labels = any(row.get('labels') or row.get('gt_label') for row in rows)
    if name in ('ClassificationMetric', 'ZeroShotMetric') and not has_labels:
        yield Finding(f'{where} needs labels, which no row of the data has')
    if name in ('RetrievalMetric', *_WRITTEN) and not _has_texts(parts.val):
        yield Finding(
            f'{where} needs captions, and the val_dataloader gives none: rows need '
            "captions, or labels with templates, in a field that the pipeline's "
            'AllCaptions takes, and TokenizeText behind it'
        )
    if name == 'AVRetrievalMetric' and not _has_both(parts.val, rows):
        yield Finding(
            f'{where} needs clips with sound and picture: the pipeline lacks LoadAudio '
            'or LoadFrames, or each row has one of both alone'
        )


def _of_heads(model: Any, metric: dict, name: str, where: str) -> Iterator[Finding]:
    if not isinstance(model, CoAVT):
        return
    if name in ('RetrievalMetric', 'ZeroShotMetric') and model.contrastive_head is None:
        yield Finding(
            f'{where} compares features of the contrastive_head, which is None'
        )
    modes = {*(metric.get('modes') or ())} & {'matching', 'matching_only'}
    if (modes or metric.get('matching_accuracy')) and model.matching_head is None:
        yield Finding(f'{where} asks the matching_head, which is None')
    if name in _WRITTEN and not model.test_cfg.get('caption'):
        yield Finding(
            f'{where} scores captions, which the model is not told to write: set '
            'model.test_cfg.caption, as in caption_demo.py'
        )
    if name in _WRITTEN and model.lm_head is None:
        yield Finding(f'{where} scores captions, which the lm_head writes; it is None')


def _rows(dataset: Any) -> Iterator[dict]:
    for part in parts_of(dataset):
        if hasattr(part, 'get_data_info'):
            for index in range(len(part)):
                yield part.get_data_info(index)


def _has_texts(dataset: Any) -> bool:
    """Whether some clip has a text, and something tokenises it; True if untold."""
    for part in parts_of(dataset):
        steps = [*steps_of(getattr(part, 'pipeline', None))]
        pickers = [s for s in steps if hasattr(s, 'fields') and hasattr(s, 'templates')]
        if not hasattr(part, 'get_data_info'):
            return True
        if not pickers or not any(hasattr(s, 'max_tokens') for s in steps):
            continue
        rows = (part.get_data_info(i) for i in range(min(len(part), LOOKED_AT)))
        if any(texts_of(row, pickers[0]) for row in rows):
            return True
    return False


def _has_both(dataset: Any, rows: list[dict]) -> bool:
    names = [
        type(step).__name__
        for part in parts_of(dataset)
        for step in steps_of(getattr(part, 'pipeline', None))
    ]
    loads = all(
        any(re.match(f'Load.*({kind})', name) for name in names)
        for kind in ('Audio|LogMel', 'Frames')
    )
    return loads and any(row.get('clip_path') or row.get('picture') for row in rows)
