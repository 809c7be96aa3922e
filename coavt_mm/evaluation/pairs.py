"""Pairs that a matching head judges, by one process or by all of a run.

Letters: P pairs, F frames, N_av tokens of the joint stream, D width, T text tokens.
"""

import logging
import sys
import traceback
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.utils import track_iter_progress
from torch import Tensor
from torch.distributed.tensor import DTensor

from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.evaluation.ranking import slices
from coavt_mm.models.similarity import padded

PROGRESS_FROM = 50  # batches; shorter jobs show no bar
TURN = 16  # batches that a process judges before it is given the next
# The first process ranks, draws and writes while the others wait for pairs.
PATIENCE = timedelta(days=1)


class Kept(NamedTuple):
    """Where a clip's tokens (F, N_av, D) are that stayed in a process's memory.

    Args:
        rank: The process.
        place: Their number among those that it keeps.
        shape: Of the tokens.
    """

    rank: int
    place: int
    shape: torch.Size


@dataclass
class Pairs:
    """Pairs of a clip and a caption, and what a model needs to judge them.

    Args:
        rows: (P, 2) int64, each a clip and a caption; sorted by clip, so that a clip's
            keys and values are computed once.
        tokens: (F, N_av, D) of each clip, or where they are kept.
        ids: (T,) word pieces of each caption.
        names: Of each clip, for messages.
    """

    rows: Tensor
    tokens: list
    ids: list
    names: list[str]

    def part(self, part: Tensor) -> 'Pairs':
        """Some of them, with the clips and captions that they need and no others."""
        clips, clip = self.rows[part, 0].unique(return_inverse=True)
        captions, caption = self.rows[part, 1].unique(return_inverse=True)
        return Pairs(
            torch.stack([clip, caption], 1),
            [self.tokens[i] for i in clips],
            [self.ids[i] for i in captions],
            [self.names[i] for i in clips],
        )


class Judge:
    """Ask a model whether the captions and clips of pairs match.

    Args:
        model: Has ``project_context(tokens)``, which gives a list of (key, value) or
            None, a layer, and ``match_context(context, input_ids, attention_mask)``,
            which gives (P, 2).
        batch_size: Pairs judged at once. No more clips' keys and values are held than
            two batches have pairs.

    Raises:
        ConfigError: The model's parameters are spread over processes (FSDP2), which
            would all have to compute each batch together.
    """

    def __init__(self, model: Any, batch_size: int) -> None:
        self.model: Any = model.module if is_model_wrapper(model) else model
        if any(isinstance(p, DTensor) for p in self.model.parameters()):
            raise ConfigError(
                'the matching head of a model under FSDP2 is not asked: validate with '
                "modes=('cosine',), and test the checkpoint without FSDP2"
            )
        self.device = next(self.model.parameters()).device
        self.batch_size = batch_size

    @torch.no_grad()
    def __call__(self, pairs: Pairs, show: bool = False) -> Tensor:
        """Logits (P, 2) on the CPU, mean over frames.

        Args:
            pairs: The pairs.
            show: Show a bar where it takes long.

        Raises:
            CoAVTError: A logit is NaN or inf; the message names the clip.
        """
        rows, logits = pairs.rows, torch.zeros(len(pairs.rows), 2)
        frames = len(pairs.tokens[0]) if len(rows) else 0
        parts = list(slices(len(rows), self.batch_size))
        steps = [(frame, part) for frame in range(frames) for part in parts]
        if show and len(steps) >= PROGRESS_FROM:
            steps = track_iter_progress(steps, file=sys.stderr)
        held: dict = {}
        for frame, part in steps:
            held = self._contexts(pairs, frame, rows[part, 0].tolist(), held)
            logits[part] += self._score(pairs, held, frame, part) / frames
        bad = (~logits.isfinite()).any(1).nonzero().flatten().tolist()
        if bad:
            name = pairs.names[rows[bad[0], 0]]
            raise CoAVTError(f'the matching logit of sample {name!r} is NaN or inf')
        return logits

    def _contexts(self, pairs: Pairs, frame: int, clips: list[int], held: dict) -> dict:
        """(frame, clip) -> keys and values; those held already are taken over."""
        keys = dict.fromkeys((frame, clip) for clip in clips)
        new = [key[1] for key in keys if key not in held]
        if new:
            tokens = torch.stack([pairs.tokens[clip][frame] for clip in new])
            with self._precision(tokens):
                layers = self.model.project_context(tokens.to(self.device))
            each = [
                [None if kv is None else (kv[0][i], kv[1][i]) for kv in layers]
                for i in range(len(new))
            ]
            held = {**held, **{(frame, c): x for c, x in zip(new, each, strict=True)}}
        return {key: held[key] for key in keys}

    def _score(self, pairs: Pairs, held: dict, frame: int, part: slice) -> Tensor:
        """Logits (P, 2) of some pairs in one frame."""
        clips, captions = pairs.rows[part].T.tolist()
        ids, mask = padded([pairs.ids[i] for i in captions], 0, self.device)
        rows = [held[frame, clip] for clip in clips]
        context = [
            None if kv[0] is None else tuple(map(_stack, zip(*kv, strict=True)))
            for kv in zip(*rows, strict=True)
        ]
        with self._precision(pairs.tokens[0]):
            return self.model.match_context(context, ids, mask).float().cpu()

    def _precision(self, tokens: Tensor) -> torch.autocast:
        """Tokens kept in half precision came from an autocast forward; go on in it."""
        dtype = tokens.dtype
        half = dtype in (torch.float16, torch.bfloat16)
        return torch.autocast(self.device.type, dtype if half else None, enabled=half)


