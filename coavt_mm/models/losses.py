"""What a batch offers to the losses, and what every loss head has in common.

Letters: B clips of this rank, each with one caption; G clips of all ranks; N tokens,
Q queries, T text tokens, D width, E projected width.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.model import BaseModule
from mmengine.structures import BaseDataElement
from torch import Tensor

from coavt_mm.batches import is_ids, mask_of
from coavt_mm.errors import ConfigError
from coavt_mm.models.chunks import in_chunks
from coavt_mm.models.layers import gather_with_grad
from coavt_mm.models.query_encoder import QueryState
from coavt_mm.streams import STREAMS, available, describes

if TYPE_CHECKING:
    from coavt_mm.models.coavt import CoAVT


class Similarity(NamedTuple):
    """Scaled similarities of this rank's items with all ranks' items.

    Attributes:
        a_to_b: (B, G), such as clips with texts, or sounds with pictures.
        b_to_a: (B, G), the other way round.
    """

    a_to_b: Tensor
    b_to_a: Tensor


class Features(NamedTuple):
    """Clips and texts in the space where they are compared; both L2-normalised.

    Attributes:
        clips: Stream -> (B, Q, E).
        texts: (B, E).
    """

    clips: dict[str, Tensor]
    texts: Tensor


def _once(compute: Callable) -> property:
    """A property that is computed when it is first asked for.

    torch.compile can't look through the lock of ``functools.cached_property``.
    """
    name = compute.__name__

    def value(self):
        if name not in self.computed:
            self.computed[name] = compute(self)
        return self.computed[name]

    return property(value, doc=compute.__doc__)


@dataclass(frozen=True, eq=False)
class LossInputs:
    """A batch as the losses see it; what several of them need is computed once.

    What is gathered from all ranks is so when the first head asks. All ranks have the
    same heads in the same order, hence run the same gathers.

    Attributes:
        model: Whose parts the losses may use.
        tokens: Stream -> (B, N, D), of the streams that a head asks for. Clips that
            lack a modality, or have no caption about it, may have any.
        states: Stream -> what the queries make of the tokens of its ``rows``; with the
            model's ``grad_cache`` their ``context`` are the tokens.
        input_ids: (B, T) token ids.
        attention_mask: (B, T), 1 for text and 0 for padding.
        text: The same two as the text encoder reads them.
        clip_key: (B,) int64, the same number for the same clip.
        caption_key: (B,) int64, the same number for the same caption.
        available: Stream -> (B,) bool, whether the clip has its modalities.
        valid: Stream -> (B,) bool, whether the caption is about it, too.
        rows: Stream -> indices (R,) of the clips that the queries read, where those are
            not all B: clips that don't count are left out.
        computed: What heads asked for so far, by name.
        answers: Stream -> (2, P) bool, which pairs the matching head told rightly, and
            which count; see :class:`~.matching.MatchingPairs`.
    """

    model: 'CoAVT'
    tokens: dict[str, Tensor]
    states: dict[str, QueryState]
    input_ids: Tensor
    attention_mask: Tensor
    text: tuple[Tensor, Tensor]
    clip_key: Tensor
    caption_key: Tensor
    available: dict[str, Tensor]
    valid: dict[str, Tensor]
    rows: dict[str, Tensor] = field(default_factory=dict)
    computed: dict = field(default_factory=dict, repr=False)
    answers: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @_once
    def text_states(self) -> Tensor:
        """Text states (B, T, D) of the text encoder; [CLS] is the first."""
        return in_chunks(self.model.encode_text, self.model.grad_cache, *self.text)

    @_once
    def features(self) -> Features:
        """Clips and texts as the contrastive head projects them.

        Raises:
            ConfigError: If the model has no contrastive head.
        """
        head = self.model.contrastive_head
        if head is None:
            raise ConfigError(
                'a loss head compares clips with texts in the space of the '
                'contrastive_head, which this CoAVT lacks; give it one, with weights '
                'of 0 if its own loss is not wanted'
            )
        clips = {
            s: self.spread(s, head.project_queries(x.hidden))
            for s, x in self.states.items()
        }
        return Features(clips, head.project_text(self.text_states))

    @_once
    def all_texts(self) -> Tensor:
        """Text features of all ranks, (G, E)."""
        return gather_with_grad(self.features.texts)

    @_once
    def all_clips(self) -> dict[str, Tensor]:
        """Clip features of all ranks: stream -> (G, Q, E)."""
        return {s: gather_with_grad(x) for s, x in self.features.clips.items()}

    @_once
    def similarity(self) -> dict[str, Similarity]:
        """Stream -> similarities of clips (a) and texts (b); empty without a head."""
        head = self.model.contrastive_head
        return {} if head is None else head.similarities(self)

    @_once
    def same(self) -> Tensor:
        """(B, G) bool: the same clip, or the same caption."""
        keys = torch.stack([self.clip_key, self.caption_key], 1)
        return (keys[:, None] == gather_with_grad(keys)[None]).any(-1)

    @_once
    def same_clip(self) -> Tensor:
        """(B, G) bool: the same clip."""
        return self.clip_key[:, None] == gather_with_grad(self.clip_key)[None]

    @_once
    def all_valid(self) -> dict[str, Tensor]:
        """``valid`` of all ranks: stream -> (G,) bool."""
        rows = gather_with_grad(torch.stack([self.valid[s] for s in STREAMS], 1))
        return dict(zip(STREAMS, rows.unbind(1), strict=True))

    def take(self, stream: str, x: Tensor) -> Tensor:
        """(B, ...) -> (R, ...), the ``rows`` of a stream."""
        rows = self.rows.get(stream)
        return x if rows is None else x.index_select(0, rows)

    def spread(self, stream: str, x: Tensor) -> Tensor:
        """(R, ...) -> (B, ...), zeros for the clips that are left out."""
        rows = self.rows.get(stream)
        if rows is None:
            return x
        return x.new_zeros(len(self.clip_key), *x.shape[1:]).index_copy(0, rows, x)

    def share_with_negatives(self, streams: Sequence[str]) -> Tensor:
        """Share of all ranks' clips that have a clip to be told from, in one stream."""
        takes_part = [self.valid[s] for s in streams]
        found = [
            self.valid[s] & (~self.same & self.all_valid[s]).any(1) for s in streams
        ]
        counts = torch.stack(
            [torch.stack(of).any(0).sum() for of in (found, takes_part)]
        )
        all_reduce(counts)
        return counts[0] / counts[1].clamp_min(1)


