"""Calls of one loaded model from many threads, mixed, some of them wrong."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import numpy as np

from coavt_mm.errors import CoAVTError

LIMIT = 120  # s for a call; more is a deadlock


def drawn_calls(count: int, clips: Sequence, seed: int = 0) -> list[Callable]:
    """Functions of a model, of which a tenth can't be answered."""
    rng, calls = Random(seed), []
    for number in range(count):
        some = rng.sample([*clips], rng.randint(1, min(3, len(clips))))
        bad = 'not there.mp4' if number % 10 == 9 else some[0]
        calls.append(rng.choice((
            lambda m, c=some: m.embed(c, text='the dog'),
            lambda m, c=bad: m.embed(c),
            lambda m, c=some: m.retrieve('the dog', c),
            lambda m, c=some: m.retrieve(c, ['the dog', 'a cat'], rerank=1),
            lambda m, c=some: m.classify(c, ['dog', 'cat'], topk=2),
            lambda m, c=some: m.caption(c, max_new_tokens=4),
            lambda m, c=bad: m.caption(c, max_new_tokens=4),
            lambda m, c=some: m.match(c, ['the dog', 'a cat']),
        )))  # fmt: skip
    return calls


def ask(model: Any, call: Callable) -> Any:
    """The answer, or what the error says."""
    try:
        return call(model)
    except CoAVTError as error:
        return f'{type(error).__name__}: {error}'


def at_once(model: Any, calls: Sequence[Callable], threads: int) -> list:
    """Answers of calls that are asked at the same time."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(ask, model, call) for call in calls]
        return [future.result(LIMIT) for future in waiting]


def same(one: Any, other: Any) -> bool:
    """Whether two answers are equal, arrays and numbers but for the last bits."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(same(a, b) for a, b in pairs)
    if isinstance(one, float | np.ndarray):
        return bool(np.allclose(one, other, rtol=0, atol=1e-6))
    return one == other
