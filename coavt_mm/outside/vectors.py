"""One vector for each input, as tools compare them that know nothing of queries.

Letters: n inputs, F frames, Q queries, N tokens, E width of the space.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.apis.inputs import WINDOWS, as_texts
from coavt_mm.errors import ClipError, ConfigError, InputError, shown
from coavt_mm.outside.rows import as_clip
from coavt_mm.streams import MODALITIES, STREAMS

QUERY, ENCODER = SPACES = ('query', 'encoder')
RAISE, ZEROS = ('raise', 'zeros')


def unit(vector: np.ndarray) -> np.ndarray:
    """Normalise vectors (..., E); zeros stay."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class Embedded:
    """What is compared of one input.

    Args:
        text: (E,) of its text, L2-normalised.
        queries: (Q, E) of its clip, the mean over frames and windows.
    """

    text: np.ndarray | None = None
    queries: np.ndarray | None = None

    @property
    def vector(self) -> np.ndarray:
        """Its one vector (E,), L2-normalised: of a clip the mean of the queries, of a
        text with a clip the sum of their unit vectors."""
        parts = [] if self.text is None else [self.text]
        if self.queries is not None:
            parts.append(unit(self.queries.mean(0)))
        return unit(np.sum(parts, 0))

    def rows(self, count: int) -> np.ndarray:
        """Vectors (``count``, E), of which the best is compared with a text."""
        if self.queries is None:
            return np.repeat(np.asarray(self.text)[None], count, 0)
        return self.queries if self.text is None else self.text + self.queries


class Vectors:
    """Embed what others hand in: texts, sounds, pictures, and any of them together.

    Long clips are cut into windows as long as the model's input, silence is no sound
    (see :func:`~coavt_mm.apis.tasks.embed`).

    Args:
        inferencer: A CoAVT.
        space: 'query', where texts are too; 'encoder', the mean of the tokens, is for
            weights without trained queries, such as CAV-MAE's, and has no texts.
        on_error: 'raise', or 'zeros': what can't be read or has nothing to embed gets
            zeros and a warning, so that a benchmark goes on.

    Raises:
        ConfigError: The model embeds nothing (it is a classifier).
        InputError: An option is unknown.
    """

    def __init__(
        self, inferencer: CoAVTInferencer, space: str = QUERY, on_error: str = RAISE
    ):
        if space not in SPACES:
            raise InputError(f'space must be one of {SPACES}, not {space!r}')
        if on_error not in (RAISE, ZEROS):
            raise InputError(f"on_error must be 'raise' or 'zeros', not {on_error!r}")
        head: Any = inferencer.require('contrastive_head', 'embed')
        model: Any = inferencer.model
        self.inferencer, self.space, self.on_error = inferencer, space, on_error
        self.width, self.count = model.av_encoder.embed_dims, 1
        if space == QUERY:
            self.width = head.width
            self.count = model.query_encoder.num_queries

    def embed(
        self,
        inputs: Sequence[Mapping[str, Any]],
        stream: str | None = None,
        batch_size: int = WINDOWS,
        own_sound: bool = True,
    ) -> list[Embedded]:
        """Embed inputs.

        Args:
            inputs: n dicts with ``text``, and ``video`` and ``audio`` as ``as_clip`` in
                ``rows`` takes them.
            stream: 'AV', 'A' or 'V': look at this only, as far as a clip has it; None
                takes all that it has.
            batch_size: Windows that go through the model at once.
            own_sound: Whether the sound of a file that is given as ``video`` counts.

        Raises:
            InputError: An input holds nothing, or what it holds is of a wrong kind.
            ClipError: A clip can't be read, or has nothing of the stream.
        """
        if stream not in (None, *STREAMS):
            raise InputError(f'stream must be one of {STREAMS}, not {stream!r}')
        texts = [row.get('text') for row in inputs]
        clips = [as_clip(row, f'input {i}') for i, row in enumerate(inputs)]
        for i, (text, clip) in enumerate(zip(texts, clips, strict=True)):
            if text is None and clip is None:
                raise InputError(f'input {i} has neither text nor video nor audio')
        there = [clip for clip in clips if clip]
        wanted = [stream or (None if own_sound else _handed(clip)) for clip in there]
        of_texts = self._texts([text for text in texts if text is not None])
        of_clips = self._clips(there, wanted, batch_size)
        return [
            Embedded(
                None if text is None else of_texts.pop(0),
                of_clips.pop(0) if clip else None,
            )
            for text, clip in zip(texts, clips, strict=True)
        ]

    def _texts(self, texts: list[str]) -> list[np.ndarray]:
        if texts and self.space != QUERY:
            raise ConfigError(f'there are no texts in the space {self.space!r}')
        empty = [isinstance(text, str) and not text.strip() for text in texts]
        good = [text for text, no in zip(texts, empty, strict=True) if not no]
        if len(good) < len(texts):
            lacking = len(texts) - len(good)
            self._lacking('a text is empty', lacking, InputError)
        found: list[np.ndarray] = []
        if good:
            good = as_texts(good)
            self.inferencer.texts.lost(good)  # warns of words that are unknown
            found = [*self.inferencer.texts.embed(good)]
        return [
            np.zeros(self.width, np.float32) if no else found.pop(0) for no in empty
        ]

    def _clips(
        self, clips: list[dict], streams: list[str | None], batch_size: int
    ) -> list[np.ndarray]:
        if not clips:
            return []
        found, bad = [], []
        answers = self.inferencer.answers(
            clips,
            batch_size=batch_size,
            on_error=RAISE if self.on_error == RAISE else 'keep',
            keep_tokens=self.space == ENCODER,
        )
        for (answer, _), stream in zip(answers, streams, strict=True):
            queries = self._queries(answer, stream)
            if queries is None:
                queries = np.zeros((self.count, self.width), np.float32)
                bad.append(answer.get('error') or _lack(answer, stream))
            found.append(queries)
        if bad:
            self._lacking(bad[0], len(bad), ClipError)
        return found

    def _queries(self, answer: dict, stream: str | None) -> np.ndarray | None:
        """(Q, E) of a clip, the mean of its windows; None if there is nothing."""
        parts = []
        for window in answer['windows']:
            used = _used(window['streams'], stream)
            if used is not None and self.space == QUERY:
                parts.append(window['embeddings'][used].mean(0))
            elif used is not None:  # as `pool_tokens` does
                parts.append(unit(window['tokens'][used].mean(1)).mean(0)[None])
        return np.mean(parts, 0) if parts else None

    def _lacking(self, what: str, count: int, kind: type[Exception]) -> None:
        if self.on_error == RAISE:
            raise kind(what)
        warnings.warn(
            f'{count} inputs get zeros for a vector; the first: {shown(what)}',
            stacklevel=4,
        )


def _handed(clip: Mapping[str, Any]) -> str:
    """The stream of what is named in a clip, whatever else its files have."""
    if 'video' not in clip:
        return 'A'
    return 'AV' if 'audio' in clip else 'V'


def _used(there: Sequence[str], wanted: str | None) -> str | None:
    """The fullest stream of a window that is part of what is wanted."""
    whole = MODALITIES[wanted or STREAMS[0]]
    fitting = (stream for stream in there if set(MODALITIES[stream]) <= set(whole))
    return next(fitting, None)


def _lack(answer: dict, stream: str | None) -> str:
    return f'{answer["clip"]}: has only {answer["streams"]}, wanted is {stream}'
