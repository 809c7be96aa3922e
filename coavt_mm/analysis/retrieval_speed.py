"""How long the cosine ranks of a large test set take, beside the matrix rate.

Letters: N captions, G clips, Q queries, E projected width.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coavt_mm.analysis.benchmark_meters import peak_memory, reset_peak
from coavt_mm.evaluation.cosine_ranks import choose_axes, cosine_ranks, find_bars
from coavt_mm.evaluation.features import StreamFeatures
from coavt_mm.evaluation.ranking import recall_summary
from coavt_mm.models.similarity import TIE_TOLERANCE

#: By which power the length falls from one principal axis to the next. In 'steep' a
#: quarter of the axes has 98 % of the squared length, as in the demo's model; in 'flat'
#: two thirds.
DECAYS = {'steep': 1.0, 'flat': 0.25}
KINDS = (*DECAYS, 'random')
MEAN, NOISE = 1.2, 0.6  # of all features, and of queries and captions around their clip
CPU = torch.device('cpu')


def synthetic(
    kind: str, clips: int, captions: int, queries: int, width: int, seed: int = 0
) -> StreamFeatures:
    """Draw features of clips whose queries, and captions, resemble one another.

    Args:
        kind: Of :data:`KINDS`; in 'random' nothing resembles anything.
        clips: G.
        captions: N, spread over the clips.
        queries: Q.
        width: E.
        seed: Of the draw.
    """
    rng = torch.Generator().manual_seed(seed)
    target = torch.arange(captions) * clips // captions
    scale = torch.arange(1, width + 1) ** -DECAYS.get(kind, 0.0)
    scale /= torch.linalg.vector_norm(scale)
    place = scale * torch.randn(clips, width, generator=rng)
    place[:, 0] += MEAN
    alike = kind != 'random'

    def around(centre: Tensor) -> Tensor:
        noise = scale * torch.randn(centre.shape, generator=rng)
        return normalize(centre * alike + (NOISE if alike else 1) * noise, dim=-1)

    # at once, so that the memory measured afterwards is not full of holes
    gallery = torch.empty(clips, 1, queries, width)
    for part, centre in zip(gallery.split(512), place.split(512), strict=True):
        part.copy_(around(centre[:, None, None].expand_as(part)))
    return StreamFeatures(
        gallery=list(gallery),
        queries=around(place[target]),
        index=torch.arange(captions),
        target=target,
        rows=list(range(clips)),
        columns=[0] * captions,
    )


def obvious_ranks(features: StreamFeatures) -> tuple[Tensor, Tensor]:
    """Ranks (N,) and (G,) by the rule's words, from the whole table of scores in double
    precision; it holds all of them."""
    texts = features.queries[features.index].double()
    columns = [
        (texts @ clip.double().flatten(0, -2).T).unflatten(1, clip.shape[:-1])
        for clip in features.gallery
    ]
    scores = torch.stack([column.amax(-1).mean(-1) for column in columns], 1)
    right = features.right(slice(0, len(texts)), slice(0, len(columns)))
    ranks = []
    for axis in (1, 0):
        best = scores.masked_fill(~right, -torch.inf).amax(axis, keepdim=True)
        ranks.append(1 + ((scores >= best - TIE_TOLERANCE) & ~right).sum(axis))
    return ranks[0], ranks[1]


def matrix_rate(size: int = 4096, rounds: int = 3) -> tuple[float, float]:
    """FLOP/s of a product of two square matrices, by the clock and by processor time.

    Args:
        size: Of their sides.
        rounds: The best counts.
    """
    left, right = torch.randn(2, size, size)
    left @ right
    took = [timed(lambda: left @ right)[1:] for _ in range(rounds)]
    seconds, work = map(min, zip(*took, strict=True))
    return 2 * size**3 / seconds, 2 * size**3 / work


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call returns, its seconds by the clock and of the processor."""
    began, work = time.perf_counter(), time.process_time()
    found = call()
    return found, time.perf_counter() - began, time.process_time() - work


def measure(features: StreamFeatures, check: bool = False) -> dict[str, Any]:
    """Rank once, with the matrix rate before and after.

    Args:
        features: On the CPU.
        check: Whether to compare with :func:`obvious_ranks`.

    Returns:
        ``clips``, ``captions``, ``queries``, ``width``; ``seconds`` and
        ``processor_seconds``; ``product_seconds`` and ``product_processor_seconds``,
        which the whole table's products would take at the matrix rate; ``gflops`` (that
        rate); ``bound_width`` (None: every pair was scored); ``peak_bytes`` of the
        process; the recalls of both directions; ``equal`` where it was compared.
    """
    clips, (frames, queries, width) = len(features.gallery), features.gallery[0].shape
    captions = len(features.target)
    flops = 2 * clips * frames * queries * width * captions
    before = matrix_rate()
    reset_peak(CPU)
    ranks, seconds, work = timed(lambda: cosine_ranks(features))
    peak = peak_memory(CPU)
    rate, processor_rate = map(max, zip(before, matrix_rate(), strict=True))
    axes = choose_axes(features, find_bars(features))
    row = dict(
        clips=clips,
        captions=captions,
        queries=frames * queries,
        width=width,
        threads=torch.get_num_threads(),
        seconds=seconds,
        processor_seconds=work,
        product_seconds=flops / rate,
        product_processor_seconds=flops / processor_rate,
        gflops=rate / 1e9,
        bound_width=None if axes is None else axes.shape[1] + 1,
        peak_bytes=peak,
        text_to_clip=recall_summary(ranks[0]),
        clip_to_text=recall_summary(ranks[1][features.answered]),
    )
    if check:
        wanted = obvious_ranks(features)
        row['equal'] = all(map(torch.equal, ranks, wanted))
    return row
