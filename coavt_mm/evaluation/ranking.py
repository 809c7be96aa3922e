"""Ranks by counting, in chunks, so that no (captions x clips) table is held.

Letters: N captions, G clips of the gallery, F frames, Q queries, E projected width,
K items that a query re-scores.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

# The last bits of a matmul depend on its shape, so two equal features can differ by
# about 1e-7 from one chunk to the next. Scores this close count as ties.
TIE_TOLERANCE = 1e-6
CHUNK_BYTES = 64 * 2**20


@dataclass
class StreamFeatures:
    """What one stream ('AV', 'A' or 'V') is ranked from.

    Args:
        clips: G tensors (F, Q, E), kept apart so that stacking copies one chunk.
        captions: (M, E) all captions of the set, shared by the streams.
        index: (N,) int64, those that this stream asks.
        owner: (N,) int64, the clip that each of them was written for.
        rows: (G,) the sample that each clip came from.
        columns: (N,) the position of each caption among its own sample's captions.
        device: Where the chunks are scored.
    """

    clips: list[Tensor]
    captions: Tensor
    index: Tensor
    owner: Tensor
    rows: list[int]
    columns: list[int]
    device: torch.device = torch.device('cpu')

    def clip_chunk(self, index: slice | Tensor) -> Tensor:
        """Stack some clips as float32 (g, F, Q, E) on the scoring device."""
        if isinstance(index, slice):
            chunk = self.clips[index]
        else:
            chunk = [self.clips[i] for i in index.tolist()]
        return torch.stack(chunk).to(self.device).float()

    def caption_chunk(self, index: slice | list[int]) -> Tensor:
        """Some captions as float32 (c, E) on the scoring device."""
        return self.captions[self.index[index]].to(self.device).float()

    @property
    def answered(self) -> Tensor:
        """(G,) bool: the clips that have at least one caption."""
        has_caption = torch.zeros(len(self.clips), dtype=torch.bool)
        has_caption[self.owner] = True
        return has_caption


@contextmanager
def exact_matmul(device: torch.device) -> Iterator[None]:
    """Keep TF32 and autocast away: ties are told apart at 1e-6."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def similarity(captions: Tensor, clips: Tensor) -> Tensor:
    """Mean over frames of the best query's cosine.

    Args:
        captions: (N, E), L2-normalised.
        clips: (G, F, Q, E), L2-normalised.

    Returns:
        (N, G).
    """
    num_clips, frames, queries, _ = clips.shape
    with exact_matmul(clips.device):
        products = captions @ clips.flatten(0, 2).T  # (N, G*F*Q)
    return products.view(-1, num_clips, frames, queries).amax(-1).mean(-1)


