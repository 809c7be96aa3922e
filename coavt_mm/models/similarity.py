"""Clips and texts compared: the similarity that training, metrics and API share.

Letters: P texts, T text tokens, G clips, F frames, Q queries, E projected width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from coavt_mm.streams import STREAMS

if TYPE_CHECKING:
    from coavt_mm.models.coavt import CoAVT

# The last bits of a matmul depend on its shape, so two equal features can differ by
# about 1e-7 from one chunk to the next. Similarities this close count as ties.
TIE_TOLERANCE = 1e-6
# A CPU is at its fastest while the products (float32) stay in its caches.
TILE_TEXTS = 2048
TILE_PRODUCTS = 2**19
MANY_CLIPS, MANY_TEXTS = 64, 8  # from which a product for each query fills a CPU
BATCH = 64  # texts in one pass of the text encoder


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


def similarity(texts: Tensor | np.ndarray, clips: Tensor | np.ndarray) -> Tensor:
    """Compute the cosine of the best query, averaged over the frames.

    Args:
        texts: (P, E), L2-normalised.
        clips: (..., F, Q, E), L2-normalised; one clip, or G of them.

    Returns:
        (P, ...), from -1 to 1.
    """
    texts, clips = torch.as_tensor(texts), torch.as_tensor(clips)
    few = len(texts) * clips.shape[:-1].numel() <= TILE_PRODUCTS
    trained = torch.is_grad_enabled() and (texts.requires_grad or clips.requires_grad)
    with exact_matmul(clips.device):
        if few or trained or clips.device.type != 'cpu' or clips.ndim != 4:
            return _best_queries(texts, clips)
        many = len(clips) >= MANY_CLIPS and len(texts) >= MANY_TEXTS
        best = _query_by_query if many else _best_queries
        width = 1 if many else clips.shape[1:3].numel()
        rows = texts.split(TILE_TEXTS)
        step = max(1, TILE_PRODUCTS // len(rows[0]) // width)
        return torch.cat([
            torch.cat([best(some, part) for part in clips.split(step)], 1)
            for some in rows
        ])  # fmt: skip


def _best_queries(texts: Tensor, clips: Tensor) -> Tensor:
    products = texts @ clips.flatten(0, -2).T  # (P, G*F*Q)
    best = products.unflatten(1, clips.shape[:-1]).amax(-1)  # (P, ..., F)
    # the mean over a single frame took longer than the best of its queries
    return best[..., 0] if best.shape[-1] == 1 else best.mean(-1)


def _query_by_query(texts: Tensor, clips: Tensor) -> Tensor:
    """The same of many clips (G, F, Q, E). The larger of two large tables is found
    sooner than the largest of a few neighbours: that took a fifth of the time."""
    total, other = [texts.new_empty(len(texts), len(clips)) for _ in range(2)]
    for i, frame in enumerate(clips.unbind(1)):
        first, *rest = frame.unbind(1)  # (G, E) each
        best = torch.mm(texts, first.T, out=None if i else total)
        for query in rest:
            torch.maximum(best, torch.mm(texts, query.T, out=other), out=best)
        if i:
            total += best
    return total if clips.shape[1] == 1 else total.div_(clips.shape[1])


def pair_similarity(texts: Tensor, clips: Tensor) -> Tensor:
    """What :func:`similarity` is of each text with its own clip alone.

    Args:
        texts: (P, E), L2-normalised.
        clips: (P, F, Q, E), L2-normalised.

    Returns:
        (P,), from -1 to 1.
    """
    with exact_matmul(clips.device):
        return torch.einsum('pe,pfqe->pfq', texts, clips).amax(-1).mean(-1)


def texts_for(texts: Any, stream: str, dims: int = 2) -> Any:
    """Texts as clips of one stream are compared with them.

    Args:
        texts: (P, E); or (P, 3, E) of a model that embeds them for each of ``STREAMS``
            apart. Tensor or array.
        stream: 'AV', 'A' or 'V'.
        dims: Of ``texts`` where there is one for all streams.

    Returns:
        (P, E).
    """
    if texts.ndim == dims:
        return texts
    return texts[..., STREAMS.index(stream), :]


def padded(
    rows: Sequence[Tensor], padding: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Pad P rows of token ids at their end.

    Returns:
        Ids and mask (1 for text, 0 for padding), both (P, T) int64.
    """
    ids = pad_sequence(list(rows), True, padding).to(device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(ids.shape[1], device=device) < lengths[:, None]
    return ids, mask.long()


@torch.no_grad()
def embed_rows(
    model: 'CoAVT', rows: Sequence[Tensor], padding: int, batch_size: int = BATCH
) -> Tensor:
    """Embed texts of any number, a batch at a time.

    Args:
        model: Has a contrastive head.
        rows: P tensors of token ids (T,).
        padding: Id that shorter rows of a batch are filled up with.
        batch_size: Texts that go through the model at once.

    Returns:
        (P, E), L2-normalised, on the model's device.

    Raises:
        ConfigError: The model has no contrastive head.
    """
    device = next(model.parameters()).device
    parts = (rows[i : i + batch_size] for i in range(0, len(rows), batch_size))
    return torch.cat([
        model.embed_texts(*padded(part, padding, device)) for part in parts
    ])  # fmt: skip


def tied_order(scores: np.ndarray, tolerance: float = TIE_TOLERANCE) -> np.ndarray:
    """Sort scores, the best first; near-ties go by position.

    The last bits of a score depend on what is computed beside it, so the same clip
    twice need not get the same score twice. From the best down, all scores within
    ``tolerance`` of a group's best are a group, and stand in the order given. Hence two
    scores further apart than ``tolerance`` always stand in the order of the scores,
    and other last bits move none, unless one lies at the border of a group,
    ``tolerance`` below its best.

    Args:
        scores: (n,); NaN comes last.
        tolerance: In units of the scores.

    Returns:
        Positions (n,) int64.
    """
    order = np.argsort(-scores, kind='stable')
    ranked, begin = scores[order], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or not ranked[begin] - ranked[end] <= tolerance:
            order[begin:end].sort()
            begin = end
    return order
