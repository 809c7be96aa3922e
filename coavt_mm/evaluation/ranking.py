"""Ranks by counting, in chunks, so that no (captions x clips) table is held.

One rule for ties in the whole project: they count against what is measured. A rank is
1 + the number of better wrong answers + the number of wrong answers that tie, so a
model that gives everything the same score never passes for a good one. A score that is
not finite is never better than another one.

Letters: N captions, G clips of the gallery, F frames, Q queries, E projected width,
K items that a query re-scores.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from coavt_mm.errors import ConfigError
from coavt_mm.evaluation.cosine_ranks import cosine_ranks
from coavt_mm.evaluation.features import StreamFeatures
from coavt_mm.models.similarity import TIE_TOLERANCE, similarity

CHUNK_BYTES = 64 * 2**20
# Right answers are few and lie anywhere: few captions ask for those of a small chunk.
CLIPS_OF_BARS = 64
CURVE_DEPTH = 50  # ranks of a recall curve

MATCHING_MODES = ('matching', 'matching_only')
#: of the modes that look at all queries of the test: query_softmax has PE-AV's
TEMPERATURES = {'query_softmax': 0.1, 'softmax_product': 0.01}
MODES = ('cosine', *MATCHING_MODES, *TEMPERATURES)
#: old name -> new one; the old ones go with release 0.2
RENAMED = {'dual_softmax': 'softmax_product'}


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
    return chunk_sizes(*features.gallery[0].shape)


def score_blocks(features: StreamFeatures) -> Iterator[tuple[slice, slice, Tensor]]:
    """Walk the (N, G) table: caption slice, clip slice, similarities (c, g)."""
    caption_step, clip_step = _sizes(features)
    for clip_part in slices(len(features.gallery), clip_step):
        clips = features.gallery_chunk(clip_part)
        for caption_part in slices(len(features.target), caption_step):
            captions = features.query_chunk(caption_part)
            yield caption_part, clip_part, similarity(captions, clips)


def log_sums(features: StreamFeatures, temperature: float) -> tuple[Tensor, Tensor]:
    """Denominators of the test set's softmaxes, in logs.

    Args:
        features: One stream.
        temperature: Divides the similarities.

    Returns:
        (G,) over all captions for each clip, (N,) over all clips for each caption.
    """
    clips = torch.full((len(features.gallery),), -torch.inf)
    captions = torch.full((len(features.target),), -torch.inf)
    for caption_part, clip_part, block in score_blocks(features):
        logits = (block / temperature).cpu()
        clips[clip_part] = torch.logaddexp(clips[clip_part], logits.logsumexp(0))
        captions[caption_part] = torch.logaddexp(
            captions[caption_part], logits.logsumexp(1)
        )
    return clips, captions


def dual_softmax_bias(
    features: StreamFeatures, temperature: float
) -> tuple[Tensor, Tensor]:
    """What the product of two softmaxes takes from every gallery item's similarity.

    Softmax over the clips times softmax over the captions, in logs and in units of
    similarity, is ``s - temperature / 2 * logsumexp(s / temperature)`` for each query:
    clips (or captions) that answer to everything are lowered.

    Args:
        features: One stream.
        temperature: Divides the similarities.

    Returns:
        (G,) for the clips when a caption asks, (N,) for the captions when a clip asks.
    """
    clips, captions = log_sums(features, temperature)
    return clips * temperature / 2, captions * temperature / 2


def query_softmax(temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Score of PE-AV and VALOR: similarity times its softmax over the queries.

    Args:
        temperature: Divides the similarities; 0.1 in PE-AV's evaluation.

    Returns:
        A ``score`` for :func:`count_ranks`, whose terms are :func:`log_sums`.
    """

    def score(block: Tensor, log_sum: Tensor) -> Tensor:
        logits = block.double() / temperature  # float32 would underflow
        return (logits - log_sum).exp_().mul_(logits)

    return score


def count_ranks(
    features: StreamFeatures,
    clip_terms: Tensor | None = None,
    caption_terms: Tensor | None = None,
    score: Callable[[Tensor, Tensor], Tensor] = torch.sub,
) -> tuple[Tensor, Tensor]:
    """Rank of the best right answer = 1 + better wrong ones + ties, both directions.

    A caption asks for the clips that carry its text, a clip for the captions whose
    text it carries; other right answers do not compete.

    Args:
        features: One stream.
        clip_terms: (G,) second argument of ``score`` when a caption asks. Default: 0.
        caption_terms: (N,) likewise when a clip asks.
        score: Gives the scores (c, g) of similarities (c, g) and terms that broadcast.

    Returns:
        int64 (N,) text to clip, and int64 (G,) clip to text; the latter means
        something only where ``features.answered``.
    """
    if clip_terms is None and caption_terms is None and score is torch.sub:
        return cosine_ranks(features)
    device = features.device
    n, g = len(features.target), len(features.gallery)
    terms = [
        torch.zeros(size, device=device) if given is None else given.to(device)
        for size, given in ((g, clip_terms), (n, caption_terms))
    ]
    clip_terms, caption_terms = terms
    forward_bar, backward_bar = _bars(features, clip_terms, caption_terms, score)
    text_to_clip = torch.ones(n, dtype=torch.int64, device=device)
    clip_to_text = torch.ones(g, dtype=torch.int64, device=device)
    for captions, clips, block in score_blocks(features):
        wrong = ~features.right(captions, clips)
        # "not below" and not "at least": NaN counts against the query
        below = score(block, clip_terms[clips]) < forward_bar[captions, None]
        text_to_clip[captions] += (~below & wrong).sum(1)
        below = score(block, caption_terms[captions, None]) < backward_bar[clips]
        clip_to_text[clips] += (~below & wrong).sum(0)
    return text_to_clip.cpu(), clip_to_text.cpu()


