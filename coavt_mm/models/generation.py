"""Caption decoding: greedy, beam search, nucleus sampling; cached keys and values.

Letters used in shapes: B clips, K beams, L tokens written so far, [DEC] included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from heapq import nlargest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coavt_mm.compat import current_names
from coavt_mm.errors import ConfigError
from coavt_mm.models.language import LanguageModelingHead
from coavt_mm.models.query_encoder import KeyValue, QueryEncoder, QueryState

#: Options of :class:`Decoding` by the names that they had in the release before.
OLD_NAMES = {'max_tokens': 'max_new_tokens', 'min_tokens': 'min_new_tokens'}


@dataclass(frozen=True)
class Decoding:
    """How a caption is chosen; search and penalties are those of transformers'
    ``generate()``, with its ``early_stopping=False``.

    Args:
        num_beams: Hypotheses kept for each clip; 1 is greedy. Defaults to 1.
        max_new_tokens: Tokens written at most, the end token is one; a caption that
            has not ended by then is cut off.
        min_new_tokens: No end before so many tokens. Defaults to 1.
        length_penalty: A finished beam's log-probability is divided by length **
            length_penalty, where the end token counts; above 0 favours long captions.
            Defaults to 1.
        repetition_penalty: Scores of tokens written already are divided by it if
            positive and multiplied if negative (CTRL); 1 switches it off. Scores are
            logits, with beams log-probabilities. Defaults to 1.
        top_p: Draw each token from the fewest most probable ones whose probabilities
            sum up to this (nucleus sampling). Default: don't draw.
        temperature: Of the draw; divides logits. Defaults to 1.
        seed: Of the draw. Defaults to 0.

    Raises:
        ConfigError: If a value, or the combination, makes no sense.
    """

    num_beams: int = 1
    max_new_tokens: int = 30
    min_new_tokens: int = 1
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    top_p: float | None = None
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name in ('num_beams', 'max_new_tokens'):
            if getattr(self, name) < 1:
                raise ConfigError(f'{name} is {getattr(self, name)}, not at least 1')
        for name in ('repetition_penalty', 'temperature'):
            if getattr(self, name) <= 0:
                raise ConfigError(f'{name} is {getattr(self, name)}, not above 0')
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ConfigError(
                f'min_new_tokens is {self.min_new_tokens}, not between 0 and '
                f'max_new_tokens={self.max_new_tokens}'
            )
        if self.top_p is None:
            if self.temperature != 1 or self.seed:
                raise ConfigError('temperature and seed need top_p: nothing is drawn')
        elif not 0 < self.top_p <= 1:
            raise ConfigError(f'top_p is {self.top_p}, not above 0 and at most 1')
        elif self.num_beams != 1:
            raise ConfigError('top_p draws one caption a clip: num_beams must be 1')

    def processors(self) -> Callable[[Tensor, Tensor], Tensor]:
        """What transformers does to scores (rows, vocab) after ids (rows, L)."""
        if self.repetition_penalty == 1 and self.top_p is None:
            return lambda ids, scores: scores
        # takes longer to import than torch
        from transformers.generation import logits_process as made

        found: Any = made.LogitsProcessorList()
        if self.repetition_penalty != 1:
            penalty = float(self.repetition_penalty)
            found.append(made.RepetitionPenaltyLogitsProcessor(penalty))
        if self.top_p is not None:
            found.append(made.TemperatureLogitsWarper(float(self.temperature)))
            found.append(made.TopPLogitsWarper(self.top_p))
        return found


def check_decoding(name: str, options: dict) -> dict:
    """Refuse what :class:`Decoding` does not take.

    Args:
        name: What the config calls this way of decoding.
        options: Arguments of :class:`Decoding`; also by the names of old.

    Returns:
        The options, by the names that they have now.

    Raises:
        ConfigError: If an option is unknown or its value makes no sense.
    """
    options = current_names(f'decoding {name!r}', options, OLD_NAMES)
    known = [field.name for field in fields(Decoding)]
    unknown = set(options) - set(known)
    if unknown:
        raise ConfigError(
            f'decoding {name!r}: unknown {sorted(unknown)}, expected some of {known}'
        )
    try:
        Decoding(**options)
    except ConfigError as error:
        raise ConfigError(f'decoding {name!r}: {error}') from error
    return options


@torch.no_grad()
def generate(
    query_encoder: QueryEncoder,
    lm_head: LanguageModelingHead,
    state: QueryState,
    clip_keys: Sequence[int] | None = None,
    **options,
) -> list[list[int]]:
    """Write one caption a clip.

    Args:
        query_encoder: Decodes text.
        lm_head: Scores the next token.
        state: Query outputs of B clips.
        clip_keys: B numbers from 0 on, on which, with the seed, the draws of each clip
            depend; its place in a batch then doesn't matter. Defaults to 0 ... B - 1.
        options: Arguments of :class:`Decoding`.

    Returns:
        Token ids of B captions, without [DEC] and end token.
    """
    decoding = Decoding(**current_names('decoding', options, OLD_NAMES))
    batch, device = state.hidden.shape[0], state.hidden.device
    start = torch.full((batch, 1), lm_head.dec_token_id, device=device)
    search: _Beams | _Chains
    if decoding.num_beams > 1:
        search = _Beams(start, lm_head.end_token_id, decoding)
    else:
        draws = None
        if decoding.top_p is not None:
            draws = _draws(decoding, range(batch) if clip_keys is None else clip_keys)
            draws = draws.to(device)
        search = _Chains(start, lm_head.end_token_id, decoding, draws)
    past = _repeat(state.self_kv, decoding.num_beams)
    for _ in range(decoding.max_new_tokens):
        token = search.last()
        hidden, past = query_encoder.decode_text(token, torch.ones_like(token), past)
        logits = lm_head(hidden[:, -1], query_encoder.word_embeddings.weight)
        origin = search.advance(logits.float())
        if search.done():
            break
        if origin is not None:
            past = [(k[origin], v[origin]) for k, v in past]
    return search.captions()


def _draws(decoding: Decoding, keys: Sequence[int]) -> Tensor:
    """(B, max_new_tokens) uniform numbers, the same on every device."""
    rows = []
    for key in keys:
        rng = np.random.default_rng([decoding.seed, int(key)])
        rows.append(torch.from_numpy(rng.random(decoding.max_new_tokens)))
    return torch.stack(rows)


class _Chains:
    """One running caption a clip, its tokens the best ones or drawn.

    Args:
        start: (B, 1) [DEC].
        end: Id of the end token.
        decoding: The options.
        draws: (B, max_new_tokens) numbers in [0, 1); None takes the best token.
    """

    def __init__(
        self, start: Tensor, end: int, decoding: Decoding, draws: Tensor | None
    ):
        self.ids, self.end, self.draws = start, end, draws
        self.min_new_tokens, self.process = (
            decoding.min_new_tokens,
            decoding.processors(),
        )
        self.ended = torch.zeros(len(start), dtype=torch.bool, device=start.device)

    def last(self) -> Tensor:
        """(B, 1) the tokens written last."""
        return self.ids[:, -1:]

    def advance(self, logits: Tensor) -> None:
        """Extend every caption by one token, given logits (B, vocab)."""
        length = self.ids.shape[1] - 1
        if length < self.min_new_tokens:
            logits[:, self.end] = float('-inf')
        scores = self.process(self.ids, logits)
        if self.draws is None:
            token = scores.argmax(1, keepdim=True)
        else:
            token = _inverse_cdf(scores, self.draws[:, length : length + 1])
        self.ids = torch.cat([self.ids, token], 1)
        self.ended |= token[:, 0] == self.end

    def done(self) -> bool:
        """Has every caption ended?"""
        return bool(self.ended.all())

    def captions(self) -> list[list[int]]:
        """Each caption up to its end token."""
        rows = self.ids[:, 1:].tolist()
        return [row[: row.index(self.end)] if self.end in row else row for row in rows]


def _inverse_cdf(scores: Tensor, draws: Tensor) -> Tensor:
    """The token at which the summed probability passes draws (B, 1): (B, 1)."""
    summed = scores.double().softmax(1).cumsum(1)
    return torch.searchsorted(summed, draws * summed[:, -1:], right=True)


class _Beams:
    """Running and finished hypotheses of B clips, K beams each.

    Args:
        start: (B, 1) [DEC].
        end: Id of the end token.
        decoding: The options.
    """

    def __init__(self, start: Tensor, end: int, decoding: Decoding):
        self.batch, self.beams = len(start), decoding.num_beams
        self.end, self.min_new_tokens = end, decoding.min_new_tokens
        self.max_new_tokens, self.penalty = (
            decoding.max_new_tokens,
            decoding.length_penalty,
        )
        self.process = decoding.processors()
        self.scores = start.new_full(
            (self.batch, self.beams), float('-inf'), dtype=torch.float
        )
        self.scores[:, 0] = 0  # all beams start equal: let only one of them run
        self.ids = start[:, None].repeat(1, self.beams, 1)  # (B, K, L)
        # of each clip the K best captions so far: score, ids
        self.finished: list[list[tuple[float, list[int]]]] = [
            [] for _ in range(self.batch)
        ]
        self.closed = [False] * self.batch

    def last(self) -> Tensor:
        """(B * K, 1) the tokens written last."""
        return self.ids[..., -1].reshape(-1, 1)

    def advance(self, logits: Tensor) -> Tensor:
        """Extend every beam by one token.

        Args:
            logits: (B * K, vocab).

        Returns:
            (B * K,) the row that each beam came from.
        """
        vocab = logits.shape[-1]
        log_probs = self.process(self.ids.flatten(0, 1), logits.log_softmax(-1))
        if self.ids.shape[2] - 1 < self.min_new_tokens:
            log_probs[:, self.end] = float('-inf')
        total = self.scores[..., None] + log_probs.view(self.batch, self.beams, vocab)
        # 2K candidates: even if K of them end here, K go on
        scores, flat = total.flatten(1).topk(min(2 * self.beams, total[0].numel()))
        origin, token = flat // vocab, flat % vocab
        ended = token == self.end
        self._collect(scores, origin, token)
        rank = torch.where(ended, float('-inf'), scores).topk(self.beams).indices
        self.scores = torch.where(ended, float('-inf'), scores).gather(1, rank)
        origin, token = origin.gather(1, rank), token.gather(1, rank)
        kept = self.ids.gather(1, origin[..., None].expand(-1, -1, self.ids.shape[2]))
        self.ids = torch.cat([kept, token[..., None]], 2)
        offset = torch.arange(self.batch, device=token.device)[:, None] * self.beams
        return (origin + offset).flatten()

    def _collect(self, scores: Tensor, origin: Tensor, token: Tensor) -> None:
        """Take in the candidates (B, 2 * K), best first, that end or are cut off."""
        length = self.ids.shape[2]  # with the token that is being written
        complete = (token == self.end) | (length == self.max_new_tokens)
        # only what ends among the K best is a real contender
        for b, k in complete[:, : self.beams].nonzero().tolist():
            score = scores[b, k].item()
            if score > float('-inf') and not self.closed[b]:
                ids = [*self.ids[b, origin[b, k], 1:].tolist(), token[b, k].item()]
                if ids[-1] == self.end:
                    ids.pop()
                self.finished[b].append((self._normalised(score, length), ids))
        self.finished = [nlargest(self.beams, found) for found in self.finished]

    def _normalised(self, score: float, length: int) -> float:
        return score / length**self.penalty

    def done(self) -> bool:
        """Close the clips that running beams can't improve; are all closed?

        A clip with K finished beams is closed once the worst of them is no worse than
        the best running one at its present length.
        """
        best, length = self.scores.max(1).values.tolist(), self.ids.shape[2] - 1
        for b, found in enumerate(self.finished):
            if len(found) == self.beams:
                self.closed[b] |= found[-1][0] >= self._normalised(best[b], length)
        return all(self.closed)

    def captions(self) -> list[list[int]]:
        """The best caption of each clip."""
        return [found[0][1] for found in self.finished]


def _repeat(past: list[KeyValue], times: int) -> list[KeyValue]:
    """(B, ...) -> (B * times, ...) for every layer."""
    return [
        (k.repeat_interleave(times, 0), v.repeat_interleave(times, 0)) for k, v in past
    ]
