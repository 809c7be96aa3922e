"""From a batch of windows, and from texts, to plain answers.

Letters: F frames, Q queries, E projected width, N tokens, D width, P texts, T text
tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from coavt_mm.apis.inputs import as_texts
from coavt_mm.datasets.transforms import TokenizeText
from coavt_mm.errors import ConfigError
from coavt_mm.models import CoAVT, CoAVTClassifier
from coavt_mm.models.similarity import BATCH, embed_rows, padded
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
    """

    index: int
    clip: str
    share: float = 1.0
    answer: dict = field(default_factory=dict)
    drawing: dict = field(default_factory=dict)
    error: str = ''

    @property
    def stream(self) -> str:
        """The fullest stream that it has."""
        return self.answer['streams'][0]

    def check_finite(self, arrays: Iterable[np.ndarray]) -> None:
        """Turn NaN, which would rank anywhere, into an error."""
        if not all(np.isfinite(array).all() for array in arrays):
            self.error = f'{self.clip}: the model gives NaN or inf for this clip'


def describe(
    model: CoAVT | CoAVTClassifier, sample: BaseDataElement, heard: bool, seen: bool
) -> Window:
    """Say of a window what it takes no model to say.

    Args:
        model: Has to take one of the streams.
        sample: With ``sample_idx``, ``sample_id``, ``shown`` (start, end in s) and
            ``share``.
        heard: Whether it has sound.
        seen: Whether it has a picture.

    Returns:
        The window, with ``error`` where there is nothing to answer from.
    """
    (start, end), there = sample.shown, available(heard, seen)
    streams = [stream for stream in STREAMS if there[stream]]
    answer = dict(start=start, end=end, streams=streams)
    window = Window(sample.sample_idx, sample.sample_id, sample.share, answer)
    wanted = model.test_cfg['stream'] if isinstance(model, CoAVTClassifier) else 'AV'
    if not streams:
        window.error = (
            f'{window.clip}: too little sound for a spectrogram, and no picture, '
            f'from {start:g} s on'
        )
    elif not has_modality_of(wanted, streams):
        window.error = (
            f'{window.clip}: this model classifies by stream {wanted}, the clip has '
            f'{", ".join(streams)} from {start:g} s on'
        )
    return window


def add_scores(
    model: CoAVTClassifier, windows: Sequence[Window], batch: dict[str, Tensor]
) -> None:
    """Add ``scores`` ((classes,) float32) to the windows of a batch."""
    for window, scores in zip(windows, model.scores(batch), strict=True):
        window.answer['scores'] = scores.float().cpu().numpy()
        window.check_finite([window.answer['scores']])


def add_features(
    model: CoAVT, windows: Sequence[Window], extracted: dict, keep_tokens: bool
) -> None:
    """Add ``embeddings`` (stream -> (F, Q, E) float32) to the windows of a batch.

    Args:
        model: The model.
        windows: From :func:`describe`.
        extracted: From ``model.extract`` of their rows.
        keep_tokens: Whether to add ``tokens`` (stream -> (F, N, D)).
    """
    feats = extracted.get('clip_feats', {})
    for row, window in enumerate(windows):
        streams = window.answer['streams']
        window.answer['embeddings'] = {
            stream: feats[stream][row].float().cpu().numpy()
            for stream in streams
            if stream in feats
        }
        window.check_finite(window.answer['embeddings'].values())
        if keep_tokens:
            window.answer['tokens'] = {
                stream: extracted['tokens'][stream][row].float().cpu().numpy()
                for stream in streams
            }


def add_attention(
    model: CoAVT, windows: Sequence[Window], tokens: dict[str, Tensor]
) -> None:
    """Add where the queries look, ``attention`` (F, Q, N), to the drawings."""
    for row, window in enumerate(windows):
        maps = model.query_encoder.attention_maps(tokens[window.stream][row])
        window.drawing['attention'] = maps.mean(1).cpu().numpy()


def add_captions(
    model: CoAVT,
    windows: Sequence[Window],
    tokens: dict[str, Tensor],
    keys: list[int],
    options: dict,
) -> None:
    """Add ``caption``, from the middle frame of the fullest stream.

    Args:
        model: The model.
        windows: Those of a batch.
        tokens: Stream -> (windows, F, N, D).
        keys: The clips' keys, for drawing.
        options: Arguments of ``Decoding``.
    """
    for stream in STREAMS:
        good = (i for i, window in enumerate(windows) if not window.error)
        rows = [i for i in good if windows[i].stream == stream]
        if rows:
            middle = tokens[stream][rows, tokens[stream].shape[1] // 2]
            texts = model.generate(middle, [keys[row] for row in rows], **options)
            for row, text in zip(rows, texts, strict=True):
                windows[row].answer['caption'] = text


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


class TextReader:
    """Embeds texts, and asks whether they belong to a clip.

    Args:
        model: A CoAVT.
        tokenize: Of the test pipeline.
    """

    def __init__(self, model: CoAVT, tokenize: TokenizeText | None):
        self.model, self.tokenize = model, tokenize

    def tokens(self, texts: Sequence[str]) -> list[Tensor]:
        """Turn P texts into ids (T,); what exceeds the pipeline's ``max_tokens`` goes.

        Raises:
            InputError: One is no text, or empty, or there is none.
            ConfigError: The test pipeline has no TokenizeText.
        """
        texts = as_texts(texts)
        if self.tokenize is None:
            raise ConfigError(
                'the test pipeline has no TokenizeText to read texts with'
            )
        rows = self.tokenize(dict(texts=texts))['input_ids']
        return [torch.from_numpy(row) for row in rows]

    def features(self, texts: Sequence[str], batch_size: int = BATCH) -> Tensor:
        """Embed texts as the evaluation embeds captions.

        Args:
            texts: P texts.
            batch_size: Texts that go through the model at once.

        Returns:
            (P, E), L2-normalised, on the model's device.

        Raises:
            ConfigError: The model has no contrastive head.
        """
        if not isinstance(self.model, CoAVT):
            name = type(self.model).__name__
            raise ConfigError(f'this {name} has no contrastive_head to embed with')
        padding = self.model.data_preprocessor.pad_token_id
        return embed_rows(self.model, self.tokens(texts), padding, batch_size)

    def embed(self, texts: Sequence[str], batch_size: int = BATCH) -> np.ndarray:
        """Return :meth:`features` as (P, E) float32."""
        return self.features(texts, batch_size).cpu().numpy()

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
