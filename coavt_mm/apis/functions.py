"""The short way to a trained model: embed, classify, caption, match.

All functions take clips as :class:`CoAVTInferencer` does, return plain data (lists,
dicts, numpy) with one entry a clip, also for a single clip, and raise subclasses of
``CoAVTError`` with one clear line. A single clip that can't be read raises ClipError;
in a list, a folder or a manifest its entry carries ``error`` (str, one line) and no
answer, unless ``on_error='raise'``. Letters: F frames, Q queries, E projected width.
"""

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from coavt_mm.apis.inferencer import CoAVTInferencer
from coavt_mm.apis.inputs import as_texts, check_number
from coavt_mm.apis.session import Model, get_model
from coavt_mm.apis.ties import tied_order
from coavt_mm.apis.writing import make_folder
from coavt_mm.datasets.manifest import nearest
from coavt_mm.errors import InputError, shown
from coavt_mm.models import CoAVTClassifier
from coavt_mm.models.generation import check_decoding

# Probabilities this close, as a share of the greater one, are tied: what a similarity's
# last bits become when it is divided by the temperature.
SHARE_TOLERANCE = 1e-4


def embed(
    video: Any = None,
    audio: Any = None,
    text: str | Sequence[str] | None = None,
    *,
    model: Model | None = None,
    batch_size: int = 8,
    windows: bool = True,
    on_error: str | None = None,
) -> dict:
    """Embed clips, texts, or both: any one modality, any pair, or all three.

    The similarity of a clip and a text is ``(embedding @ text).max(1).mean(0)``: the
    best query's cosine, averaged over frames.

    Args:
        video: A clip or several; a file brings its own sound unless ``audio`` is given.
        audio: Sound alone, or the sound of ``video``.
        text (str | Sequence[str], optional): A text or several.
        model: A loaded model or a checkpoint. Default: the one loaded last.
        batch_size (int): Windows that go through the model at once.
        windows (bool): Whether to cut clips longer than the model's input into windows
            of that length (s). False takes each as the evaluation would, as one.
        on_error (str, optional): Of a clip that can't be read: 'raise' ends the call,
            'keep' leaves an entry with ``error``. Default: 'raise' for a single clip,
            'keep' for a list, a folder and a manifest.

    Returns:
        dict: ``clips``, a dict each: ``clip`` (name), ``streams``, and ``windows``, a
        list of dicts with ``start``, ``end`` (s), ``streams`` and ``embeddings``:
        'AV' (both), 'A' (sound), 'V' (picture) as far as the clip has them ->
        (F, Q, E) float32, L2-normalised; F is 1 for 'A'. ``texts``, a dict each:
        ``text`` and ``embedding`` (E,) float32, L2-normalised.

    Raises:
        InputError: Nothing was given, or something of a wrong type or shape.
        ClipError: A clip can't be read, and ``on_error`` is 'raise'.
        ConfigError: The model embeds nothing (it is a classifier).
    """
    inferencer = get_model(model)
    if video is None and audio is None and text is None:
        raise InputError('give at least one of video, audio and text')
    inferencer.require('contrastive_head', 'embed')
    clips, texts = [], []
    if text is not None:
        given = as_texts(text)
        pairs = zip(given, inferencer.texts.embed(given), strict=True)
        texts = [dict(text=t, embedding=e) for t, e in pairs]
    if video is not None or audio is not None:
        options = dict(batch_size=batch_size, windows=windows, on_error=on_error)
        clips = [found for found, _ in inferencer.answers(video, audio, **options)]
    return dict(clips=clips, texts=texts)


