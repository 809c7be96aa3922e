"""What retrieval keeps of each clip, and the file that it is saved in.

Letters: C captions, F frames, Q queries, E projected width, N_av tokens, D width.
"""

from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coavt_mm.compat import load_from_local
from coavt_mm.errors import CoAVTError
from coavt_mm.evaluation.metric import check_finite
from coavt_mm.streams import STREAMS

KEPT_META = ('protocol', 'manifest', 'manifest_hash', 'hash', 'missing', 'ceilings')


def keep_features(sample: dict, dtype: torch.dtype, keep_tokens: bool) -> dict:
    """Take from a prediction what ranking needs, on the CPU.

    Args:
        sample: A prediction of ``CoAVT`` as a dict: ``clip_feats`` {stream: (F, Q, E)},
            ``caption_feats`` (C, E) or (C, 3, E), ``texts``, ``text_streams`` and, for
            the matching head, ``tokens`` (F, N_av, D) and ``caption_ids``.
        dtype: In which the projected features are kept.
        keep_tokens: Keep what the matching head needs.
    """
    texts = list(sample.get('texts', []))
    record: dict[str, Any] = {'texts': texts}
    record['text_streams'] = list(sample.get('text_streams', ['AV'] * len(texts)))
    # clone: a row of a batch would drag the whole batch through pickle
    record['clip_feats'] = {
        stream: feats.detach().to('cpu', dtype).clone()
        for stream, feats in sample.get('clip_feats', {}).items()
    }
    captions = sample.get('caption_feats')
    if captions is not None:
        record['caption_feats'] = captions.detach().to('cpu', dtype).clone()
    if keep_tokens:
        tokens, ids = sample.get('tokens'), sample.get('caption_ids')
        record['tokens'] = None if tokens is None else tokens.detach().cpu().clone()
        record['caption_ids'] = None if ids is None else [i.cpu().clone() for i in ids]
    return record


def check_record(record: dict) -> None:
    """Refuse a record whose captions and features don't fit, or are not finite.

    Raises:
        CoAVTError: The message names the clip.
    """
    name, captions = record['sample_id'], record.get('caption_feats')
    found = 0 if captions is None else len(captions)
    if not found == len(record['texts']) == len(record['text_streams']):
        raise CoAVTError(
            f'sample {name!r} has {len(record["texts"])} texts, '
            f'{len(record["text_streams"])} text_streams and {found} caption features'
        )
    ids = record.get('caption_ids')
    if ids is not None and len(ids) != len(record['texts']):
        raise CoAVTError(
            f'sample {name!r} has {len(record["texts"])} texts and {len(ids)} lists of '
            'caption_ids'
        )
    tensors = {f'clip_feats[{s}]': t for s, t in record['clip_feats'].items()}
    if captions is not None:
        tensors['caption_feats'] = captions
    for key, tensor in tensors.items():
        check_finite(tensor, key, name)


def save_records(path: str | Path, meta: dict | None, records: list[dict]) -> None:
    """Save records, and what is known of their data set, for :func:`read_records`."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    meta = {key: value for key, value in (meta or {}).items() if key in KEPT_META}
    torch.save({'meta': meta, 'records': records}, path)


def read_records(path: str | Path) -> tuple[dict, list[dict]]:
    """The data set's ``metainfo`` and the records that :func:`save_records` wrote.

    Raises:
        CoAVTError: If the file is of another kind, or a part of it is; the message
            names file and clip.
    """
    saved = load_from_local(str(path), 'cpu')
    if not isinstance(saved, dict) or set(saved) != {'meta', 'records'}:
        raise CoAVTError(
            f'{path}: no features that RetrievalMetric(features_file=...) saved'
        )
    meta, records = saved['meta'], saved['records']
    _check_kinds(path, 'meta', meta, META_KINDS)
    if not isinstance(records, list) or not records:
        _refuse(path, 'records', 'a list of clips')
    for number, record in enumerate(records):
        _check_kinds(path, f'record {number}', record, RECORD_KINDS)
        try:
            check_record(record)
        except CoAVTError as error:
            raise CoAVTError(f'{path}: {error}') from error
    return meta, records


def _refuse(path: str | Path, place: str, wanted: str) -> None:
    raise CoAVTError(
        f'{path}: {place} is not {wanted}; save the features again with '
        'RetrievalMetric(features_file=...)'
    )


def _check_kinds(path: str | Path, name: str, content: Any, kinds: dict) -> None:
    """Refuse what is no dictionary, or has a value of another kind."""
    if not isinstance(content, dict):
        _refuse(path, name, 'a dictionary')
    for key, (is_right, wanted) in kinds.items():
        if not is_right(content.get(key)):
            _refuse(path, f'{key!r} of {name}', wanted)


def _instance(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds) and not isinstance(value, bool)


_is_number, _is_text = _instance(Real), _instance(str)
_is_name = _instance(str, Integral)


def _is_count(value: Any) -> bool:
    return _instance(Integral)(value) and value >= 0


def _is_table(value: Any) -> bool:
    """Dictionaries of texts and dictionaries or numbers, at whatever depth."""
    return isinstance(value, dict) and all(
        isinstance(key, str) and (_is_number(part) or _is_table(part))
        for key, part in value.items()
    )


def _is_ids(value: Any) -> bool:
    is_tensor = isinstance(value, Tensor) and value.dim() == 1 and len(value) > 0
    return is_tensor and value.dtype in (torch.int32, torch.int64)


def _is_feature(value: Any, dim: int = 3) -> bool:
    is_tensor = isinstance(value, Tensor) and value.dim() == dim
    return is_tensor and value.is_floating_point() and value.numel() > 0


def _is_captions(value: Any) -> bool:
    by_stream = _is_feature(value, 3) and value.shape[1] == len(STREAMS)
    return (
        _is_feature(value, 2)
        or by_stream
        or (isinstance(value, Tensor) and not len(value))
    )


def _by_stream(value: Any) -> bool:
    return isinstance(value, dict) and all(
        stream in STREAMS and _is_feature(feats) for stream, feats in value.items()
    )


def _list_of(is_part: Callable) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(is_part, value))


def _optional(is_kind: Callable) -> Callable[[Any], bool]:
    return lambda value: value is None or is_kind(value)


# key -> whether a value is of its kind, and how to say what was expected
META_KINDS = {
    **dict.fromkeys(KEPT_META, (_optional(_is_text), 'a text')),
    'missing': (_optional(_is_count), 'a count'),
    'ceilings': (_optional(_is_table), 'numbers by stream'),
}
RECORD_KINDS = {
    'sample_idx': (_is_count, 'a whole number'),
    'sample_id': (_optional(_is_name), 'a name'),
    'error': (_optional(_is_text), 'a text'),
    'clip_path': (_optional(_is_text), 'a text'),
    'start': (_optional(_is_number), 'a number of seconds'),
    'end': (_optional(_is_number), 'a number of seconds'),
    'frame_times': (_optional(_list_of(_is_number)), 'a list of seconds'),
    'texts': (_list_of(_is_text), 'a list of texts'),
    'text_streams': (_list_of(STREAMS.__contains__), f'a list of {", ".join(STREAMS)}'),
    'clip_feats': (_by_stream, 'features (F, Q, E) by stream'),
    'caption_feats': (_optional(_is_captions), 'features (C, E) or (C, 3, E)'),
    'tokens': (_optional(_is_feature), 'tokens (F, N_av, D)'),
    'caption_ids': (_optional(_list_of(_is_ids)), 'a list of token ids'),
}
