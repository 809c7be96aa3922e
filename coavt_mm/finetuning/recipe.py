"""What training on own clips consists of, as parts of a config.

``configs/coavt/finetune_own.py`` puts them together; model, pipeline and sizes are
those of the checkpoint that training starts from.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config

from coavt_mm.apis.loading import read_checkpoint
from coavt_mm.checkpoints import read_stored_config
from coavt_mm.checkpoints.stored_checks import dicts
from coavt_mm.config import load_config
from coavt_mm.errors import ConfigError
from coavt_mm.streams import CAPTION_FIELDS, STREAMS

#: What of a pre-trained model goes on learning -> the parts that don't.
TUNING: dict[str, tuple[str, ...]] = {'frozen': ('av_encoder',), 'all': ()}
SMALL = 'coavt_mm::_base_/models/coavt_demo.py'
PIPELINE = 'coavt_mm::_base_/datasets/sounding_shapes.py'


def begin(
    checkpoint: str | None,
    seconds: float = 2.56,
    spec_mean: float = -6.4,
    spec_std: float = 4.5,
) -> dict[str, Any]:
    """Where training begins.

    Args:
        checkpoint: With its config; None for a small model from random weights, to
            which the rest applies.
        seconds: Of sound that it takes.
        spec_mean: Mean of the log-mel energies.
        spec_std: Their standard deviation.

    Returns:
        ``model`` and ``pipeline``, that of the test.

    Raises:
        CheckpointError: It can't be read, or carries no config.
    """
    if checkpoint is not None:
        stored = read_stored_config(read_checkpoint(checkpoint), checkpoint)
        return dict(model=stored['model'], pipeline=stored['pipeline'])
    # whole patches of 16 frames of 10 ms
    frames = 16 * math.ceil(round(seconds * 100) / 16)
    model = load_config(SMALL, dict(spec_frames=frames)).model
    model.data_preprocessor.update(spec_mean=spec_mean, spec_std=spec_std)
    pipeline = load_config(PIPELINE, dict(seconds=frames / 100)).test_pipeline
    return Config(dict(model=model, pipeline=pipeline)).to_dict()


def tokenizer_of(pipeline: Sequence[dict]) -> str:
    """The tokenizer that a pipeline reads captions with.

    Raises:
        ConfigError: It reads none.
    """
    for step in pipeline:
        key = step.get('key', 'input_ids')
        if _name(step) == 'TokenizeText' and key == 'input_ids':
            return step['tokenizer']
    raise ConfigError(
        'the checkpoint reads no captions; start from one of a CoAVT, or give --labels'
    )


def caption_model(
    model: dict,
    tokenizer: str,
    vocab_size: int,
    max_tokens: int,
    tuning: str,
    stream: str = 'AV',
    writes: bool = False,
) -> dict:
    """A CoAVT that goes on learning.

    Args:
        model: Config of the one to start from.
        tokenizer: Name or path.
        vocab_size: Least number of rows of its word tables.
        max_tokens: Longest caption.
        tuning: Key of :data:`TUNING`.
        stream: The fullest that the clips have. With 'A' or 'V' what was learnt of
            'AV' is learnt of it.
        writes: Whether the test writes captions, which needs both.

    Raises:
        ConfigError: It is no CoAVT, or a setting is none of those there are.
    """
    if _name(model) != 'CoAVT':
        raise ConfigError(
            f'the checkpoint is of a {model["type"]}, which knows no captions; start '
            'from one of a CoAVT, or give --labels'
        )
    if tuning not in TUNING or stream not in STREAMS:
        raise ConfigError(
            f'tuning={tuning!r} is to be one of {", ".join(TUNING)}, stream={stream!r} '
            f'one of {", ".join(STREAMS)}'
        )
    if max_tokens > places_of(model):
        raise ConfigError(
            f'max_tokens={max_tokens}: the model has places for {places_of(model)}'
        )
    model = copy.deepcopy(model)
    for part in dicts(model):
        if part.get('vocab_size', vocab_size) < vocab_size:
            part['vocab_size'] = vocab_size
        weights = part.get('streams')
        if isinstance(weights, dict) and not weights.get(stream):
            part['streams'] = {**weights, stream: weights.get('AV', 1.0)}
    captions = dict(greedy=dict(max_new_tokens=max_tokens)) if writes else {}
    return dict(
        model,
        tokenizer=tokenizer,
        frozen=TUNING[tuning],
        test_cfg=dict(keep_tokens=True, caption=captions),
    )


def caption_evaluators(out_dir: str, stream: str, scores: bool) -> list[dict]:
    """The metrics of the test.

    Args:
        out_dir: Where tables and plots go.
        stream: The fullest that the clips have.
        scores: Whether captions are scored as well, which needs the extra `caption`.
    """
    joint = stream == 'AV'
    found = dict(
        type='RetrievalMetric',
        modes=('cosine', 'matching') if joint else ('cosine',),
        matching_accuracy=joint,
        out_dir=out_dir,
        plots=True,
        features_file=f'{out_dir}/features.pth',
    )
    written = dict(type='CaptionMetric', tokenizer='words', out_dir=out_dir, plots=True)
    return [found, *([written] if scores and joint else [])]


def label_model(model: dict, classes: int, task: str, tuning: str) -> dict:
    """A classifier on the encoder of sound and picture.

    Args:
        model: Config of the one to start from, a CoAVT's or a classifier's.
        classes: Their number.
        task: 'single_label' or 'multi_label'.
        tuning: Key of :data:`TUNING`; 'frozen' is a linear probe.
    """
    return dict(
        type='CoAVTClassifier',
        data_preprocessor=model['data_preprocessor'],
        backbone=model.get('av_encoder') or model['backbone'],
        head=dict(
            type='ClassificationHead',
            num_classes=classes,
            loss='ce' if task == 'single_label' else 'bce',
            label_smoothing=0.1,
        ),
        frozen=bool(TUNING[tuning]),
    )


def train_loader(
    data_root: str, pipeline: Sequence[dict], batch_size: int, workers: int
) -> dict:
    """Clips for training, without end, each about as often as any other."""
    sampler = dict(type='ResumableSampler', shuffle=True, seed=0)
    return _loader(data_root, 'train.jsonl', pipeline, batch_size, workers, sampler)


def test_loader(
    data_root: str, manifest: str, pipeline: Sequence[dict], workers: int
) -> dict:
    """All clips of a manifest, once."""
    loader = _loader(
        data_root, manifest, pipeline, 32, workers,
        dict(type='DefaultSampler', shuffle=False),
    )  # fmt: skip
    loader['dataset'].update(test_mode=True, on_error='skip')
    return loader


def _loader(
    data_root: str,
    manifest: str,
    pipeline: Sequence[dict],
    batch_size: int,
    workers: int,
    sampler: dict,
) -> dict:
    return dict(
        batch_size=batch_size,
        collate_fn=dict(type='coavt_mm.stack_clips'),
        num_workers=workers,
        persistent_workers=workers > 0,
        sampler=sampler,
        dataset=dict(
            type='AVTDataset',
            ann_file=manifest,
            data_root=data_root,
            pipeline=[*pipeline],
            how_to_get='coavt finetune FOLDER --captions CSV --prepare-only',
        ),
    )


def clip_steps(begin: dict) -> list[dict]:
    """The steps of a test pipeline that read a clip, of a picture of any size.

    Args:
        begin: From :func:`begin`.
    """
    model, pipeline = begin['model'], begin['pipeline']
    steps = [dict(step) for step in pipeline if _name(step) not in _OF_TEXTS]
    sized = {'IfVisual', 'Resize', 'CenterCrop'}
    for place, step in enumerate(steps, start=1):
        if _name(step) == 'LoadFrames' and not sized & {*map(_name, steps)}:
            size = (model.get('av_encoder') or model['backbone'])['img_size']
            fit = [
                dict(type='Resize', scale=(-1, size)),
                dict(type='CenterCrop', crop_size=size),
            ]
            steps.insert(place, dict(type='IfVisual', transforms=fit))
            break
    return steps


def in_training(steps: Sequence[dict]) -> list[dict]:
    """The same steps with a frame of the clip at random."""
    return [
        dict(step, pick='random') if _name(step) == 'LoadFrames' else step
        for step in steps
    ]


def caption_pipelines(
    begin: dict, tokenizer: str, max_tokens: int, fields: Sequence[str]
) -> tuple[list[dict], list[dict]]:
    """The steps of training and test.

    Args:
        begin: From :func:`begin`.
        tokenizer: Name or path.
        max_tokens: Longest caption, in tokens.
        fields: Fields of a manifest that have captions.
    """
    steps = clip_steps(begin)
    weights = {field: 1.0 for field in CAPTION_FIELDS if field in fields}
    tokenize = dict(type='TokenizeText', tokenizer=tokenizer, max_tokens=max_tokens)
    # a text encoder with a tokenizer of its own keeps it
    others = (step for step in begin['pipeline'] if _name(step) == 'TokenizeText')
    texts = [tokenize, *(s for s in others if s.get('key', 'input_ids') != 'input_ids')]
    pick, take = dict(type='PickCaption'), dict(type='AllCaptions')
    train = [*in_training(steps), dict(pick, fields=weights), *texts, _PACK]
    return train, [*steps, dict(take, fields=tuple(weights)), *texts, _PACK]


def _name(step: dict) -> str:
    return step['type'].rpartition('.')[2]


def places_of(model: dict) -> int:
    """Longest caption that a model takes, in tokens."""
    bert = (model.get('text_encoder') or {}).get('config') or {}
    return min(
        bert.get('max_position_embeddings', 512),
        model['query_encoder'].get('max_tokens', 512),
    )


_PACK = dict(type='PackAVTInputs')
_OF_TEXTS = ('AllCaptions', 'PickCaption', 'TokenizeText', 'PackAVTInputs')