class LossHead(BaseModule):
    """A loss of pre-training: a subclass gives its losses by name.

    Attributes:
        streams: Stream -> weight of its loss, above 0. These streams are encoded.
        takes_queries: Whether it works on what the queries read for the caption's
            sake, so on clips with a caption about the stream. Without, it takes the
            tokens of all clips.
        needs_negatives: Whether it tells clips apart by their texts, so that the log
            should say how many have another one to be told from.
    """

    streams: dict[str, float]
    takes_queries = True
    needs_negatives = False

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            batch: The batch.

        Returns:
            Scalars by name. Those with 'loss' in their names are summed up and
            trained, the others logged.
        """
        raise NotImplementedError


def checked_streams(head: str, streams: dict[str, float]) -> dict[str, float]:
    """Return the streams of positive weight.

    Args:
        head: The class that they are given to, for the message.
        streams: Stream -> weight.

    Raises:
        ConfigError: If a name or a weight makes no sense.
    """
    for stream, weight in streams.items():
        if stream not in STREAMS:
            raise ConfigError(
                f"{head}: unknown stream {stream!r}, expected one of 'AV', 'A', 'V'"
            )
        if weight < 0:
            raise ConfigError(f'{head}: the weight of {stream} is negative: {weight}')
    return {s: float(w) for s, w in streams.items() if w > 0}


def loss_inputs(
    model: 'CoAVT',
    inputs: dict[str, Tensor],
    rows: dict[str, Tensor] | None = None,
) -> LossInputs:
    """Encode what the heads of a model ask for, in the order of the streams.

    Args:
        model: The model.
        inputs: The preprocessor's output, see ``CoAVT.loss``.
        rows: Stream -> the clips that are read, see :func:`counted_rows`; else all.
    """
    there = available(inputs['has_audio'], inputs['has_visual'])
    about = inputs['caption_streams']
    valid = {s: there[s] & about[:, i] for i, s in enumerate(STREAMS)}
    heads = [head for head in model.heads.values() if head.streams]
    wanted = {s for head in heads for s in head.streams}
    queried = {s for head in heads if head.takes_queries for s in head.streams}
    batch = LossInputs(
        model=model,
        tokens={},
        states={},
        input_ids=inputs['input_ids'],
        attention_mask=inputs['attention_mask'],
        text=model.text_of(inputs),
        clip_key=inputs['clip_key'],
        caption_key=inputs['caption_key'],
        available=there,
        valid=valid,
        rows=rows or {},
    )
    # a modality that no other stream needs is encoded where a caption is about it
    by_text = all(head.takes_queries for head in heads) and 'AV' not in wanted
    read = _encode(batch, inputs, wanted, by_text and not model.av_encoder.one_pass)
    names = [s for s in STREAMS if s in queried]
    batch.states.update(
        zip(names, _query(model, [read[s] for s in names]), strict=True)
    )
    return batch


def _query(model: 'CoAVT', tokens: list[Tensor]) -> list[QueryState]:
    """What the queries make of several streams' tokens (R, N, D)."""
    encoder, size = model.query_encoder, model.grad_cache
    if size is None:
        return encoder.encode_each(tokens) if tokens else []

    def some(x: Tensor) -> tuple:
        hidden, kv, _ = encoder.encode_queries(x)
        return hidden, kv

    read = [in_chunks(some, size, x) for x in tokens]
    return [QueryState(h, kv, x) for (h, kv), x in zip(read, tokens, strict=True)]