def classify(
    clip: Any,
    labels: str | Sequence[str] | None = None,
    *,
    topk: int = 5,
    templates: str | Sequence[str] | None = None,
    model: Model | None = None,
    batch_size: int = 8,
    windows: bool = True,
    on_error: str | None = None,
) -> list[dict]:
    """Classify clips: into a classifier's classes, or by prompts with a CoAVT.

    Args:
        clip: A clip or several.
        labels (str | Sequence[str], optional): With a CoAVT what to choose from, any
            words; with a CoAVTClassifier those of its classes to report, default all.
        topk (int): Labels a clip.
        templates (str | Sequence[str], optional): With a CoAVT, sentences with a place
            ``{}`` for the label, whose embeddings are averaged. Default: those of the
            test pipeline, else the label alone.
        model, batch_size, windows, on_error: See :func:`embed`.

    Returns:
        list[dict]: A dict a clip: ``clip``, ``streams``, ``labels`` (best first, dicts
        with ``label`` and ``score``, the mean over the windows) and ``windows`` (dicts
        with ``start``, ``end`` in s, ``stream`` and their own ``labels``). A score is
        the classifier's probability, or with prompts the softmax over the labels of
        similarity / temperature.

    Raises:
        InputError: A label is unknown to the classifier, there is none to choose from,
            or see :func:`embed`.
        ClipError: A clip can't be read or lacks the classifier's modality, and
            ``on_error`` is 'raise'.
        ConfigError: The classifier's classes have no names.
    """
    inferencer = get_model(model)
    check_number('topk', topk, 1)
    labels = None if labels is None else as_texts(labels, 'labels')
    if isinstance(inferencer.model, CoAVTClassifier):
        if templates is not None:
            raise InputError('templates are for a CoAVT; this is a CoAVTClassifier')
        names = inferencer.class_names()
        columns = _columns(labels or names, names)
        names = labels or names
    else:
        prompts = _prompts(inferencer, labels, templates)
        names, columns = labels, None

    def scores(window: dict) -> np.ndarray:
        if columns is not None:
            return window.pop('scores')[columns]
        feats = window.pop('embeddings')[window['stream']]
        return _prompt_scores(inferencer, feats, prompts)

    answers = inferencer.answers(clip, None, batch_size, on_error, windows=windows)
    return [_labelled(found, names, scores, topk) for found, _ in answers]


def _labelled(
    found: dict, names: Sequence[str], scores: Callable[[dict], np.ndarray], topk: int
) -> dict:
    """A clip's answer with ``labels`` in the place of what they come from."""
    for window in found['windows']:
        window['stream'] = window.pop('streams')[0]
    each = [scores(window) for window in found['windows']]
    found['labels'] = _best(names, np.mean(each, 0), topk) if each else []
    for window, own in zip(found['windows'], each, strict=True):
        window['labels'] = _best(names, own, topk)
    return found


def _columns(labels: Sequence[str], names: Sequence[str]) -> list[int]:
    for label in labels:
        if label not in names:
            raise InputError(
                f'{label!r} is none of the {len(names)} classes{nearest(label, names)}'
            )
    return [names.index(label) for label in labels]


def _prompts(
    inferencer: CoAVTInferencer,
    labels: Sequence[str] | None,
    templates: str | Sequence[str] | None,
) -> np.ndarray:
    """(labels, E): mean over the templates, L2-normalised."""
    inferencer.require('contrastive_head', 'embed')
    if labels is None:
        raise InputError('labels: a CoAVT has no classes of its own, say some')
    given = inferencer.pipeline.templates if templates is None else templates
    templates = as_texts(given, 'templates')
    for template in templates:
        if '{}' not in template:
            raise InputError(f'template {template!r} has no place {{}} for the label')
    texts = [t.replace('{}', label) for label in labels for t in templates]
    feats = inferencer.texts.embed(texts)
    feats = feats.reshape(len(labels), len(templates), -1).mean(1)
    return feats / np.linalg.norm(feats, axis=1, keepdims=True)


def _prompt_scores(
    inferencer: CoAVTInferencer, feats: np.ndarray, prompts: np.ndarray
) -> np.ndarray:
    """(F, Q, E) and (labels, E) -> (labels,), sum 1."""
    similarity = torch.from_numpy((feats @ prompts.T).max(1).mean(0))
    temperature = inferencer.model.contrastive_head.temperature.detach().cpu()
    return (similarity / temperature.clamp_min(1e-3)).softmax(0).numpy()


def _best(names: Sequence[str], scores: np.ndarray, topk: int) -> list[dict]:
    order = tied_order(np.log(scores.clip(1e-30)), SHARE_TOLERANCE)[:topk]
    return [dict(label=names[i], score=float(scores[i])) for i in order]


def caption(
    clip: Any,
    *,
    model: Model | None = None,
    batch_size: int = 8,
    windows: bool = True,
    on_error: str | None = None,
    **decoding,
) -> list[dict]:
    """Write captions.

    A clip that lacks a modality is captioned from the other one; ``trained`` says
    whether the model has learnt that.

    Args:
        clip: A clip or several.
        model, batch_size, windows, on_error: See :func:`embed`.
        **decoding: Arguments of :class:`coavt_mm.models.generation.Decoding`, such as
            num_beams, max_tokens (word pieces), top_p. Default: three beams, 40 tokens.

    Returns:
        list[dict]: A dict a clip: ``clip``, ``streams`` and ``captions``, a dict a
        window: ``text``, ``start``, ``end`` (s), ``stream`` and ``trained``.

    Raises:
        InputError: See :func:`embed`.
        ClipError: A clip can't be read, and ``on_error`` is 'raise'.
        ConfigError: The model has no language modelling head, or a decoding option is
            unknown or makes no sense.
    """
    inferencer = get_model(model)
    head = inferencer.require('lm_head', 'write captions')
    beams = 1 if 'top_p' in decoding else 3  # drawing goes without beams
    options = dict(num_beams=beams, max_tokens=40, min_tokens=1) | decoding
    for name in ('num_beams', 'max_tokens'):
        check_number(name, options[name], 1)
    check_decoding('caption', options)
    answers = inferencer.answers(
        clip, None, batch_size, on_error, windows=windows, caption=options
    )
    clips = []
    for found, _ in answers:
        found['captions'] = [
            dict(text=window['caption'], **_place(window, head, found['clip']))
            for window in found.pop('windows')
        ]
        clips.append(found)
    return clips