def _stack(rows: tuple[Tensor, ...]) -> Tensor:
    """Stack (heads, N, d) of each pair; one clip's is shared without a copy."""
    if all(row is rows[0] for row in rows):
        return rows[0].expand(len(rows), *rows[0].shape)
    return torch.stack(rows)


class Bench:
    """The processes of a run, which judge pairs together.

    Each process keeps the tokens that it made (:meth:`keep`), and judges the pairs of
    those clips: tokens are much of what a clip is, and don't travel. The first process
    has the pairs and hands them out, some batches for each process at a time; the
    others :meth:`serve` until its ``with`` block ends. Made by all processes together.
    """

    def __init__(self) -> None:
        self.group = dist.new_group(backend='gloo', timeout=PATIENCE)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.kept: list[Tensor] = []

    def keep(self, records: list[dict]) -> list[dict]:
        """The records of this process, with a :class:`Kept` in place of their tokens.

        Args:
            records: One dict a clip; ``tokens`` (F, N_av, D), or None.
        """
        self.kept, left = [], []
        for record in records:
            tokens = record.get('tokens')
            if tokens is not None:
                kept = Kept(self.rank, len(self.kept), tokens.shape)
                self.kept.append(tokens)
                record = {**record, 'tokens': kept}
            left.append(record)
        return left

    def judge(self, judge: Judge, pairs: Pairs) -> Tensor:
        """Logits (P, 2) of all pairs; for the first process.

        Args:
            judge: Of this process.
            pairs: The pairs. Tokens that no process keeps are sent to any.

        Raises:
            CoAVTError: What went wrong in any of the processes.
        """
        owners = torch.tensor([
            kept.rank if isinstance(kept, Kept) else clip % self.size
            for clip, kept in enumerate(pairs.tokens)
        ])  # fmt: skip
        owner, size = owners[pairs.rows[:, 0]], TURN * judge.batch_size
        each = [(owner == rank).nonzero().flatten() for rank in range(self.size)]
        shares = [share.split(size) for share in each]
        rounds = list(zip_longest(*shares, fillvalue=owner.new_zeros(0)))
        if len(rounds) >= PROGRESS_FROM // TURN:
            rounds = track_iter_progress(rounds, file=sys.stderr)
        logits = torch.zeros(len(owner), 2)
        for parts in rounds:
            answers = self._turn(judge, [pairs.part(part) for part in parts])
            for part, answer in zip(parts, answers, strict=True):
                if isinstance(answer, CoAVTError):
                    raise answer
                logits[part] = answer
        return logits

    def serve(self, judge: Judge) -> None:
        """Judge what the first process hands out, until it has no more."""
        while self._turn(judge):
            pass

    def __enter__(self) -> None:
        """For the first process."""

    def __exit__(self, *raised: object) -> None:
        """Tell the others that no more pairs come."""
        self._turn(None, [None] * self.size)

    def _turn(self, judge: Judge | None, jobs: list | None = None) -> list:
        """The answers of all processes; [] where there was nothing to do."""
        job: list = [None]
        dist.scatter_object_list(job, jobs, src=0, group=self.group)
        if job[0] is None:
            return []
        try:
            answer: Any = judge(self._with_tokens(job[0])) if judge else None
        except CoAVTError as error:  # raised by the first process, which shows it
            answer = error
        except Exception as error:  # likewise; where it came from is said here
            print_log(traceback.format_exc(), logger='current', level=logging.ERROR)
            answer = CoAVTError(f'{type(error).__name__}: {error}')
        answers: list = [answer] * self.size
        first = self.rank == 0
        dist.gather_object(answer, answers if first else None, 0, self.group)
        return answers

    def _with_tokens(self, pairs: Pairs) -> Pairs:
        kept = self.kept
        tokens = [kept[t.place] if isinstance(t, Kept) else t for t in pairs.tokens]
        return replace(pairs, tokens=tokens)