def counted_rows(
    model: 'CoAVT', samples: Sequence[BaseDataElement] | None, device: torch.device
) -> dict[str, Tensor]:
    """The clips of each stream that count, as the host knows from their descriptions.

    Args:
        model: A loss of its ``extra_heads`` may want all clips.
        samples: The batch's, one caption each, see ``PackAVTInputs``.
        device: Where the indices are wanted.

    Returns:
        Stream -> indices (R,), where at least a quarter of the clips do not
        count; one that doesn't count where none does. Empty if samples don't say it.
    """
    needed = ('has_audio', 'has_visual', 'audio_samples', 'text_streams')
    if any(head.takes_queries for head in model.extra_heads.values()):
        return {}
    if not samples or not all(key in s for s in samples for key in needed):
        return {}
    if any(len(s.text_streams) != 1 for s in samples):
        return {}
    lengths = torch.tensor([s.audio_samples if s.has_audio else 0 for s in samples])
    heard = (model.data_preprocessor.front_end.num_frames(lengths) > 0).tolist()
    rows = {}
    for column, stream in enumerate(STREAMS):
        counted = [
            available(hears, s.has_visual)[stream]
            and describes(s.text_streams[0])[column]
            for s, hears in zip(samples, heard, strict=True)
        ]
        if 4 * sum(counted) <= 3 * len(counted):
            found = [row for row, counts in enumerate(counted) if counts]
            rows[stream] = torch.tensor(found or [0]).to(device, non_blocking=True)
    return rows


def _encode(
    batch: LossInputs, inputs: dict[str, Tensor], wanted: set[str], by_text: bool
) -> dict[str, Tensor]:
    """Fill in the tokens; stream -> those (R, N, D) that the queries read."""
    encode = batch.model.av_encoder.encode_training
    size = batch.model.grad_cache
    given = inputs['spectrogram'], inputs['frames']

    def some(
        names: list[str], spectrogram: Tensor, frames: Tensor
    ) -> dict[str, Tensor]:
        given = {**inputs, 'spectrogram': spectrogram, 'frames': frames}
        return encode(given, names)

    streams = [s for s in STREAMS if s in wanted]
    if not by_text:
        batch.tokens.update(in_chunks(functools.partial(some, streams), size, *given))
        return {s: batch.take(s, x) for s, x in batch.tokens.items()}
    read = {}
    for s in streams:
        rows = (batch.take(s, x) for x in given)
        read.update(in_chunks(functools.partial(some, [s]), size, *rows))
    batch.tokens.update({s: batch.spread(s, x) for s, x in read.items()})
    return read


def check_captions(inputs: dict[str, Tensor]) -> None:
    """Refuse a batch that has not one caption per clip.

    Args:
        inputs: The preprocessor's output.

    Raises:
        ConfigError: The message says what the batch has.
    """
    if 'mix_share' in inputs:
        raise ConfigError(
            'augment.mixup is for classification, CoAVT trains on captions; set it to 0'
        )
    clips, captions = len(inputs['has_audio']), len(inputs.get('input_ids', ()))
    if captions != clips:
        raise ConfigError(
            f'training takes one caption per clip, got {captions} captions for '
            f'{clips} clips; use PickCaption and TokenizeText in the pipeline'
        )


def in_steps(model: 'CoAVT', inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pad texts to a multiple of 8 tokens: few shapes, which devices like.

    Args:
        model: Its encoders say how long a text may be.
        inputs: The preprocessor's output.

    Returns:
        The inputs, with longer ids and masks.
    """
    readers = [model.query_encoder, model.text_encoder or model.query_encoder]
    padded = {}
    for key in filter(is_ids, inputs):
        length = inputs[key].shape[1]
        longest = min(getattr(reader, 'max_tokens', length) for reader in readers)
        extra = max(0, min(-length % 8, longest - length))
        for name in (key, mask_of(key)):
            padded[name] = F.pad(inputs[name], (0, extra))
    return dict(inputs, **padded)