def match(
    clip: Any,
    text: str | Sequence[str],
    *,
    model: Model | None = None,
    batch_size: int = 8,
    windows: bool = True,
    on_error: str | None = None,
) -> list[dict]:
    """Say how probably texts belong to clips: each text with each clip.

    Args:
        clip: A clip or several.
        text (str | Sequence[str]): A text or several.
        model, batch_size, windows, on_error: See :func:`embed`. Of a long clip the best
            window counts.

    Returns:
        list[dict]: A dict a clip: ``clip``, ``streams`` and ``texts``, a dict each, in
        the order given: ``text``, ``probability`` (0 ... 1), ``start``, ``end`` (s),
        ``stream`` and ``trained`` (whether the matching head has learnt that stream).

    Raises:
        InputError: See :func:`embed`.
        ClipError: A clip can't be read, and ``on_error`` is 'raise'.
        ConfigError: The model has no matching head.
    """
    inferencer = get_model(model)
    head = inferencer.require('matching_head', 'match')
    texts = as_texts(text)
    answers = inferencer.answers(
        clip,
        None,
        batch_size,
        on_error,
        windows=windows,
        match=inferencer.texts.tokens(texts),
    )
    clips = []
    for found, _ in answers:
        parts = found.pop('windows')
        found['texts'] = []
        for i, one in enumerate(texts) if parts else ():
            scores = np.array([part['matches'][i] for part in parts])
            best = tied_order(scores)[0]
            place = _place(parts[best], head, found['clip'])
            score = float(scores[best])
            found['texts'].append(dict(text=one, probability=score, **place))
        clips.append(found)
    return clips


def _place(window: dict, head: torch.nn.Module, name: str) -> dict:
    """Where an answer is from, and a warning where the head never saw such input."""
    stream = window['streams'][0]
    trained = stream in head.streams
    if not trained:
        _warn_once(
            f'{name}: answered from stream {stream} alone, on which the '
            f'{type(head).__name__} was not trained ({", ".join(head.streams)})'
        )
    return dict(
        start=window['start'], end=window['end'], stream=stream, trained=trained
    )


@lru_cache(maxsize=10_000)
def _warn_once(message: str) -> None:
    print_log(shown(message), logger='current', level=logging.WARNING)


def picture(
    clip: Any,
    out_dir: str | Path,
    texts: str | Sequence[str] | None = None,
    *,
    model: Model | None = None,
    batch_size: int = 8,
    windows: bool = True,
    on_error: str | None = None,
) -> list[Path | dict]:
    """Save a picture of each clip as the model sees it.

    It shows the frames, the spectrogram, the best of the texts, the caption, and where
    the queries look: the map of the query that fits the best text, or the mean of all.

    Args:
        clip: A clip or several.
        out_dir (str | Path): Folder for the PNG files.
        texts (str | Sequence[str], optional): To compare with; a classifier shows its
            classes.
        model, batch_size, windows, on_error: See :func:`embed`. Of a long clip the
            window that fits a text best is drawn, without texts the first.

    Returns:
        list[Path | dict]: A file a clip; a dict with ``clip`` and ``error`` for one
        that can't be read.

    Raises:
        InputError: See :func:`embed`.
        ClipError: A clip can't be read, and ``on_error`` is 'raise'.
    """
    inferencer = get_model(model)
    if not isinstance(out_dir, str | Path):
        raise InputError(f'out_dir must be a path, not a {type(out_dir).__name__}')
    options = dict(out_dir=make_folder(out_dir), windows=windows)
    if texts is not None:
        options['texts'] = as_texts(texts, 'texts')
    if getattr(inferencer.model, 'lm_head', None) is not None:
        options['caption'] = {}
    answers = inferencer.answers(clip, None, batch_size, on_error, **options)
    return [
        drawn[0] if drawn else dict(clip=found['clip'], error=found['error'])
        for found, drawn in answers
    ]
