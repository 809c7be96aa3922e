"""What a model is asked for; :class:`CoAVTInferencer` has each as a method.

All tasks take clips as the inferencer's call does, return plain data (lists, dicts,
numpy) with one entry per clip, also for a single clip, and raise subclasses of
``CoAVTError`` with one clear line. A single clip that can't be read raises ClipError;
in a list, a folder or a manifest its entry carries ``error`` (str, one line) and no
answer, unless ``on_error='raise'``. Words that the tokenizer does not know, which are
all one to the model, and what exceeds its longest text are warned of; the entry of such
a text, or query, has ``unknown_words`` (list of str) or ``cut_off`` (str).
Letters: F frames, Q queries, E projected width.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from coavt_mm.apis.answering import place_of, say_once
from coavt_mm.apis.inputs import WINDOWS, as_texts, check_number
from coavt_mm.apis.listing import make_folder
from coavt_mm.compat import current_names
from coavt_mm.datasets.manifest import nearest
from coavt_mm.errors import ConfigError, InputError
from coavt_mm.models import CoAVTClassifier
from coavt_mm.models.generation import OLD_NAMES, check_decoding
from coavt_mm.models.similarity import texts_for, tied_order
from coavt_mm.texts import check_templates, fill_templates

if TYPE_CHECKING:
    from coavt_mm.apis.inferencer import CoAVTInferencer

# Probabilities this close, as a share of the greater one, are tied: what a similarity's
# last bits become when it is divided by the temperature.
SHARE_TOLERANCE = 1e-4


def embed(
    inferencer: 'CoAVTInferencer',
    video: Any = None,
    audio: Any = None,
    text: str | Sequence[str] | None = None,
    *,
    batch_size: int = WINDOWS,
    windows: bool = True,
    on_error: str | None = None,
) -> dict:
    """Embed clips, texts, or both: any one modality, any pair, or all three.

    The similarity of a clip and a text is ``(embedding @ text).max(1).mean(0)``: the
    best query's cosine, averaged over frames.

    Args:
        video: A clip or several; a file brings its own sound unless ``audio`` is given.
        audio: Sound alone, or the sound of ``video``.
        text: A text or several.
        batch_size: Windows that go through the model at once.
        windows: Whether to cut clips longer than the model's input into windows of that
            length (s), and to take what is silent in a window (its peak below -60 dB of
            full scale) for no sound; such a window has ``silent=True``, and is left out
            where it has no picture. False takes each clip as the evaluation would.
        on_error: Of a clip that can't be read: 'raise' ends the call, 'keep' leaves an
            entry with ``error``. Default: 'raise' for a single clip, 'keep' for a list,
            a folder and a manifest.

    Returns:
        ``clips``, a dict each: ``clip`` (name), ``streams``, and ``windows``, a list of
        dicts with ``start``, ``end`` (s), ``streams`` and ``embeddings``: 'AV' (both),
        'A' (sound), 'V' (picture) as far as the clip has them -> (F, Q, E) float32,
        L2-normalised; F is 1 for 'A'. ``texts``, a dict each: ``text`` and
        ``embedding`` (E,) float32, L2-normalised; (3, E) for AV, A and V of a model
        that embeds texts for each stream apart.

    Raises:
        InputError: Nothing was given, or something of a wrong type or shape.
        ClipError: A clip can't be read, and ``on_error`` is 'raise'.
        ConfigError: The model embeds nothing (it is a classifier).
    """
    if video is None and audio is None and text is None:
        raise InputError('give at least one of video, audio and text')
    inferencer.require('contrastive_head', 'embed')
    clips, texts = [], []
    if text is not None:
        given = as_texts(text)
        lost = inferencer.texts.lost(given)
        parts = zip(given, inferencer.texts.embed(given), lost, strict=True)
        texts = [dict(text=t, embedding=e, **more) for t, e, more in parts]
    if video is not None or audio is not None:
        options: dict[str, Any] = dict(
            batch_size=batch_size, windows=windows, on_error=on_error
        )
        clips = [found for found, _ in inferencer.answers(video, audio, **options)]
    return dict(clips=clips, texts=texts)


def classify(
    inferencer: 'CoAVTInferencer',
    clip: Any,
    labels: str | Sequence[str] | None = None,
    *,
    topk: int = 5,
    templates: str | Sequence[str] | None = None,
    batch_size: int = WINDOWS,
    windows: bool = True,
    on_error: str | None = None,
) -> list[dict]:
    """Classify clips: into a classifier's classes, or by prompts with a CoAVT.

    Args:
        clip: A clip or several.
        labels: With a CoAVT what to choose from, any words; with a CoAVTClassifier
            those of its classes to report, default all.
        topk: Labels per clip.
        templates: With a CoAVT, sentences with one place ``{}`` for the label, whose
            embeddings are averaged. Default: those of the test pipeline, else the label
            alone.
        batch_size, windows, on_error: See :func:`embed`.

    Returns:
        A dict per clip: ``clip``, ``streams``, ``labels`` (best first, dicts with
        ``label`` and ``score``, the mean over the windows) and ``windows`` (dicts with
        ``start``, ``end`` in s, ``stream`` and their own ``labels``). A score is the
        classifier's probability, or with prompts the softmax over the labels of
        similarity / temperature.

    Raises:
        InputError: A label is unknown to the classifier, there is none to choose from,
            a template has not one place, or see :func:`embed`.
        ClipError: A clip can't be read or lacks the classifier's modality, and
            ``on_error`` is 'raise'.
        ConfigError: The classifier's classes have no names.
    """
    check_number('topk', topk, 1)
    labels = None if labels is None else as_texts(labels, 'labels')
    by = _by_classes if isinstance(inferencer.model, CoAVTClassifier) else _by_prompts
    given, scores = by(inferencer, labels, templates)
    answers = inferencer.answers(clip, None, batch_size, on_error, windows=windows)
    return [_labelled(found, given, scores, topk) for found, _ in answers]


Labels = list[dict]  # each with ``label``, and what of it is lost
Scores = Callable[[dict], np.ndarray]  # of each label, from a window's answer


def _by_classes(
    inferencer: 'CoAVTInferencer', labels: list[str] | None, templates: Any
) -> tuple[Labels, Scores]:
    """What to report, and how a classifier scores it."""
    if templates is not None:
        raise InputError('templates are for a CoAVT; this is a CoAVTClassifier')
    names = inferencer.class_names()
    labels = labels or names
    for label in labels:
        if label not in names:
            raise InputError(
                f'{label!r} is none of the {len(names)} classes{nearest(label, names)}'
            )
    columns = [names.index(label) for label in labels]
    return [dict(label=x) for x in labels], lambda window: window.pop('scores')[columns]


def _by_prompts(
    inferencer: 'CoAVTInferencer', labels: list[str] | None, templates: Any
) -> tuple[Labels, Scores]:
    """What to choose from, and how sentences made of it score."""
    from coavt_mm.evaluation.prompts import class_mean, prompt_scores

    head: Any = inferencer.require('contrastive_head', 'embed')
    if labels is None:
        raise InputError(
            'labels (--texts) are missing: a CoAVT has no classes of its own, say what '
            'to choose from, such as "a dog barks" "a bell rings"'
        )
    given = inferencer.pipeline.templates if templates is None else templates
    sentences = as_texts(given, 'templates')
    check_templates(sentences, InputError)
    texts = fill_templates(sentences, labels)
    feats = inferencer.texts.features(texts)
    prompts = class_mean(feats, len(labels))  # (labels, E), or (labels, 3, E)

    def scores(window: dict) -> np.ndarray:
        feats = torch.from_numpy(window.pop('embeddings')[window['stream']])
        own = texts_for(prompts, window['stream'])
        cosines = prompt_scores(feats.to(own.device), own)
        return head.probabilities(cosines).detach().cpu().numpy()

    each = len(sentences)
    lost = inferencer.texts.lost(texts)
    of_label = [lost[i * each : (i + 1) * each] for i in range(len(labels))]
    return [
        dict(label=label, **{key: x[key] for x in parts for key in x})
        for label, parts in zip(labels, of_label, strict=True)
    ], scores


def _labelled(found: dict, given: Labels, scores: Scores, topk: int) -> dict:
    """A clip's answer with ``labels`` in the place of what they come from."""
    for window in found['windows']:
        window['stream'] = window.pop('streams')[0]
    each = [scores(window) for window in found['windows']]
    found['labels'] = _best(given, np.mean(each, 0), topk) if each else []
    for window, own in zip(found['windows'], each, strict=True):
        window['labels'] = _best(given, own, topk)
    return found


