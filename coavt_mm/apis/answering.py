"""From a batch of windows, and from texts, to plain answers.

Letters: F frames, Q queries, E projected width, N tokens, D width, P texts, T text
tokens.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from coavt_mm.apis.inputs import as_texts
from coavt_mm.apis.windows import SILENCE_DBFS
from coavt_mm.datasets.tokenizer import lost_words
from coavt_mm.datasets.transforms import TokenizeText
from coavt_mm.errors import ConfigError, shown
from coavt_mm.models import CoAVT, CoAVTClassifier
from coavt_mm.models.similarity import BATCH, embed_rows, padded, similarity
from coavt_mm.streams import STREAMS, available, has_modality_of


@dataclass
class Window:
    """A window of a clip on its way to the answer.

    Attributes:
        index: Of its clip.
        clip: The clip's name.
        share: How much of the clip is done with this window, up to 1.
        answer: ``start``, ``end`` (s), ``streams``, and what the model says.
        drawing: What a page shows beside the answer.
        error: Why there is no answer, one line; empty where there is one.
        rest: Whether that is because it is silent, as parts of a song may be.
    """

    index: int
    clip: str
    share: float = 1.0
    answer: dict = field(default_factory=dict)
    drawing: dict = field(default_factory=dict)
    error: str = ''
    rest: bool = False

    @property
    def stream(self) -> str:
        """The fullest stream that it has."""
        return self.answer['streams'][0]

    def check_finite(self, arrays: Iterable[np.ndarray]) -> None:
        """Turn NaN, which would rank anywhere, into an error."""
        if not all(np.isfinite(array).all() for array in arrays):
            self.error = f'{self.clip}: the model gives NaN or inf for this clip'


def described(model: CoAVT | CoAVTClassifier, data: dict) -> list[Window]:
    """Say of the windows of a batch what it takes no model to say.

    Args:
        model: Has to take one of the streams.
        data: From the preprocessor; its samples have ``sample_idx``, ``sample_id``,
            ``shown`` (start, end in s), ``share`` and where it is so ``silent``.

    Returns:
        The windows, with ``error`` where there is nothing to answer from.
    """
    wanted = model.test_cfg['stream'] if isinstance(model, CoAVTClassifier) else 'AV'
    has = (data['inputs'][key].tolist() for key in ('has_audio', 'has_visual'))
    known = getattr(model, 'streams', STREAMS)
    windows = []
    for sample, *each in zip(data['data_samples'], *has, strict=True):
        (start, end), there = sample.shown, available(*each)
        streams = [stream for stream in STREAMS if there[stream]]
        taken = [stream for stream in streams if stream in known]
        answer = dict(start=start, end=end, streams=taken)
        window = Window(sample.sample_idx, sample.sample_id, sample.share, answer)
        if sample.get('silent'):
            answer['silent'] = True
        window.error = _lack(window, wanted)
        if streams and not taken:
            window.error = (
                f'{window.clip}: this model takes {", ".join(known)}, the clip has '
                f'{", ".join(streams)} from {start:g} s on'
            )
        window.rest = bool(window.error and sample.get('silent'))
        windows.append(window)
    return windows


def _lack(window: Window, wanted: str) -> str:
    """Why a window can't be answered from what it has, or nothing."""
    streams, start = window.answer['streams'], window.answer['start']
    if not streams:
        silent = f'silent, below {SILENCE_DBFS:g} dB of full scale'
        why = silent if window.answer.get('silent') else 'for a spectrogram'
        return (
            f'{window.clip}: too little sound ({why}), and no picture, from {start:g} '
            's on'
        )
    if not has_modality_of(wanted, streams):
        return (
            f'{window.clip}: this model classifies by stream {wanted}, the clip has '
            f'{", ".join(streams)} from {start:g} s on'
        )
    return ''


def without_rests(windows: Sequence[Window]) -> list[Window]:
    """A clip's windows but the silent ones that nothing can be said of; all, where
    there are no others."""
    found = [window for window in windows if not window.rest] or list(windows)
    left = len(windows) - len(found)
    if left:
        say_once(f'{windows[0].clip}: left out {left} silent of {len(windows)} windows')
    return found


@lru_cache(maxsize=10_000)
def say_once(message: str) -> None:
    """Log a warning, the same one once."""
    print_log(shown(message), logger='current', level=logging.WARNING)


def place_of(window: dict) -> dict:
    """``start``, ``end`` (s) of an answer's window, and ``silent`` where it is so."""
    return {key: window[key] for key in ('start', 'end', 'silent') if key in window}