def chunk_sizes(
    frames: int, queries: int, width: int, budget: int = CHUNK_BYTES
) -> tuple[int, int]:
    """How many captions and clips are scored at once.

    A quarter of the budget holds the stacked clips, half the products.

    Args:
        frames: F.
        queries: Q.
        width: E.
        budget: Bytes.

    Returns:
        (captions, clips), each at least 1.
    """
    rows = frames * queries
    clips = max(1, budget // 4 // (rows * width * 4))
    captions = max(1, budget // 2 // (clips * rows * 4))
    return captions, clips


def slices(length: int, step: int) -> Iterator[slice]:
    """Cut range(length) into slices of at most ``step``."""
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _sizes(features: StreamFeatures) -> tuple[int, int]:
    return chunk_sizes(*features.clips[0].shape)


def own_scores(features: StreamFeatures) -> Tensor:
    """Similarity of every caption with its own clip, (N,) float32."""
    scores = torch.empty(len(features.owner))
    _, step = _sizes(features)
    for part in slices(len(scores), step):
        clips = features.clip_chunk(features.owner[part])  # (c, F, Q, E)
        captions = features.caption_chunk(part)
        with exact_matmul(features.device):
            products = torch.einsum('ce,cfqe->cfq', captions, clips)
        scores[part] = products.amax(-1).mean(-1).cpu()
    return scores


def score_blocks(features: StreamFeatures) -> Iterator[tuple[slice, slice, Tensor]]:
    """Walk the (N, G) table: caption slice, clip slice, similarities (c, g)."""
    caption_step, clip_step = _sizes(features)
    for clip_part in slices(len(features.clips), clip_step):
        clips = features.clip_chunk(clip_part)
        for caption_part in slices(len(features.owner), caption_step):
            captions = features.caption_chunk(caption_part)
            yield caption_part, clip_part, similarity(captions, clips)


def dual_softmax_bias(
    features: StreamFeatures, temperature: float
) -> tuple[Tensor, Tensor]:
    """What the test-set softmax takes from every gallery item's similarity.

    Softmax over the clips times softmax over the captions, in logs and in units of
    similarity, is ``s - temperature / 2 * logsumexp(s / temperature)`` for each query:
    clips (or captions) that answer to everything are lowered.

    Args:
        features: One stream.
        temperature: Divides the similarities.

    Returns:
        (G,) for the clips when a caption asks, (N,) for the captions when a clip asks.
    """
    clips = torch.full((len(features.clips),), -torch.inf)
    captions = torch.full((len(features.owner),), -torch.inf)
    for caption_part, clip_part, block in score_blocks(features):
        logits = (block / temperature).cpu()
        clips[clip_part] = torch.logaddexp(clips[clip_part], logits.logsumexp(0))
        captions[caption_part] = torch.logaddexp(
            captions[caption_part], logits.logsumexp(1)
        )
    return clips * temperature / 2, captions * temperature / 2


def count_ranks(
    features: StreamFeatures,
    clip_bias: Tensor | None = None,
    caption_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rank of the right answer = 1 + better ones + ties, in both directions.

    A clip asks with its best caption, and its other captions do not compete.

    Args:
        features: One stream.
        clip_bias: (G,) taken from the similarity when a caption asks.
        caption_bias: (N,) taken from the similarity when a clip asks.

    Returns:
        int64 (N,) text to clip, and int64 (G,) clip to text; the latter means
        something only where ``features.answered``.
    """
    device = features.device
    owner = features.owner.to(device)
    own = own_scores(features).to(device)
    clip_bias = own.new_zeros(len(features.clips)) if clip_bias is None else clip_bias
    caption_bias = torch.zeros_like(own) if caption_bias is None else caption_bias
    clip_bias, caption_bias = clip_bias.to(device), caption_bias.to(device)
    bar = own - clip_bias[owner] - TIE_TOLERANCE  # (N,)
    best = torch.full_like(clip_bias, -torch.inf)
    best.scatter_reduce_(0, owner, own - caption_bias, 'amax')
    best -= TIE_TOLERANCE  # (G,)
    text_to_clip = torch.ones_like(owner)
    clip_to_text = torch.ones(len(best), dtype=torch.int64, device=device)
    for captions, clips, block in score_blocks(features):
        index = torch.arange(clips.start, clips.stop, device=device)
        others = owner[captions, None] != index  # (c, g)
        beaten = block - clip_bias[clips] >= bar[captions, None]
        text_to_clip[captions] += (beaten & others).sum(1)
        beaten = block - caption_bias[captions, None] >= best[clips]
        clip_to_text[clips] += (beaten & others).sum(0)
    return text_to_clip.cpu(), clip_to_text.cpu()


def recall_summary(ranks: Tensor, recall_at: tuple[int, ...] = (1, 5, 10)) -> dict:
    """Recalls in per cent, median and mean rank.

    Args:
        ranks: (queries,) int64, from 1.
        recall_at: Depths, in ranks.
    """
    ranks = ranks.double()
    summary = {f'R@{k}': 100 * (ranks <= k).double().mean().item() for k in recall_at}
    summary['MedR'] = ranks.quantile(0.5).item()
    summary['MeanR'] = ranks.mean().item()
    return summary


def recall_curve(ranks: Tensor, depth: int) -> list[float]:
    """R@1 ... R@depth in per cent."""
    counts = torch.bincount(ranks.clamp(max=depth + 1), minlength=depth + 2)
    return (100 * counts[1 : depth + 1].cumsum(0) / len(ranks)).tolist()


def top_clips(features: StreamFeatures, k: int) -> tuple[Tensor, Tensor]:
    """The k best clips of every caption, the own one last among its ties.

    Args:
        features: One stream.
        k: At most G.

    Returns:
        Similarities (N, k) float32 and clips (N, k) int64.
    """
    _, clip_step = _sizes(features)
    step = max(1, CHUNK_BYTES // (len(features.clips) * 16))
    found = []
    for part in slices(len(features.owner), step):
        captions = features.caption_chunk(part)
        row = [
            similarity(captions, features.clip_chunk(clips))
            for clips in slices(len(features.clips), clip_step)
        ]
        is_own = features.owner[part, None] == torch.arange(len(features.clips))
        found.append(_top(torch.cat(row, 1), is_own, k))
    scores, index = zip(*found, strict=True)
    return torch.cat(scores), torch.cat(index)


def top_captions(features: StreamFeatures, k: int) -> tuple[Tensor, Tensor]:
    """The k best captions of every clip, its own ones last among their ties.

    Args:
        features: One stream.
        k: At most N.

    Returns:
        Similarities (G, k) float32 and captions (G, k) int64.
    """
    caption_step, clip_step = _sizes(features)
    step = min(clip_step, max(1, CHUNK_BYTES // (len(features.owner) * 16)))
    found = []
    for part in slices(len(features.clips), step):
        clips = features.clip_chunk(part)
        column = [
            similarity(features.caption_chunk(captions), clips)
            for captions in slices(len(features.owner), caption_step)
        ]
        index = torch.arange(part.start, part.stop)
        is_own = index[:, None] == features.owner
        found.append(_top(torch.cat(column).T, is_own, k))
    scores, index = zip(*found, strict=True)
    return torch.cat(scores), torch.cat(index)


def _top(scores: Tensor, is_own: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Sort stably, so that ties do not depend on the sorter's mood."""
    key = scores - 2 * TIE_TOLERANCE * is_own.to(scores.device)
    order = key.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return scores.gather(1, order).cpu(), order.cpu()