def _best(given: Labels, scores: np.ndarray, topk: int) -> list[dict]:
    order = tied_order(np.log(scores.clip(1e-30)), SHARE_TOLERANCE)[:topk]
    return [dict(given[i], score=float(scores[i])) for i in order]


def caption(
    inferencer: 'CoAVTInferencer',
    clip: Any,
    *,
    batch_size: int = WINDOWS,
    windows: bool = True,
    on_error: str | None = None,
    **decoding,
) -> list[dict]:
    """Write captions.

    A clip that lacks a modality is captioned from the other one; ``trained`` says
    whether the model has learnt that.

    Args:
        clip: A clip or several.
        batch_size, windows, on_error: See :func:`embed`.
        **decoding: Arguments of :class:`coavt_mm.models.generation.Decoding`, such as
            num_beams, max_new_tokens, top_p. Default: three beams, 40 tokens.

    Returns:
        A dict per clip: ``clip``, ``streams`` and ``captions``, a dict per window:
        ``text``, ``start``, ``end`` (s), ``stream`` and ``trained``.

    Raises:
        InputError: See :func:`embed`.
        ClipError: A clip can't be read, and ``on_error`` is 'raise'.
        ConfigError: The model has no language modelling head, or a decoding option is
            unknown or makes no sense.
    """
    head = inferencer.require('lm_head', 'write captions')
    beams = 1 if 'top_p' in decoding else 3  # drawing goes without beams
    decoding = current_names('caption', decoding, OLD_NAMES)
    options = dict(num_beams=beams, max_new_tokens=40, min_new_tokens=1) | decoding
    for name in ('num_beams', 'max_new_tokens'):
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
    inferencer: 'CoAVTInferencer',
    clip: Any,
    text: str | Sequence[str],
    *,
    batch_size: int = WINDOWS,
    windows: bool = True,
    on_error: str | None = None,
) -> list[dict]:
    """Judge how probably texts belong to clips: each text with each clip.

    Args:
        clip: A clip or several.
        text: A text or several.
        batch_size, windows, on_error: See :func:`embed`. Of a long clip the best window
            counts.

    Returns:
        A dict per clip: ``clip``, ``streams`` and ``texts``, a dict each, in the order
        given: ``text``, ``probability`` (0 ... 1), ``start``, ``end`` (s), ``stream``
        and ``trained`` (whether the matching head has learnt that stream).

    Raises:
        InputError: See :func:`embed`.
        ClipError: A clip can't be read, and ``on_error`` is 'raise'.
        ConfigError: The model has no matching head.
    """
    head = inferencer.require('matching_head', 'match')
    texts = as_texts(text)
    lost = inferencer.texts.lost(texts, 'input_ids')
    options = dict(windows=windows, match=inferencer.texts.pairs(texts))
    answers = inferencer.answers(clip, None, batch_size, on_error, **options)
    clips = []
    for found, _ in answers:
        parts = found.pop('windows')
        found['texts'] = []
        for i, one in enumerate(texts) if parts else ():
            scores = np.array([part['matches'][i] for part in parts])
            best = tied_order(scores)[0]
            place = _place(parts[best], head, found['clip'])
            score = float(scores[best])
            found['texts'].append(dict(text=one, probability=score, **place, **lost[i]))
        clips.append(found)
    return clips


