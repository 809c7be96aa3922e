"""Does the model of a stored config go with the weights beside it?

Answered without memory for the model, whose sizes somebody else wrote down.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from coavt_mm.checkpoints.conversion import skeleton, stored_numbers
from coavt_mm.checkpoints.stored_checks import dicts
from coavt_mm.datasets.tokenizer import DECODER_TOKEN
from coavt_mm.datasets.transforms import TokenizeText
from coavt_mm.datasets.transforms.video import build_transforms
from coavt_mm.errors import CheckpointError, CoAVTError
from coavt_mm.models import (
    AVTDataPreprocessor,
    CoAVT,
    CoAVTClassifier,
    JointAVEncoder,
    TextEncoder,
)
from coavt_mm.registry import MODELS

#: A model may be larger than its weights by position tables of larger pictures, which
#: are interpolated, and by filters: so many times, and so many numbers.
TIMES, SPARE = 2, 2**24

# what constructors raise for arguments of the right kind that make no sense
_SENSELESS = (CoAVTError, ArithmeticError, AssertionError, AttributeError, LookupError,
              RuntimeError, TypeError, ValueError)  # fmt: skip


def check_model(stored: dict, state: Mapping[str, Tensor], where: str) -> None:
    """Build the stored model without memory, and its pipeline.

    A model with classes of other packages, which the user has imported, is not looked
    at: not all constructors can do without memory.

    Args:
        stored: From ``read_stored_config``.
        state: The weights.
        where: Name of the checkpoint, for the message.

    Raises:
        CheckpointError: It can't be built, or takes more than such weights do.
    """
    transforms = _built(lambda: build_transforms(stored['pipeline']), 'pipeline', where)
    if not _is_own(stored['model']):
        return
    model = _built(lambda: skeleton(stored['model']), 'model', where)
    numbers = stored_numbers(state, where)
    sizes = [t.numel() for t in {*model.parameters(), *model.buffers()}]
    wanted = sum(sizes) if all(sizes) else 0
    if not 0 < wanted <= TIMES * numbers + SPARE:
        raise CheckpointError(
            f'{where}: the model of its stored config has {wanted} numbers, its '
            f'weights have {numbers}'
        )
    if isinstance(model, CoAVT | CoAVTClassifier):
        _check_inputs(model, where)
    if isinstance(model, CoAVT):
        _check_texts(model, transforms, where)


def _is_own(cfg: dict) -> bool:
    names = [node['type'].rpartition('.')[2] for node in dicts(cfg) if 'type' in node]
    return all(MODELS.get(name).__module__.startswith('coavt_mm.') for name in names)


def _built(make: Callable, what: str, where: str) -> Any:
    try:
        return make()
    except _SENSELESS as error:
        kind = '' if isinstance(error, CoAVTError) else f'{type(error).__name__}: '
        reason = (str(error).strip().splitlines() or [''])[0]
        raise CheckpointError(
            f'{where}: its stored config builds no {what} ({kind}{reason:.200})'
        ) from error


def _check_inputs(model: nn.Module, where: str) -> None:
    """The preprocessor makes what the encoder takes."""
    encoder = getattr(model, 'av_encoder', None) or getattr(model, 'backbone', None)
    preprocessor = model.data_preprocessor
    if not isinstance(encoder, JointAVEncoder) or not isinstance(
        preprocessor, AVTDataPreprocessor
    ):
        raise CheckpointError(
            f'{where}: its stored config has no encoder of sound and picture, or no '
            'AVTDataPreprocessor before it'
        )
    made = preprocessor.front_end.size
    if made != encoder.spec_size or preprocessor.front_end.hop <= 0:
        raise CheckpointError(
            f'{where}: the preprocessor of its stored config makes spectrograms of '
            f'{made[0]} x {made[1]}, the encoder takes '
            f'{" x ".join(map(str, encoder.spec_size))}'
        )


def _check_texts(model: CoAVT, transforms: Sequence[Callable], where: str) -> None:
    """Every id and every place of a text has its row in the tables."""
    queries = model.query_encoder
    rows, places = (
        queries.word_embeddings.num_embeddings,
        queries.position_embeddings.num_embeddings,
    )
    if isinstance(model.text_encoder, TextEncoder):
        config = model.text_encoder.bert.config
        rows, places = (
            min(rows, config.vocab_size),
            min(places, config.max_position_embeddings),
        )
    _check_ids(model, rows, where)
    for transform in transforms:
        if isinstance(transform, TokenizeText) and transform.key == 'input_ids':
            ids = transform.rules.get_vocab()
            ids.pop(DECODER_TOKEN)  # begins captions that are written, not those read
            highest = max(ids.values())
            if transform.max_tokens > places or highest >= rows:
                raise CheckpointError(
                    f'{where}: texts of up to {transform.max_tokens} tokens with ids '
                    f'up to {highest} do not fit its model, which takes {places} '
                    f'tokens and {rows} ids'
                )


def _check_ids(model: CoAVT, rows: int, where: str) -> None:
    """What texts are begun and filled up with has a row as well."""
    for part, name in (
        (model.lm_head, 'dec_token_id'),
        (model.lm_head, 'end_token_id'),
        (model.data_preprocessor, 'pad_token_id'),
    ):
        number = getattr(part, name, 0)
        if not 0 <= number < rows:
            raise CheckpointError(
                f'{where}: {name}={number} of its stored config is no row of its '
                f"model's {rows} word pieces"
            )
