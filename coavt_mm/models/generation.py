"""Caption decoding: greedy and beam search with cached keys and values."""

import torch
from torch import Tensor

from .heads import LanguageModelingHead
from .query_encoder import KeyValue, QueryEncoder, QueryState


@torch.no_grad()
def generate(
    query_encoder: QueryEncoder,
    lm_head: LanguageModelingHead,
    state: QueryState,
    num_beams: int = 1,
    max_tokens: int = 30,
    min_tokens: int = 1,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """Write one caption a clip.

    Args:
        query_encoder (QueryEncoder): Decodes text.
        lm_head (LanguageModelingHead): Scores the next token.
        state (QueryState): Query outputs of B clips.
        num_beams (int): 1 is greedy. Defaults to 1.
        max_tokens (int): Longest caption, in tokens, the end token not counted.
            Defaults to 30.
        min_tokens (int): No end before so many tokens. Defaults to 1.
        length_penalty (float): A finished beam's log-probability is divided by
            length ** length_penalty. Defaults to 1.

    Returns:
        list[list[int]]: Token ids of B captions, without [DEC] and end token.
    """
    if num_beams < 1 or max_tokens < 1:
        raise ValueError('num_beams and max_tokens must be at least 1')
    batch, device = state.hidden.shape[0], state.hidden.device
    beams = _Beams(batch, num_beams, lm_head.end_token_id, length_penalty, device)
    past = _repeat(state.self_kv, num_beams)
    token = torch.full((batch * num_beams, 1), lm_head.dec_token_id, device=device)
    for step in range(max_tokens):
        hidden, past = query_encoder.decode_text(token, torch.ones_like(token), past)
        logits = lm_head(hidden[:, -1], query_encoder.word_embeddings.weight).float()
        if step < min_tokens:
            logits[:, lm_head.end_token_id] = float('-inf')
        token, origin = beams.advance(logits.log_softmax(-1))
        if beams.done():
            break
        past = [(k[origin], v[origin]) for k, v in past]
    return beams.best()


class _Beams:
    """Running and finished hypotheses of B clips, K beams each."""

    def __init__(self, batch: int, beams: int, end: int, penalty: float, device):
        self.batch, self.beams, self.end, self.penalty = batch, beams, end, penalty
        self.scores = torch.full((batch, beams), float('-inf'), device=device)
        self.scores[:, 0] = 0  # all beams start equal: let only one of them run
        self.ids = torch.zeros(batch, beams, 0, dtype=torch.long, device=device)
        self.finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(batch)]
        self.closed = [False] * batch

    def advance(self, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """Extend every beam by one token.

        Args:
            log_probs (Tensor): (B * K, vocab).

        Returns:
            tuple: Next tokens (B * K, 1) and the row each beam came from (B * K,).
        """
        vocab = log_probs.shape[-1]
        total = self.scores[..., None] + log_probs.view(self.batch, self.beams, vocab)
        # 2K candidates: even if K of them end here, K go on
        scores, flat = total.flatten(1).topk(min(2 * self.beams, total[0].numel()))
        origin, token = flat // vocab, flat % vocab
        ended = token == self.end
        self._collect(scores, origin, ended)
        rank = torch.where(ended, float('-inf'), scores).topk(self.beams).indices
        self.scores = torch.where(ended, float('-inf'), scores).gather(1, rank)
        origin, token = origin.gather(1, rank), token.gather(1, rank)
        kept = self.ids.gather(1, origin[..., None].expand(-1, -1, self.ids.shape[2]))
        self.ids = torch.cat([kept, token[..., None]], 2)
        offset = torch.arange(self.batch, device=token.device)[:, None] * self.beams
        return token.view(-1, 1), (origin + offset).flatten()

    def _collect(self, scores: Tensor, origin: Tensor, ended: Tensor) -> None:
        length = self.ids.shape[2]
        # only an end among the K best is a real contender
        for b, k in ended[:, : self.beams].nonzero().tolist():
            score = scores[b, k].item() / max(length, 1) ** self.penalty
            if score > float('-inf') and not self.closed[b]:
                ids = self.ids[b, origin[b, k]].tolist()
                self.finished[b].append((score, ids))

    def done(self) -> bool:
        """Close the clips whose K finished beams can't be overtaken; are all closed?

        Greedy search ends with the first end token, whatever might follow.
        """
        length = self.ids.shape[2]
        running = (self.scores.max(1).values / length**self.penalty).tolist()
        for b, done in enumerate(self.finished):
            if len(done) >= self.beams:
                self.closed[b] |= self.beams == 1 or max(done)[0] >= running[b]
        return all(self.closed)

    def best(self) -> list[list[int]]:
        """The best caption of each clip; running ones count where none has ended."""
        length = max(self.ids.shape[2], 1)
        captions = []
        for b, done in enumerate(self.finished):
            if not done:
                k = int(self.scores[b].argmax())
                score = self.scores[b, k].item() / length**self.penalty
                done = [(score, self.ids[b, k].tolist())]
            captions.append(max(done)[1])
        return captions


def _repeat(past: list[KeyValue], times: int) -> list[KeyValue]:
    """(B, ...) -> (B * times, ...) for every layer."""
    return [
        (k.repeat_interleave(times, 0), v.repeat_interleave(times, 0)) for k, v in past
    ]
