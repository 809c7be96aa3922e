"""The features that one stream is ranked from, and which answers are right.

Letters: N captions asked, M captions of the set, G clips of the gallery, F frames,
Q queries, E projected width, P pairs of a clip and a text that it carries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from coavt_mm.errors import CoAVTError
from coavt_mm.texts import normalise

MIXED_SHAPES = 'the clips of stream {} differ in frames, queries or width: {}'


def text_groups(texts: Sequence[str]) -> Tensor:
    """Equal numbers for equal texts: (N,) int64, from 0 in the order of appearance."""
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(normalise(text), len(numbers)) for text in texts]
    return torch.tensor(found, dtype=torch.int64)


@dataclass
class StreamFeatures:
    """What one stream ('AV', 'A' or 'V') is ranked from.

    Args:
        gallery: The clips: G tensors (F, Q, E), kept apart so that stacking copies one
            chunk.
        queries: (M, E) all captions of the set, shared by the streams. Between
            modalities: what the other modality asks with.
        index: (N,) int64, those that this stream asks.
        target: (N,) int64, the clip that each of them belongs to.
        rows: (G,) the sample that each clip came from.
        columns: (N,) the position of each caption among its own sample's captions.
        device: Where the chunks are scored.
        texts: (N,) int64, equal numbers for captions that count as the same text; it
            is right for every clip that carries it. Default: each is a text of its
            own, right for its own clip.
    """

    gallery: list[Tensor]
    queries: Tensor
    index: Tensor
    target: Tensor
    rows: list[int]
    columns: list[int]
    device: torch.device = torch.device('cpu')
    texts: Tensor = None  # type: ignore[assignment] # __post_init__ sets the default

    def __post_init__(self) -> None:
        if self.texts is None:
            self.texts = torch.arange(len(self.target))

    def gallery_chunk(self, index: slice | Tensor) -> Tensor:
        """Stack some clips as float32 (g, F, Q, E) on the scoring device."""
        if isinstance(index, slice):
            chunk = self.gallery[index]
        else:
            chunk = [self.gallery[i] for i in index.tolist()]
        return torch.stack(chunk).to(self.device).float()

    def query_chunk(self, index: slice | Tensor | list[int]) -> Tensor:
        """Some captions as float32 (c, E) on the scoring device."""
        return self.queries[self.index[index]].to(self.device).float()

    @property
    def answered(self) -> Tensor:
        """(G,) bool: the clips that have at least one caption."""
        has_caption = torch.zeros(len(self.gallery), dtype=torch.bool)
        has_caption[self.target] = True
        return has_caption

    @cached_property
    def carried(self) -> Tensor:
        """(P, 2) int64, each clip with each text that it carries, ascending."""
        return torch.stack([self.target, self.texts], 1).unique(dim=0)

    def _carried_by(self, clips: slice) -> Tensor:
        """The rows of ``carried`` that speak of some clips."""
        ends = torch.tensor([clips.start, clips.stop])
        first, last = torch.searchsorted(self.carried[:, 0].contiguous(), ends).tolist()
        return self.carried[first:last]

    def asking(self, clips: slice) -> Tensor:
        """Captions (c,) int64 whose right answers are among some clips."""
        texts = self._carried_by(clips)[:, 1]
        return torch.isin(self.texts, texts).nonzero().flatten()

    def right(self, captions: slice | Tensor, clips: slice) -> Tensor:
        """Which of some clips are right for some captions: (c, g) bool."""
        asked, place = self.texts[captions].unique(return_inverse=True)
        clip, text = self._carried_by(clips).unbind(1)
        row = torch.searchsorted(asked, text.contiguous()).clamp(max=len(asked) - 1)
        known = asked[row] == text
        right = torch.zeros(len(asked), clips.stop - clips.start, dtype=torch.bool)
        right[row[known], clip[known] - clips.start] = True
        return right[place].to(self.device)

    @cached_property
    def _captions_of_texts(self) -> tuple[Tensor, ...]:
        """The captions of each text number, from 0."""
        sizes = torch.bincount(self.texts).tolist()
        return self.texts.argsort(stable=True).split(sizes)

    def right_captions(self, clips: slice) -> Iterator[Tensor]:
        """For each of some clips the captions (c,) int64 that it is right for."""
        clip, text = self._carried_by(clips).unbind(1)
        sizes = torch.bincount(clip - clips.start, minlength=clips.stop - clips.start)
        none = clip.new_zeros(0)
        for texts in text.split(sizes.tolist()):
            yield torch.cat([none, *(self._captions_of_texts[t] for t in texts)])

    def right_counts(self) -> tuple[Tensor, Tensor]:
        """How many answers are right: clips for each caption (N,), and captions for
        each of the clips that ask; int64."""
        clip, text = self.carried.unbind(1)
        clips = torch.bincount(text, minlength=int(self.texts.max()) + 1)
        captions = torch.bincount(self.texts)[text]
        found = torch.zeros(len(self.gallery), dtype=torch.int64)
        found.index_add_(0, clip, captions)
        return clips[self.texts], found[self.answered]

    def is_right(self, captions: Tensor, clips: Tensor) -> Tensor:
        """Whether each of some clips is right for its caption; both int64 (...)."""
        step = int(self.texts.max()) + 1
        pairs = self.carried[:, 0] * step + self.carried[:, 1]  # ascending
        asked = clips * step + self.texts[captions]
        place = torch.searchsorted(pairs, asked).clamp(max=len(pairs) - 1)
        return pairs[place] == asked


def all_captions(records: list[dict]) -> Tensor:
    """Caption features of all samples in order, (M, E) or (M, 3, E), (0, 0) where
    there are none.

    Raises:
        CoAVTError: If they differ in width.
    """
    found = [r['caption_feats'] for r in records if r['texts']]
    widths = {tuple(feats.shape[1:]) for feats in found}
    if len(widths) > 1:
        raise CoAVTError(f'the caption features differ in width: {sorted(widths)}')
    return torch.cat(found) if found else torch.zeros(0, 0)


def stream_features(
    records: list[dict],
    stream: str,
    captions: Tensor,
    device: torch.device | str = 'cpu',
    equal_texts: bool = False,
) -> StreamFeatures | None:
    """Gather the clips that have a stream and the captions that speak of it.

    Args:
        records: One dict a sample, as :func:`make_record` gives it.
        stream: 'AV', 'A' or 'V'.
        captions: (M, E), as the stream is compared with them.
        device: Where chunks will be scored.
        equal_texts: A text that several clips carry is right for each of them.

    Returns:
        None where no caption has its clip in the gallery.

    Raises:
        CoAVTError: If clips differ in shape, or from the captions in width.
    """
    rows: list[int] = []
    asked: list[tuple[int, int, int]] = []  # index, target, column
    first = 0
    for row, record in enumerate(records):
        if stream in record['clip_feats']:
            asked += [
                (first + column, len(rows), column)
                for column, about in enumerate(record['text_streams'])
                if about in ('AV', stream)
            ]
            rows.append(row)
        first += len(record['texts'])
    if not asked:
        return None
    clips = _equal_clips([records[row]['clip_feats'][stream] for row in rows], stream)
    if clips[0].shape[-1] != captions.shape[-1]:
        raise CoAVTError(
            f'the clips of stream {stream} are {clips[0].shape[-1]} wide, the captions '
            f'{captions.shape[-1]}; they must come from one model'
        )
    index, target, columns = torch.tensor(asked).unbind(1)
    features = StreamFeatures(
        gallery=clips,
        queries=captions,
        index=index.contiguous(),
        target=target.contiguous(),
        rows=rows,
        columns=columns.tolist(),
        device=torch.device(device),
    )
    if not equal_texts:
        return features
    return replace(features, texts=text_groups(stream_texts(records, features)))


def _equal_clips(clips: list[Tensor], stream: str) -> list[Tensor]:
    shapes = {tuple(clip.shape) for clip in clips}
    if len(shapes) > 1:
        raise CoAVTError(MIXED_SHAPES.format(stream, sorted(shapes)))
    return clips


def stream_texts(records: list[dict], features: StreamFeatures) -> list[str]:
    """The N captions of a stream, in order."""
    rows = [features.rows[clip] for clip in features.target.tolist()]
    places = zip(rows, features.columns, strict=True)
    return [records[row]['texts'][column] for row, column in places]
