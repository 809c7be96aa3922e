"""From a batch of windows to plain answers, and from a clip's windows to its own.

Letters: F frames, Q queries, E projected width, N tokens, D width.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from mmengine.structures import BaseDataElement
from torch import Tensor

from coavt_mm.models import CoAVT, CoAVTClassifier
from coavt_mm.streams import STREAMS, available, has_modality_of


def describe(
    model: CoAVT | CoAVTClassifier, sample: BaseDataElement, heard: bool, seen: bool
) -> dict:
    """What the answer says of a window beside the model's part.

    Args:
        model (CoAVT | CoAVTClassifier): Has to take one of the streams.
        sample (BaseDataElement): With ``sample_idx``, ``sample_id``, ``shown`` (start,
            end in s) and ``share`` (of the clip that is done with this window).
        heard (bool): Whether it has sound.
        seen (bool): Whether it has a picture.

    Returns:
        dict: ``index``, ``clip``, ``start``, ``end``, ``streams``, ``share``, and
        ``error`` where there is nothing to answer from.
    """
    (start, end), there = sample.shown, available(heard, seen)
    window = dict(index=sample.sample_idx, clip=sample.sample_id, share=sample.share)
    streams = [stream for stream in STREAMS if there[stream]]
    window.update(start=start, end=end, streams=streams)
    wanted = model.test_cfg['stream'] if isinstance(model, CoAVTClassifier) else 'AV'
    if not streams:
        window['error'] = (
            f'{sample.sample_id}: too little sound for a spectrogram, and no picture, '
            f'from {start:g} s on'
        )
    elif not has_modality_of(wanted, streams):
        window['error'] = (
            f'{sample.sample_id}: this model classifies by stream {wanted}, the clip '
            f'has {", ".join(streams)} from {start:g} s on'
        )
    return window


def add_scores(model: CoAVTClassifier, found: Sequence[dict], batch: dict) -> None:
    """Add ``scores`` ((classes,) float32) to the windows of a batch."""
    for window, scores in zip(found, model.scores(batch), strict=True):
        window['scores'] = scores.float().cpu().numpy()
        _check_finite(window, [window['scores']])


def add_features(
    model: CoAVT,
    found: Sequence[dict],
    batch: dict[str, Tensor],
    keep: bool,
    caption: dict | None,
    view: bool,
) -> None:
    """Add ``embeddings`` (stream -> (F, Q, E) float32) to the windows of a batch.

    Args:
        model (CoAVT): The model.
        found (Sequence[dict]): From :func:`describe`.
        batch (dict[str, Tensor]): Their rows.
        keep (bool): Whether to add ``tokens`` (stream -> (F, N, D)).
        caption (dict, optional): How to write ``caption``; None writes none.
        view (bool): Whether to add ``view``, with the queries' ``attention`` (F, Q, N).
    """
    extracted = model.extract(batch)
    tokens, feats = extracted['tokens'], extracted.get('clip_feats', {})
    for row, window in enumerate(found):
        window['embeddings'] = {
            stream: feats[stream][row].float().cpu().numpy()
            for stream in window['streams']
            if stream in feats
        }
        _check_finite(window, window['embeddings'].values())
        if keep:
            window['tokens'] = {
                s: tokens[s][row].float().cpu().numpy() for s in window['streams']
            }
        if view:
            fullest = tokens[window['streams'][0]][row]  # (F, N, D)
            maps = model.query_encoder.attention_maps(fullest)
            window['view'] = dict(attention=maps.mean(1).cpu().numpy())  # (F, Q, N)
    if caption is not None:
        _add_captions(model, found, tokens, batch['clip_key'].tolist(), caption)


def _check_finite(window: dict, arrays: Iterable[np.ndarray]) -> None:
    """NaN ranks anywhere: it is an error, and no answer."""
    if not all(np.isfinite(array).all() for array in arrays):
        window['error'] = f'{window["clip"]}: the model gives NaN or inf for this clip'


def _add_captions(
    model: CoAVT,
    found: Sequence[dict],
    tokens: dict[str, Tensor],
    keys: list[int],
    options: dict,
) -> None:
    """Captions from the middle frame of the fullest stream, a stream at a time."""
    for stream in STREAMS:
        good = (i for i, window in enumerate(found) if 'error' not in window)
        rows = [i for i in good if found[i]['streams'][0] == stream]
        if rows:
            middle = tokens[stream][rows, tokens[stream].shape[1] // 2]
            texts = model.generate(middle, [keys[row] for row in rows], **options)
            for row, text in zip(rows, texts, strict=True):
                found[row]['caption'] = text


def joined(windows: Sequence[dict]) -> dict:
    """A clip's answer from its windows, without what only pictures and bars need.

    Returns:
        dict: ``clip``, ``streams``, ``windows``; both empty, and ``error``, where a
        window has one.
    """
    clip = windows[0]['clip']
    for window in windows:
        if 'error' in window:
            return dict(clip=clip, streams=[], windows=[], error=window['error'])
    hidden = ('view', 'share', 'index', 'clip')
    kept = [{k: v for k, v in w.items() if k not in hidden} for w in windows]
    there = {stream for window in windows for stream in window['streams']}
    streams = [stream for stream in STREAMS if stream in there]
    return dict(clip=clip, streams=streams, windows=kept)
