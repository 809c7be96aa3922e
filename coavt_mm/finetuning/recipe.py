"""What training on own clips consists of, as parts of a config.

``configs/coavt/finetune_own.py`` puts them together; model, pipeline and sizes are
those of the checkpoint that training starts from.
"""

import copy
from collections.abc import Sequence
from typing import Any

from coavt_mm.apis.loading import read_checkpoint
from coavt_mm.checkpoints import read_stored_config
from coavt_mm.checkpoints.stored_checks import dicts
from coavt_mm.config import load_config
from coavt_mm.datasets.tokenizer import build_tokenizer
from coavt_mm.errors import ConfigError
from coavt_mm.streams import CAPTION_FIELDS

#: What of a pre-trained model goes on learning -> the parts that don't.
TUNING: dict[str, tuple[str, ...]] = {'frozen': ('av_encoder',), 'all': ()}
SMALL = 'coavt_mm::coavt/pretrain_demo.py'


def start(checkpoint: str | None) -> dict[str, Any]:
    """Where training begins.

    Args:
        checkpoint: With its config; None for a small model from random weights.

    Returns:
        ``model`` and ``pipeline``, that of the test.

    Raises:
        CheckpointError: It can't be read, or carries no config.
    """
    if checkpoint is None:
        cfg = load_config(SMALL)
        return dict(model=cfg.model, pipeline=cfg.test_dataloader.dataset.pipeline)
    stored = read_stored_config(read_checkpoint(checkpoint), checkpoint)
    return dict(model=stored['model'], pipeline=stored['pipeline'])


def caption_model(
    model: dict, tokenizer: str, tuning: str, captions: dict | None = None
) -> dict:
    """A CoAVT that goes on learning, with room for all pieces of a tokenizer.

    Args:
        model: Config of the one to start from.
        tokenizer: Name or path.
        tuning: Key of :data:`TUNING`.
        captions: How captions are written at the test, see ``CoAVT``.

    Raises:
        ConfigError: It is no CoAVT.
    """
    if model['type'].rpartition('.')[2] != 'CoAVT':
        raise ConfigError(
            f'the checkpoint is of a {model["type"]}, which knows no captions; start '
            'from one of a CoAVT, or give --labels'
        )
    if tuning not in TUNING:
        raise ConfigError(f'tuning={tuning!r} is none of {", ".join(TUNING)}')
    model, pieces = copy.deepcopy(dict(model)), len(build_tokenizer(tokenizer))
    for part in dicts(model):
        if part.get('vocab_size', pieces) < pieces:
            part['vocab_size'] = pieces
    test = dict(keep_tokens=True, caption=captions or {})
    return dict(model, tokenizer=tokenizer, frozen=TUNING[tuning], test_cfg=test)


def caption_pipelines(
    pipeline: Sequence[dict], tokenizer: str, max_tokens: int, fields: Sequence[str]
) -> tuple[list[dict], list[dict]]:
    """The steps that training and test read clips and captions with.

    Args:
        pipeline: Those of the checkpoint's test.
        tokenizer: Name or path.
        max_tokens: Longest caption, in tokens.
        fields: Fields of a manifest that have captions.
    """
    train, test = [], []
    for step in pipeline:
        name = step['type'].rpartition('.')[2]
        if name in ('AllCaptions', 'PickCaption', 'TokenizeText', 'PackAVTInputs'):
            continue
        test.append(dict(step))
        train.append(dict(step, pick='random') if name == 'LoadFrames' else dict(step))
    tokenize = dict(type='TokenizeText', tokenizer=tokenizer, max_tokens=max_tokens)
    pack = dict(type='PackAVTInputs')
    weights = {field: 1.0 for field in CAPTION_FIELDS if field in fields}
    train += [dict(type='PickCaption', fields=weights), tokenize, pack]
    test += [dict(type='AllCaptions', fields=tuple(weights)), tokenize, pack]
    return train, test