def _place(window: dict, head: Any, name: str) -> dict:
    """Where an answer is from, and a warning where the head never saw such input."""
    stream = window['streams'][0]
    trained = stream in head.streams
    if not trained:
        say_once(
            f'{name}: answered from stream {stream} alone, on which the '
            f'{type(head).__name__} was not trained ({", ".join(head.streams)})'
        )
    return dict(place_of(window), stream=stream, trained=trained)


def visualize(
    inferencer: 'CoAVTInferencer',
    clip: Any,
    out_dir: str | Path,
    texts: str | Sequence[str] | None = None,
    *,
    batch_size: int = WINDOWS,
    windows: bool = True,
    on_error: str | None = None,
) -> list[Path | dict]:
    """Draw each clip as the model sees it, a PNG per clip.

    It shows the frames, the spectrogram, the best of the texts, the caption, and where
    the queries look: the map of the query that fits the best text, or the mean of all.

    Args:
        clip: A clip or several.
        out_dir: Folder for the PNG files.
        texts: To compare with; a classifier shows its classes.
        batch_size, windows, on_error: See :func:`embed`. Of a long clip the window that
            fits a text best is drawn, without texts the first.

    Returns:
        A file per clip; a dict with ``clip`` and ``error`` for one that can't be read.

    Raises:
        InputError: See :func:`embed`.
        ClipError: A clip can't be read, and ``on_error`` is 'raise'.
        ConfigError: The model is another one's encoder.
    """
    if not isinstance(out_dir, str | Path):
        raise InputError(f'out_dir must be a path, not a {type(out_dir).__name__}')
    options = dict(out_dir=make_folder(out_dir), windows=windows)
    if not hasattr(inferencer.model.data_preprocessor, 'front_end'):
        raise ConfigError(
            f'a {type(inferencer.model).__name__} can not be drawn: spectrogram and '
            'attention are those of its own encoder'
        )
    if texts is not None:
        options['texts'] = given = as_texts(texts, 'texts')
        if not isinstance(inferencer.model, CoAVTClassifier):
            inferencer.texts.lost(given)
    if getattr(inferencer.model, 'lm_head', None) is not None:
        options['caption'] = {}
    answers = inferencer.answers(clip, None, batch_size, on_error, **options)
    return [
        drawn[0] if drawn else dict(clip=found['clip'], error=found['error'])
        for found, drawn in answers
    ]
