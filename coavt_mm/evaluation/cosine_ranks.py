"""Cosine ranks of a whole test set, exact although few pairs are scored in full.

*Bound.* Texts and queries are turned to the principal axes of both. With x' and q' the
first k coordinates, ``x . q <= x' . q' + |rest of x| |rest of q|``: a product of width
k + 1 bounds the score from above. Where that is below the best right answer's score in
both directions, the pair moves no rank. Trained features have most of their length in
few axes; where they have not, which a sample shows, every pair is scored.

*Rounding.* A score in float32 decides as far as its rounding can not matter, else the
pair is scored again in double precision. So ranks depend neither on how the table is
cut, nor on the bound, nor on the device.

Letters: N captions, G clips of the gallery, F frames, Q queries, E projected width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from coavt_mm.evaluation.features import StreamFeatures
from coavt_mm.models.similarity import TIE_TOLERANCE, similarity

CAPTIONS = 2**17  # held at once
CLIPS = 256  # held at once, so many that products fill a CPU
PAIRS = 2**21  # whose scores are held at once
WAITING = 2**19  # pairs, until those that need a score of their own get it
FEW_CLIPS = 16  # at a time, where their right captions are scored
WORTH_BOUNDING = 1e10  # multiplications of the whole table: seconds
BOUND_WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16)  # in 32nds of E
SAMPLED_CLIPS, SAMPLED_CAPTIONS = 64, 2048  # whose pairs are tried
AXES_CLIPS, AXES_CAPTIONS = 1024, 8192  # more, lest axes fit those that are tried
# The time of a pair that is scored by itself, in those of one of a full block.
SINGLE_PAIR = 2.0
ROWS = 8192  # converted to double precision at once


class Bars(NamedTuple):
    """What the best right answer scores, less the tolerance, in double precision.

    Attributes:
        captions: (N,); +inf where it is not finite.
        clips: (G,); likewise, and where no caption asks.
        worst: Ranks (N,) and (G,) of those: every wrong answer is better.
        error: By how much a score in float32 can be off.
    """

    captions: Tensor
    clips: Tensor
    worst: tuple[Tensor, Tensor]
    error: float


def cosine_ranks(features: StreamFeatures) -> tuple[Tensor, Tensor]:
    """Rank of the best right answer = 1 + better wrong ones + ties, both directions.

    Args:
        features: One stream.

    Returns:
        int64 (N,) text to clip, and int64 (G,) clip to text; the latter means
        something only where ``features.answered``.
    """
    bars = find_bars(features)
    axes = choose_axes(features, bars)
    better = [torch.zeros_like(bar, dtype=torch.int64) for bar in bars[:2]]
    for captions in _slices(len(features.target), CAPTIONS):
        texts = Rows.of(features.query_chunk(captions), axes)
        for part in _slices(len(features.gallery), CLIPS):
            clips = Rows.of(features.gallery_chunk(part), axes)
            block = Block(
                texts,
                clips,
                partial(_right, features, captions.start, part),
                (bars.captions[captions], bars.clips[part]),
                bars.error,
            )
            for total, index, found in zip(
                better, (captions, part), block.better(), strict=True
            ):
                total[index] += found
    ranks = [
        torch.where(bar.isfinite(), 1 + count, worst).cpu()
        for bar, count, worst in zip(bars[:2], better, bars.worst, strict=True)
    ]
    return ranks[0], ranks[1]


def _right(features: StreamFeatures, start: int, clips: slice, some: slice) -> Tensor:
    """(n', g) bool: which clips are right for some captions, from ``start`` on."""
    return features.right(slice(start + some.start, start + some.stop), clips)


def find_bars(features: StreamFeatures) -> Bars:
    """Score all right answers."""
    n, g = len(features.target), len(features.gallery)
    device = features.device
    forward = torch.full((n,), -torch.inf, dtype=torch.float64, device=device)
    backward = torch.full((g,), -torch.inf, dtype=torch.float64, device=device)
    of_caption, of_clip = (torch.zeros(size, dtype=torch.int64) for size in (n, g))
    longest = torch.zeros((), device=device)
    for part in _slices(g, FEW_CLIPS):
        clips = features.gallery_chunk(part)
        longest = torch.maximum(longest, _longest(clips))
        rights = features.right_captions(part)
        for i, (clip, right) in enumerate(zip(clips, rights, strict=True), part.start):
            of_clip[i] = len(right)
            of_caption[right] += 1
            for captions in right.split(ROWS) if len(right) else ():
                scores = exact(features.query_chunk(captions), clip)
                captions = captions.to(device)
                forward[captions] = forward[captions].maximum(scores)
                backward[i] = backward[i].maximum(scores.amax())
    parts = _slices(n, ROWS)
    longest *= torch.stack([_longest(features.query_chunk(p)) for p in parts]).amax()
    frames, _, width = features.gallery[0].shape
    # sums of a product and of frames, the turn, what is added to them: half an ulp each
    error = (width + frames + 16) * 2.0**-24 * longest.item()
    bars = [
        (bar - TIE_TOLERANCE).masked_fill(~bar.isfinite(), torch.inf)
        for bar in (forward, backward)
    ]
    worst = (1 + g - of_caption).to(device), (1 + n - of_clip).to(device)
    return Bars(bars[0], bars[1], worst, error)


def _longest(vectors: Tensor) -> Tensor:
    """The greatest norm that is finite, of (..., E)."""
    return torch.linalg.vector_norm(vectors, dim=-1).nan_to_num(0, 0, 0).amax()


def exact(texts: Tensor, clip: Tensor) -> Tensor:
    """Similarities (c,) of texts (c, E) and one clip (F, Q, E), in double precision."""
    return similarity(texts.double(), clip.double())


def shortened(vectors: Tensor, axes: Tensor) -> Tensor:
    """Coordinates on some axes, and the length of the rest: (..., E) -> (..., k + 1).

    Args:
        vectors: Texts or queries.
        axes: (E, k) float64, orthonormal.
    """
    rows = []
    for part in vectors.flatten(0, -2).split(ROWS):
        long = part.double()
        first = long @ axes
        rest = long.square().sum(1) - first.square().sum(1)
        rows.append(torch.cat([first, rest.clamp(min=0).sqrt()[:, None]], 1).float())
    return torch.cat(rows).unflatten(0, vectors.shape[:-1])


def choose_axes(features: StreamFeatures, bars: Bars) -> Tensor | None:
    """The axes (E, k) float64 that make the least work of a sample.

    Returns:
        None where scoring every pair is no more.
    """
    n, g = len(features.target), len(features.gallery)
    work = n * features.gallery[0].numel() * g
    # a GPU takes less time for the whole table than for choosing among its pairs
    if features.device.type != 'cpu' or work < WORTH_BOUNDING:
        return None
    clip_index, caption_index = _spread(g, SAMPLED_CLIPS), _spread(n, SAMPLED_CAPTIONS)
    clips = features.gallery_chunk(clip_index)
    texts = features.query_chunk(caption_index)
    axes = principal_axes(features)
    low = torch.minimum(bars.captions[caption_index, None], bars.clips[clip_index])
    low = (low - bars.error).float()
    best, least = None, 1.0
    width = len(axes)
    for k in sorted({width * part // 32 - 1 for part in BOUND_WIDTHS} - {-1, 0}):
        some = axes[:, :k].contiguous()
        above = similarity(shortened(texts, some), shortened(clips, some))
        cost = (k + 1) / width + SINGLE_PAIR * (~(above < low)).double().mean().item()
        if cost < least:
            best, least = some, cost
    return best


def principal_axes(features: StreamFeatures) -> Tensor:
    """(E, E) float64 of some clips' queries and some captions, the longest first."""
    clips = features.gallery_chunk(_spread(len(features.gallery), AXES_CLIPS))
    texts = features.query_chunk(_spread(len(features.target), AXES_CAPTIONS))
    product = torch.zeros(texts.shape[1:] * 2, dtype=torch.float64)
    for rows in [*clips.flatten(0, -2).split(ROWS), texts]:
        rows = rows[rows.isfinite().all(1)].double()
        product += rows.T @ rows
    return torch.linalg.eigh(product).eigenvectors.flip(1)


def _spread(length: int, count: int) -> Tensor:
    """At most ``count`` of range(length), evenly."""
    count = min(length, count)
    return torch.arange(count) * length // count


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


class Rows(NamedTuple):
    """Texts or clips.

    Attributes:
        whole: (n, E) or (g, F, Q, E).
        short: Likewise, :func:`shortened`; None where all pairs are scored.
    """

    whole: Tensor
    short: Tensor | None

    @classmethod
    def of(cls, whole: Tensor, axes: Tensor | None) -> 'Rows':
        """Shorten them, where there are axes."""
        return cls(whole, None if axes is None else shortened(whole, axes))


@dataclass
class Block:
    """Some captions beside some clips.

    Args:
        texts: (n, E) and shortened.
        clips: (g, F, Q, E) and shortened.
        right: Gives, of some texts, those clips that do not compete, (n', g) bool.
        bars: (n,) and (g,), see :class:`Bars`.
        error: See :class:`Bars`.
    """

    texts: Rows
    clips: Rows
    right: Callable[[slice], Tensor]
    bars: tuple[Tensor, Tensor]
    error: float

    def __post_init__(self) -> None:
        forward, backward = self.bars
        #: below the first a score in float32 is below the bar, from the second on not
        self.edges = [
            ((forward + e).float(), (backward + e).float())
            for e in (-self.error, self.error)
        ]
        self.better_clips = torch.zeros_like(forward, dtype=torch.int64)
        self.better_captions = torch.zeros_like(backward, dtype=torch.int64)
        # pairs that wait until they are many, since those of a clip are scored together
        self.some: list[Tensor] = []
        self.unsure: list[Tensor] = []

    def better(self) -> tuple[Tensor, Tensor]:
        """Count the wrong answers that are not below the bar.

        Returns:
            int64 (n,) clips of each caption, and (g,) captions of each clip.
        """
        for part in _slices(len(self.texts.whole), PAIRS // CLIPS):
            self._count(part)
            self._settle(WAITING)
        self._settle(0)
        return self.better_clips, self.better_captions

    def _scores(self, texts: Tensor, clips: Tensor, part: slice) -> Tensor:
        """Of some texts, (n', g); right answers, which do not compete, have -inf."""
        scores = similarity(texts[part], clips)
        return scores.masked_fill_(self.right(part), -torch.inf)

    def _count(self, part: slice) -> None:
        """Count, for some texts, among the pairs that the bound leaves, or all."""
        if self.texts.short is None or self.clips.short is None:
            self._count_all(part)
            return
        above = self._scores(self.texts.short, self.clips.short, part)
        forward, backward = self.edges[0]
        pairs = ~((above < forward[part, None]) & (above < backward))
        if SINGLE_PAIR * pairs.sum() > above.numel():
            self._count_all(part)
        else:
            self.some.append(_pairs(pairs, part))

    def _count_all(self, part: slice) -> None:
        scores = self._scores(self.texts.whole, self.clips.whole, part)
        edges = [(forward[part, None], backward) for forward, backward in self.edges]
        unsure = torch.zeros_like(scores, dtype=torch.bool)
        for low, high in zip(*edges, strict=True):
            unsure |= (scores >= low) & (scores < high)
        scores.masked_fill_(unsure, -torch.inf)
        forward, backward = edges[1]
        self.better_clips[part] += (~(scores < forward)).sum(1)
        self.better_captions += (~(scores < backward)).sum(0)
        self.unsure.append(_pairs(unsure, part))

    def _settle(self, most: int) -> None:
        """Count among the pairs that wait, where they are more."""
        if sum(map(len, self.some)) > most:
            pairs, self.some = _by_clip(self.some), []
            self._count_some(*pairs)
        if sum(map(len, self.unsure)) > most:
            pairs, self.unsure = _by_clip(self.unsure), []
            self._count_exactly(*pairs)

    def _count_some(self, clips: Tensor, captions: Tensor) -> None:
        scores = self._pair_scores(clips, captions, similarity)
        unsure = torch.zeros_like(scores, dtype=torch.bool)
        sure = []
        for low, high, index in zip(*self.edges, (captions, clips), strict=True):
            low, high = low[index], high[index]
            unsure |= (scores >= low) & (scores < high)
            sure.append(~(scores < high))
        self._add(clips, captions, *(found & ~unsure for found in sure))
        self.unsure.append(torch.stack([clips[unsure], captions[unsure]], 1))

    def _count_exactly(self, clips: Tensor, captions: Tensor) -> None:
        scores = self._pair_scores(clips, captions, exact)
        forward, backward = self.bars
        self._add(
            clips, captions, scores >= forward[captions], scores >= backward[clips]
        )

    def _pair_scores(self, clips: Tensor, captions: Tensor, score) -> Tensor:
        texts, gallery = self.texts.whole, self.clips.whole
        sizes = torch.bincount(clips, minlength=len(gallery)).tolist()
        scores = [
            score(texts.index_select(0, part), clip)  # [part] took thrice as long
            for clip, group in zip(gallery, captions.split(sizes), strict=True)
            for part in group.split(ROWS)
            if len(part)
        ]
        return torch.cat([texts.new_zeros(0), *scores])

    def _add(self, clips: Tensor, captions: Tensor, *found: Tensor) -> None:
        self.better_clips.index_add_(0, captions, found[0].long())
        self.better_captions.index_add_(0, clips, found[1].long())


def _pairs(where: Tensor, part: slice) -> Tensor:
    """(P, 2) int64, clip and caption, of some captions (n', g) bool."""
    caption, clip = where.nonzero().unbind(1)
    return torch.stack([clip, caption + part.start], 1)


def _by_clip(pairs: list[Tensor]) -> tuple[Tensor, ...]:
    """Clips (P,) and captions (P,), of pairs (P, 2) in any order."""
    every = torch.cat(pairs)
    return every[every[:, 0].argsort(stable=True)].unbind(1)