def _bars(
    features: StreamFeatures,
    clip_terms: Tensor,
    caption_terms: Tensor,
    score: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """What a wrong answer must stay below, (N,) and (G,): the best right answer's score
    with the tolerance against it; -inf where that is not finite, or there is none."""
    dtype = score(clip_terms[:1], clip_terms[:1]).dtype
    forward = torch.full_like(caption_terms, -torch.inf, dtype=dtype)
    backward = torch.full_like(clip_terms, -torch.inf, dtype=dtype)
    most_captions, most_clips = _sizes(features)
    clip_step = min(most_clips, CLIPS_OF_BARS)
    caption_step = most_captions * most_clips // clip_step
    for clips in slices(len(features.gallery), clip_step):
        chunk, asking = features.gallery_chunk(clips), features.asking(clips)
        for part in slices(len(asking), caption_step):
            captions = asking[part]
            block = similarity(features.query_chunk(captions), chunk)
            wrong = ~features.right(captions, clips)
            captions = captions.to(features.device)
            low = _lowered(block, clip_terms[clips], score)
            best = low.masked_fill(wrong, -torch.inf).amax(1)
            forward[captions] = forward[captions].maximum(best)
            low = _lowered(block, caption_terms[captions, None], score)
            best = low.masked_fill(wrong, -torch.inf).amax(0)
            backward[clips] = backward[clips].maximum(best)
    return (
        forward.masked_fill(~forward.isfinite(), -torch.inf),
        backward.masked_fill(~backward.isfinite(), -torch.inf),
    )


def _lowered(
    block: Tensor, terms: Tensor, score: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The worst score that similarities within the tolerance have."""
    return torch.minimum(
        score(block - TIE_TOLERANCE, terms), score(block + TIE_TOLERANCE, terms)
    )


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


def top_clips(
    features: StreamFeatures, k: int, captions: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The k best clips of every caption, the right ones last among their ties.

    Args:
        features: One stream.
        k: At most G.
        captions: (c,) int64, those that ask. Default: all N.

    Returns:
        Similarities (c, k) float32 and clips (c, k) int64.
    """
    _, clip_step = _sizes(features)
    every = slice(0, len(features.gallery))
    step = max(1, CHUNK_BYTES // (len(features.gallery) * 16))
    asked = torch.arange(len(features.target)) if captions is None else captions
    found = []
    for part in asked.split(step):
        texts = features.query_chunk(part)
        row = [
            similarity(texts, features.gallery_chunk(clips))
            for clips in slices(len(features.gallery), clip_step)
        ]
        found.append(_top(torch.cat(row, 1), features.right(part, every), k))
    scores, index = zip(*found, strict=True)
    return torch.cat(scores), torch.cat(index)


def top_captions(features: StreamFeatures, k: int) -> tuple[Tensor, Tensor]:
    """The k best captions of every clip, the right ones last among their ties.

    Args:
        features: One stream.
        k: At most N.

    Returns:
        Similarities (G, k) float32 and captions (G, k) int64.
    """
    caption_step, clip_step = _sizes(features)
    every = slice(0, len(features.target))
    step = min(clip_step, max(1, CHUNK_BYTES // (len(features.target) * 16)))
    found = []
    for part in slices(len(features.gallery), step):
        clips = features.gallery_chunk(part)
        column = [
            similarity(features.query_chunk(captions), clips)
            for captions in slices(len(features.target), caption_step)
        ]
        found.append(_top(torch.cat(column).T, features.right(every, part).T, k))
    scores, index = zip(*found, strict=True)
    return torch.cat(scores), torch.cat(index)


def _top(scores: Tensor, right: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Sort stably, so that ties do not depend on the sorter's mood."""
    key = scores - 2 * TIE_TOLERANCE * right
    key = key.masked_fill(right & ~scores.isfinite(), -torch.inf)
    order = key.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return scores.gather(1, order).cpu(), order.cpu()


def check_modes(modes: Sequence[str]) -> None:
    """Refuse unknown score modes, and warn of names that were given up.

    Raises:
        ConfigError: The message names the modes that there are.
    """
    unknown = set(modes) - {*MODES, *RENAMED}
    if unknown:
        raise ConfigError(f'unknown score modes {sorted(unknown)}; known: {MODES}')
    for old in sorted(set(modes) & set(RENAMED)):
        warnings.warn(
            f'the score mode {old!r} is called {RENAMED[old]!r} now, and {old!r} will '
            "go with the next release; PE-AV's and VALOR's dual softmax is "
            "'query_softmax'",
            FutureWarning,
            stacklevel=3,
        )


def temperatures(modes: Sequence[str], temperature: float | None) -> dict[str, float]:
    """Softmax mode -> its temperature, where ``temperature`` does not set it."""
    found = {mode: TEMPERATURES.get(RENAMED.get(mode, mode)) for mode in modes}
    return {
        mode: temperature or value for mode, value in found.items() if value is not None
    }


def softmax_ranks(
    features: StreamFeatures, mode: str, temperature: float
) -> tuple[Tensor, Tensor]:
    """Ranks (N,) text to clip and (G,) clip to text of a softmax mode.

    Args:
        features: One stream.
        mode: Of :data:`TEMPERATURES`, or an old name of one.
        temperature: Divides the similarities.
    """
    if mode == 'query_softmax':
        terms = log_sums(features, temperature)
        return count_ranks(features, *terms, query_softmax(temperature))
    return count_ranks(features, *dual_softmax_bias(features, temperature))