def joined(windows: Sequence[Window]) -> dict:
    """Put a clip's answer together from its windows.

    Returns:
        ``clip``, ``streams``, ``windows``; both empty, and ``error``, where a window
        has one.
    """
    clip = windows[0].clip
    for window in windows:
        if window.error:
            return dict(clip=clip, streams=[], windows=[], error=window.error)
    answers = [window.answer for window in windows]
    there = {stream for answer in answers for stream in answer['streams']}
    streams = [stream for stream in STREAMS if stream in there]
    return dict(clip=clip, streams=streams, windows=answers)


def _loss(text: str, lost: dict) -> str:
    parts = []
    if words := lost.get('unknown_words'):
        named = ', '.join(f'"{word}"' for word in words)
        parts.append(f'the tokenizer does not know {named}: such words are all one')
    if end := lost.get('cut_off'):
        parts.append(f'it is too long, "{end}" is cut off')
    return f'"{text}": {"; ".join(parts)}'


class PairTexts(NamedTuple):
    """P texts to judge clips with.

    Attributes:
        ids: Their tokens.
        features: (P, E), where the similarity counts; None: the head alone judges.
    """

    ids: Sequence[Tensor]
    features: Tensor | None = None


class TextReader:
    """Embed texts, and ask whether they belong to a clip.

    Args:
        model: A CoAVT, or one that reads sentences itself.
        tokenizers: Of the test pipeline, by the keys of their ids.
    """

    def __init__(self, model: CoAVT, tokenizers: Mapping[str, TokenizeText]):
        self.model, self.tokenizers = model, tokenizers

    def tokens(self, texts: Sequence[str], key: str = 'input_ids') -> list[Tensor]:
        """Turn P texts into ids (T,); what exceeds the pipeline's ``max_tokens`` goes.

        Args:
            texts: P texts.
            key: Of the ids; the default is the query encoder's.

        Raises:
            InputError: One is no text, or empty, or there is none.
            ConfigError: The test pipeline has no TokenizeText.
        """
        texts = as_texts(texts)
        if key not in self.tokenizers:
            raise ConfigError(
                'the test pipeline has no TokenizeText to read texts with'
            )
        rows = self.tokenizers[key](dict(texts=texts))[key]
        return [torch.from_numpy(row) for row in rows]

    def lost(self, texts: Sequence[str], key: str | None = None) -> list[dict]:
        """Find out, and warn of, what of texts the model does not read.

        Args:
            texts: P texts.
            key: Of the ids, as in :meth:`tokens`; default: those that are embedded.

        Returns:
            P dicts with ``unknown_words`` (list of str), all of which are the same
            [UNK] to the model, and ``cut_off`` (str), the end that exceeds
            ``max_tokens``; as far as there are any.
        """
        find = self._finder(key)
        if find is None:  # `tokens` says so
            return [{} for _ in texts]
        found: list[dict] = []
        for text in texts:
            words, end = find(text)
            both = dict(unknown_words=words, cut_off=end)
            found.append({name: part for name, part in both.items() if part})
        lines = [_loss(*pair) for pair in zip(texts, found, strict=True) if pair[1]]
        if lines:
            more = f'; {len(lines) - 1} more texts likewise' if lines[1:] else ''
            warnings.warn(shown(lines[0] + more), stacklevel=4)
        return found

    def _finder(self, key: str | None) -> Callable[[str], tuple[list[str], str]] | None:
        """From a text to what is lost of it; None without a tokenizer."""
        if own := getattr(self.model, 'lost_words', None):
            return own
        reader = self.tokenizers.get(key or self.model.text_ids)
        if reader is None:
            return None
        return lambda text: lost_words(reader.rules, text, reader.max_tokens)

    def features(self, texts: Sequence[str], batch_size: int = BATCH) -> Tensor:
        """Embed texts as the evaluation embeds captions.

        Args:
            texts: P texts.
            batch_size: Texts that go through the model at once.

        Returns:
            (P, E), L2-normalised, on the model's device; (P, 3, E) for AV, A and V of
            a model that embeds texts for each stream apart.

        Raises:
            ConfigError: The model has no contrastive head.
        """
        if embed := getattr(self.model, 'embed_sentences', None):
            return embed(as_texts(texts), batch_size)
        if not isinstance(self.model, CoAVT):
            name = type(self.model).__name__
            raise ConfigError(f'this {name} has no contrastive_head to embed with')
        padding = self.model.data_preprocessor.pad_token_id
        rows = self.tokens(texts, self.model.text_ids)
        return embed_rows(self.model, rows, padding, batch_size)

    def embed(self, texts: Sequence[str], batch_size: int = BATCH) -> np.ndarray:
        """Return :meth:`features` as float32."""
        return self.features(texts, batch_size).cpu().numpy()

    def pairs(self, texts: Sequence[str]) -> PairTexts:
        """P texts as clips are judged with them; see
        ``MatchingHead.with_similarity``."""
        ids, head = self.tokens(texts), self.model.matching_head
        if head.similarity_offset is None:
            return PairTexts(ids)
        return PairTexts(ids, self.features(texts))

    def judge(self, tokens: Tensor, clip: Tensor | None, texts: PairTexts) -> Tensor:
        """How probably texts belong to a window.

        Args:
            tokens: (F, N, D) of one stream.
            clip: (F, Q, E), its embeddings, for ``texts`` with features.
            texts: P of them.

        Returns:
            (P,) float32 on the CPU, 0 ... 1.
        """
        cosines = None
        if texts.features is not None and clip is not None:
            cosines = similarity(texts.features, clip.float()).cpu()
        logits = self.match(tokens, texts.ids)
        logits = self.model.matching_head.with_similarity(logits, cosines)
        return logits.softmax(-1)[:, 1]

    @torch.no_grad()
    def match(
        self, tokens: Tensor, ids: Sequence[Tensor], batch_size: int = BATCH
    ) -> Tensor:
        """Judge whether texts belong to a window: the mean over its frames.

        Args:
            tokens: (F, N, D) of one stream.
            ids: P texts, from :meth:`tokens`.
            batch_size: Texts that go through the model at once.

        Returns:
            Logits (P, 2) float32 on the CPU; column 1 is 'they match'.
        """
        device = next(self.model.parameters()).device
        padding = self.model.data_preprocessor.pad_token_id
        frames, logits = tokens.to(device).float(), []
        for begin in range(0, len(ids), batch_size):
            texts = padded(ids[begin : begin + batch_size], padding, device)
            each = [
                self.model.match(frame.expand(len(texts[0]), -1, -1), *texts)
                for frame in frames
            ]
            logits.append(torch.stack(each).mean(0).float().cpu())
        return torch.cat(logits)


