"""What an index is asked for: texts and clips, embedded.

Letters: n windows, F frames, Q queries, E projected width.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.apis.inputs import as_texts
from coavt_mm.errors import ClipError, InputError
from coavt_mm.models.similarity import similarity, texts_for
from coavt_mm.search.writing import first_vector


@dataclass(frozen=True)
class Question:
    """What is asked for, in the space of the clips.

    Args:
        texts: Vectors (E,) of texts, or (3, E) for AV, A and V, compared with the best
            query.
        clips: Vectors (E,) of clips, compared with the mean query.
        words: The texts.
        lost: What of the texts the model doesn't read.
    """

    texts: list[np.ndarray] = field(default_factory=list)
    clips: list[np.ndarray] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    lost: dict = field(default_factory=dict)

    def texts_for(self, stream: str) -> list[np.ndarray]:
        """The texts as (E,) each, as one stream is compared with them."""
        return [texts_for(text, stream, dims=1) for text in self.texts]

    def vector(self, stream: str) -> np.ndarray:
        """Its one vector (E,): the mean, whose products are mean cosines."""
        parts = [*self.texts_for(stream), *self.clips]
        return np.mean(parts, 0).astype(np.float32)

    def scores(self, features: np.ndarray, stream: str) -> np.ndarray:
        """The mean cosine (n,) of all parts with windows.

        Args:
            features: (n, F, Q, E) float32.
            stream: Whose they are.
        """
        parts = []
        if self.texts:
            texts = np.stack(self.texts_for(stream))
            parts += [*similarity(texts, features).numpy()]
        if self.clips:
            firsts = np.stack([first_vector(each) for each in features])
            parts += [firsts @ vector for vector in self.clips]
        return np.mean(parts, 0)


def make_question(
    model: CoAVTInferencer,
    text: str | None = None,
    sound: Any = None,
    picture: Any = None,
    clip: Any = None,
) -> Question:
    """Embed what is asked for.

    Args:
        model: A CoAVT.
        text: Words.
        sound: A clip whose sound is meant, as a path, or (waveform, rate in Hz).
        picture: A picture, or a clip whose picture is meant.
        clip: A clip, both senses of which are meant.

    Raises:
        InputError: Nothing is asked for, or it is of a wrong kind.
        ClipError: A clip can't be read, or has no sound or picture where that is meant.
    """
    question = Question()
    if text is not None:
        words = as_texts(text)
        question.words.extend(words)
        question.texts.extend(model.texts.embed(words))
        question.lost.update(model.texts.lost(words)[0])
    for value, given, stream in (
        (sound, dict(audio=sound), 'A'),
        (picture, dict(inputs=picture), 'V'),
        (clip, dict(inputs=clip), None),
    ):
        if value is not None:
            question.clips.append(_of_clip(model, given, stream))
    if not question.texts and not question.clips:
        raise InputError('give at least one of text, sound, picture and clip')
    return question


def _of_clip(
    model: CoAVTInferencer, given: dict[str, Any], stream: str | None
) -> np.ndarray:
    """The vector (E,) of a clip: the mean over its windows."""
    vectors = []
    for answer, _ in model.answers(**given, on_error='raise'):
        for window in answer['windows']:
            used = stream or window['streams'][0]
            if used in window['embeddings']:
                vectors.append(first_vector(window['embeddings'][used]))
        if not vectors:
            sense = 'sound' if stream == 'A' else 'picture'
            raise ClipError(f'{answer["clip"]}: has no {sense} to search by')
    return first_vector(np.stack(vectors)[None])
