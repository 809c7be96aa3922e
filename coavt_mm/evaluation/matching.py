"""Re-ranking by the matching head, and its accuracy on hard pairs.

Letters as in :mod:`coavt_mm.evaluation.ranking`, and P pairs, N_av tokens of the joint
stream, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation.features import StreamFeatures, text_groups
from coavt_mm.evaluation.pairs import Bench, Judge, Pairs
from coavt_mm.evaluation.ranking import score_blocks, top_captions, top_clips
from coavt_mm.models.similarity import pair_similarity

# Logits of equal pairs differ by more than similarities do: they went through a network
# in batches of different shapes.
LOGIT_TOLERANCE = 1e-5
CHUNK = 1024  # pairs whose similarities are computed at once


class PairScorer:
    """Ask a model whether captions and clips match.

    Pairs are scored clip by clip, and equal pairs once, so that a call projects each
    frame of a clip to cross-attention keys and values once, whatever the number of its
    captions.

    Args:
        model: See :class:`~coavt_mm.evaluation.pairs.Judge`.
        records: One dict a sample, with ``tokens`` (F, N_av, D) and ``caption_ids``.
        features: The joint stream made from the same records.
        batch_size: Pairs scored at once.
        bench: All processes of the run, where they share the work.
    """

    def __init__(
        self,
        model: Any,
        records: list[dict],
        features: StreamFeatures,
        batch_size: int,
        bench: Bench | None = None,
    ) -> None:
        self.judge, self.bench = Judge(model, batch_size), bench
        self.model = self.judge.model
        samples = [records[row] for row in features.rows]
        for key in ('tokens', 'caption_ids'):
            missing = [s['sample_id'] for s in samples if s.get(key) is None]
            if missing:
                raise ConfigError(
                    f'the matching head needs {key!r}, which {missing[0]!r} lacks: add '
                    'the hook ShareModelHook, or set test_cfg.keep_tokens=True in the '
                    'model'
                )
        self.names = [sample['sample_id'] for sample in samples]
        self.tokens = [sample['tokens'] for sample in samples]
        shapes = {tuple(tokens.shape) for tokens in self.tokens}
        if len(shapes) > 1:
            raise CoAVTError(f'the tokens of clips differ in shape: {sorted(shapes)}')
        places = zip(features.target.tolist(), features.columns, strict=True)
        self.ids = [samples[clip]['caption_ids'][column] for clip, column in places]

    def __call__(self, clips: Tensor, captions: Tensor) -> Tensor:
        """Logits (P, 2), mean over frames, of pairs given by two (P,) index tensors."""
        if not len(clips):
            return torch.zeros(0, 2)
        rows, place = torch.stack([clips, captions], 1).unique(
            dim=0, return_inverse=True
        )  # sorted by clip
        pairs = Pairs(rows, self.tokens, self.ids, self.names)
        if self.bench is None:
            return self.judge(pairs, show=True)[place]
        return self.bench.judge(self.judge, pairs)[place]


def rerank(
    logits: Tensor,
    scores: Tensor,
    right: Tensor,
    cosine_ranks: Tensor,
    similarity_weight: float,
) -> Tensor:
    """Rank again within each query's top K; what lies outside stays below it.

    Args:
        logits: (queries, K) matching logits.
        scores: (queries, K) similarities.
        right: (queries, K) bool, right answers.
        cosine_ranks: (queries,) ranks by similarity, kept where no right answer is
            among the K.
        similarity_weight: Of the scores that are added; 0: the logit replaces them
            (VAST).

    Returns:
        (queries,) int64.
    """
    scores = logits + similarity_weight * scores if similarity_weight else logits
    best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    bar = best.masked_fill(~best.isfinite(), -torch.inf) - LOGIT_TOLERANCE
    ranks = 1 + (~(scores < bar) & ~right).sum(1)  # NaN counts against the query
    return torch.where(right.any(1), ranks, cosine_ranks)


def matching_ranks(
    features: StreamFeatures,
    scorer: PairScorer,
    cosine_ranks: tuple[Tensor, Tensor],
    topk: int,
    similarity_weights: Sequence[float],
) -> list[tuple[Tensor, Tensor]]:
    """Ranks (text to clip, clip to text) for each way of using the logit.

    Args:
        features: The joint stream.
        scorer: Gives the logits; each pair is asked once for both directions.
        cosine_ranks: (N,) and (G,).
        topk: K.
        similarity_weights: One for each result, see :func:`rerank`.
    """
    scores, clips = top_clips(features, min(topk, len(features.gallery)))
    captions = torch.arange(len(clips))[:, None].expand_as(clips)
    right = features.is_right(captions, clips)
    back_scores, back_captions = top_captions(features, min(topk, len(features.target)))
    back_clips = torch.arange(len(back_captions))[:, None].expand_as(back_captions)
    back_right = features.is_right(back_captions, back_clips)

    logits = scorer(
        torch.cat([clips.flatten(), back_clips.flatten()]),
        torch.cat([captions.flatten(), back_captions.flatten()]),
    )[:, 1]
    logits, back_logits = logits.split([scores.numel(), back_scores.numel()])
    forward = (logits.view_as(scores), scores, right, cosine_ranks[0])
    backward = (
        back_logits.view_as(back_scores),
        back_scores,
        back_right,
        cosine_ranks[1],
    )
    return [(rerank(*forward, w), rerank(*backward, w)) for w in similarity_weights]


def hardest_negatives(
    features: StreamFeatures, texts: list[str]
) -> tuple[Tensor, Tensor]:
    """The most similar wrong clip of each caption and wrong caption of each clip.

    Wrong means another clip that carries no caption of the same text.

    Args:
        features: One stream.
        texts: N captions.

    Returns:
        (N,) clips and (G,) captions, -1 where there is none.
    """
    features = replace(features, texts=text_groups(texts))
    clip_score = torch.full((len(texts),), -torch.inf)
    caption_score = torch.full((len(features.gallery),), -torch.inf)
    clip_of = torch.full((len(texts),), -1)
    caption_of = torch.full((len(features.gallery),), -1)
    for captions, clips, block in score_blocks(features):
        block = block.masked_fill(features.right(captions, clips), -torch.inf).cpu()
        _keep_best(clip_score[captions], clip_of[captions], block, clips.start)
        _keep_best(caption_score[clips], caption_of[clips], block.T, captions.start)
    return clip_of, caption_of


def _keep_best(score: Tensor, index: Tensor, block: Tensor, offset: int) -> None:
    """Update running maxima (n,) in place from block (n, m)."""
    best, where = block.max(1)
    better = best > score
    score[better] = best[better]
    index[better] = where[better] + offset


def matching_accuracy(
    features: StreamFeatures,
    scorer: PairScorer,
    texts: list[str],
    with_similarity: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, float]:
    """Share of held-out pairs that are judged rightly.

    The pairs: each caption with its own clip, with the hardest wrong clip, and each
    clip with its hardest wrong caption.

    Args:
        features: The joint stream.
        scorer: Gives the logits.
        texts: N captions.
        with_similarity: From logits (P, 2) and similarities (P,) to those that judge,
            see ``MatchingHead.with_similarity``; None judges by the logits alone.

    Returns:
        ``all`` and its parts ``positive``, ``hard_clip``, ``hard_caption`` as shares.
    """
    clip_of, caption_of = hardest_negatives(features, texts)
    captions, clips = torch.arange(len(clip_of)), torch.arange(len(caption_of))
    pairs = {
        'positive': (features.target, captions),
        'hard_clip': (clip_of[clip_of >= 0], captions[clip_of >= 0]),
        'hard_caption': (clips[caption_of >= 0], caption_of[caption_of >= 0]),
    }
    sizes = [len(clips) for clips, _ in pairs.values()]
    asked = [torch.cat(part) for part in zip(*pairs.values(), strict=True)]
    logits = scorer(*asked)
    if with_similarity is not None:
        logits = with_similarity(logits, _pair_similarities(features, *asked))
    says_yes = logits.argmax(1).bool()
    right = {
        name: said == (name == 'positive')
        for name, said in zip(pairs, says_yes.split(sizes), strict=True)
    }
    right['all'] = torch.cat(list(right.values()))
    return {
        name: hits.float().mean().item() for name, hits in right.items() if len(hits)
    }


def _pair_similarities(
    features: StreamFeatures, clips: Tensor, captions: Tensor
) -> Tensor:
    """(P,) on the CPU, of pairs given by two (P,) index tensors."""
    chunks = zip(clips.split(CHUNK), captions.split(CHUNK), strict=True)
    return torch.cat([
        pair_similarity(features.query_chunk(text), features.gallery_chunk(clip)).cpu()
        for clip, text in chunks
    ])  # fmt: skip