def _array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def add_scores(
    model: CoAVTClassifier, windows: Sequence[Window], batch: dict[str, Tensor]
) -> None:
    """Add ``scores`` ((classes,) float32) to the windows of a batch."""
    for window, scores in zip(windows, model.scores(batch), strict=True):
        window.answer['scores'] = _array(scores)
        window.check_finite([window.answer['scores']])


def add_features(
    reader: TextReader,
    windows: Sequence[Window],
    batch: dict[str, Tensor],
    keep_tokens: bool = False,
    caption: dict | None = None,
    match: PairTexts | Sequence[Tensor] | None = None,
    view: bool = False,
) -> None:
    """Add ``embeddings`` (stream -> (F, Q, E) float32) to the windows of a batch.

    Args:
        reader: Of the CoAVT's texts.
        windows: From :func:`described`, without those that have an error.
        batch: Their rows.
        keep_tokens: Whether to add ``tokens`` (stream -> (F, N, D)).
        caption: How to write ``caption``; None writes none.
        match: P texts, for ``matches`` (P,); their tokens alone where the similarity
            has no say; None compares with none.
        view: Whether to add the queries' ``attention`` (F, Q, N) to the drawing.
    """
    if match is not None and not isinstance(match, PairTexts):
        match = PairTexts(match)
    model = reader.model
    extracted = model.extract(batch)
    tokens, feats = extracted['tokens'], extracted.get('clip_feats', {})
    for row, window in enumerate(windows):
        answer, fullest = window.answer, tokens[window.stream][row]  # (F, N, D)
        own = [stream for stream in answer['streams'] if stream in feats]
        answer['embeddings'] = {stream: _array(feats[stream][row]) for stream in own}
        window.check_finite(answer['embeddings'].values())
        if keep_tokens:
            answer['tokens'] = {s: _array(tokens[s][row]) for s in answer['streams']}
        if match is not None:
            clip = None if match.features is None else feats[window.stream][row]
            answer['matches'] = _array(reader.judge(fullest, clip, match))
        if view:
            maps = model.query_encoder.attention_maps(fullest)
            window.drawing['attention'] = _array(maps.mean(1))
    if caption is not None:
        _add_captions(model, windows, tokens, batch['clip_key'].tolist(), caption)


def _add_captions(
    model: CoAVT,
    windows: Sequence[Window],
    tokens: dict[str, Tensor],
    keys: list[int],
    options: dict,
) -> None:
    """Captions from the middle frame of the fullest stream, a stream at a time."""
    for stream in STREAMS:
        good = (i for i, window in enumerate(windows) if not window.error)
        rows = [i for i in good if windows[i].stream == stream]
        if rows:
            middle = tokens[stream][rows, tokens[stream].shape[1] // 2]
            texts = model.generate(middle, [keys[row] for row in rows], **options)
            for row, text in zip(rows, texts, strict=True):
                windows[row].answer['caption'] = text
