"""Sections of the benchmark that take training steps: parts, whole, largest batch."""

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

from coavt_mm.analysis import baseline
from coavt_mm.analysis.benchmark_meters import (
    Meter,
    Timing,
    clock,
    counted_flops,
    peak_memory,
    quartiles,
    reset_peak,
)
from coavt_mm.analysis.benchmark_probes import matrix_rate
from coavt_mm.analysis.benchmark_rows import Row, failure
from coavt_mm.analysis.benchmark_steps import Bench, Stepper, paired
from coavt_mm.errors import ConfigError

EAGER = ('baseline', 'ours')
FULL = 0.95  # of the device's memory, above which the largest batch is not looked for


# ------------------------------------------------------------------- parts
def places(stepper: Stepper) -> list[tuple[str, Any, str]]:
    """Part, object and attribute of the functions that a step consists of."""
    model = stepper.model
    found: list[tuple[str, Any, str]] = [
        ('preprocessor', model.data_preprocessor, 'forward'),
        ('log-mel', model.data_preprocessor.front_end, 'forward'),
    ]
    if stepper.way == 'baseline':
        return [
            *found,
            ('encoder', baseline, 'encode'),
            ('text encoder', baseline, 'encode_text'),
            ('queries', baseline, 'read'),
            ('contrast', baseline, 'similarities'),
            ('contrast', baseline, 'contrast'),
            ('matching', baseline, 'match'),
            ('language model', baseline, 'write'),
            ('backward', stepper, 'backward'),
            ('optimiser', stepper, 'update'),
        ]
    names = dict(
        contrastive_head='contrast', matching_head='matching', lm_head='language model'
    )
    heads = [(names.get(n, n), head, 'losses') for n, head in model.heads.items()]
    return [
        *found,
        ('encoder', model.av_encoder, 'forward'),
        ('text encoder', model, 'encode_text'),
        ('queries', model.query_encoder, 'encode_each'),
        *heads,
        ('backward', stepper.wrapper, 'backward'),
        ('optimiser', stepper.wrapper, 'update_params'),
    ]


@contextmanager
def watched(stepper: Stepper, meter: Meter) -> Iterator[None]:
    """Let a meter see the parts of the stepper's steps."""
    before = []
    for name, owner, attribute in places(stepper):
        function = getattr(owner, attribute)
        before.append((owner, attribute, function, attribute in vars(owner)))

        def seen(*args: Any, name: str = name, call: Any = function, **options: Any):
            with meter.part(name):
                return call(*args, **options)

        setattr(owner, attribute, seen)
    try:
        yield
    finally:
        for owner, attribute, function, own in reversed(before):
            if own:
                setattr(owner, attribute, function)
            else:
                delattr(owner, attribute)


def parts(bench: Bench) -> Iterator[Row]:
    """Time and arithmetic of each part of a step, eager, in the last precision."""
    clips, precision = bench.options.batch, bench.options.precisions[-1]
    data = bench.batches(clips, 2)
    for way in reversed(EAGER):
        stepper = bench.stepper(way, precision)
        work = count_flops(bench, stepper, data[0])
        times: dict[str, list[float]] = defaultdict(list)
        for index in range(max(2, min(bench.options.steps, 3))):
            meter = clock(bench.cuda)
            with watched(stepper, meter), meter.part('the rest'):
                stepper.step(data[index % 2])
            bench.synchronize()
            for name, seconds in meter.totals().items():
                times[name].append(seconds)
        for name, of in times.items():
            own = 'float32' if name in ('preprocessor', 'log-mel') else precision
            yield _row(bench, 'parts', f'{way}: {name}', own, clips, of,
                       work.get(name, 0.0))  # fmt: skip


def count_flops(bench: Bench, stepper: Stepper, data: dict) -> dict[str, float]:
    """FLOPs of each part of a step on a batch; a step is taken for it."""
    with counted_flops() as counter:
        meter = Meter(counter.get_total_flops, lambda began, ended: ended - began)
        with watched(stepper, meter), meter.part('the rest'):
            stepper.step(data)
    work = meter.totals()
    clips = len(data['data_samples'])
    bench.flops[stepper.way] = sum(work.values()) / clips
    return work


def _row(
    bench: Bench,
    section: str,
    what: str,
    precision: str,
    clips: int,
    seconds: Sequence[float],
    flops: float,
) -> Row:
    """A row of times of one batch, its rate and the share of the matrix rate."""
    middle = median(seconds)
    row = Row(section, what, precision, clips, 1000 * middle)
    row.quartiles = tuple(1000 * x for x in quartiles(seconds))  # type: ignore[assignment]
    row.clips_per_s = clips / middle
    if flops:
        row.tflops = flops / middle / 1e12
        row.share = flops / middle / matrix_rate(bench, precision)
    return row


# ------------------------------------------------------------------- whole
def steps(bench: Bench) -> Iterator[Row]:
    """Steps of the baseline and ours, eager, in each precision, side by side."""
    clips = bench.options.batch
    data = bench.batches(clips)
    for precision in bench.options.precisions:
        yield from compare(bench, 'steps', EAGER, precision, clips, data)


def compare(
    bench: Bench,
    section: str,
    ways: Sequence[str],
    precision: str,
    clips: int,
    data: Sequence[dict] | None = None,
) -> Iterator[Row]:
    """Rows of several ways in one precision on the same batches.

    Args:
        bench: The model.
        section: Of the rows.
        ways: The baseline first.
        precision: Their precision.
        clips: Of a batch.
        data: Batches that are there already.
    """
    data = bench.batches(clips) if data is None else data
    for way in reversed(EAGER):  # ours first, which makes the moments
        if way not in bench.flops:
            small = data[0] if clips <= 32 else bench.batches(32, 1)[0]
            count_flops(bench, bench.stepper(way, precision), small)
    steppers = [bench.stepper(way, precision) for way in ways]
    compiling = {
        stepper.way: compile_now(bench, stepper, data)
        for stepper in steppers
        if stepper.way == 'ours, compiled'
    }
    again = _retries(bench)
    timings = paired(bench, steppers, data, bench.options.steps)
    again = _retries(bench) - again
    for way, timing in zip(ways, timings, strict=True):
        per_clip = bench.flops.get(way.removesuffix(', compiled'), 0.0)
        row = _row(bench, section, way, precision, clips, timing.seconds,
                   per_clip * clips)  # fmt: skip
        row.peak_gib = timing.peak / 2**30
        notes = [compiling[way]] if way in compiling else []
        if way != ways[0]:
            notes.append(_speedup(timings[0], timing))
        if again:
            notes.append(f'memory was freed {again} times to fit')
        row.note = '; '.join(notes)
        yield row


def _retries(bench: Bench) -> int:
    """How often the allocator gave its cache back so far, which takes time."""
    return torch.cuda.memory_stats()['num_alloc_retries'] if bench.cuda else 0


def _speedup(base: Timing, ours: Timing) -> str:
    """Say how many times faster ours is, over the rounds that were paired."""
    ratios = [a / b for a, b in zip(base.seconds, ours.seconds, strict=True)]
    low, high = quartiles(ratios)
    return (
        f'{median(ratios):.2f} times the speed of the baseline '
        f'({low:.2f} to {high:.2f})'
    )


# ----------------------------------------------------------------- largest
def largest(bench: Bench) -> Iterator[Row]:
    """Look for the largest batch of both ways, and compare them where both fit."""
    if not bench.cuda:
        yield Row('largest', 'largest batch', note='needs a GPU')
        return
    for precision in bench.options.precisions[-1:]:
        found = {}
        for way in EAGER:
            began = time.perf_counter()
            found[way] = search(bench, way, precision)
            seconds = time.perf_counter() - began
            yield Row('largest', f'largest batch, {way}', precision, found[way],
                      note=f'looked for {seconds:.0f} s')  # fmt: skip
        bench.largest[precision] = found
        yield from compare(
            bench, 'largest', EAGER, precision, _common(bench, precision)
        )


def search(bench: Bench, way: str, precision: str) -> int:
    """Look for the largest batch of a way."""
    properties = torch.cuda.get_device_properties(bench.device)
    stepper = bench.stepper(way, precision)

    def peak(clips: int) -> int | None:
        return step_peak(bench, stepper, clips)

    # the moments are there, and are one set
    bench.stepper('ours', precision).step(bench.batches(2, 1)[0])
    return largest_batch(peak, FULL * properties.total_memory, bench.options.batch)


def step_peak(bench: Bench, stepper: Stepper, clips: int) -> int | None:
    """Peak memory of a step in bytes; None where it doesn't fit."""
    data = bench.batches(clips, 1)[0]
    reset_peak(bench.device)
    try:
        stepper.step(data)
        bench.synchronize()
        return peak_memory(bench.device)
    except torch.OutOfMemoryError:
        pass  # freed below, when nothing holds the frames any more
    bench.model.zero_grad(set_to_none=True)
    gc.collect()
    torch.cuda.empty_cache()
    return None


def largest_batch(
    peak: Callable[[int], int | None], capacity: float, start: int, tries: int = 8
) -> int:
    """Look for the largest batch that fits, to a sixteenth.

    Memory grows evenly with the batch: two that fit say where the limit lies; then the
    gap between one that fits and one that doesn't is halved.

    Args:
        peak: Clips -> bytes, None where they don't fit.
        capacity: Bytes.
        start: Where to begin.
        tries: The most steps to take.

    Returns:
        Clips, 0 where none fit.
    """
    fit, too_large = [(0, 0)], []
    clips: int | None = start
    while clips and tries:
        used, tries = peak(clips), tries - 1
        if used is None:
            too_large.append(clips)
        else:
            fit.append((clips, used))
        clips = _next_batch(fit, too_large, capacity)
    return fit[-1][0]


def _next_batch(
    fit: list[tuple[int, int]], too_large: list[int], capacity: float
) -> int | None:
    """The batch to try next; None where the limit is known well enough."""
    low, used = fit[-1]
    step = max(1, low // 16)
    if too_large:
        high = too_large[-1]
        if high - low <= step:
            return None
        if len(fit) > 2 and len(too_large) == 1:
            return max(high * 15 // 16, low + 1)  # worked out, so close to the limit
        return (low + high) // 2
    if len(fit) < 3:
        return 2 * low
    per_clip = max(used - fit[-2][1], 1) / (low - fit[-2][0])
    more = (capacity - used) / per_clip
    return None if more < step else low + min(int(more), 3 * low)


# ---------------------------------------------------------------- compiled
def compiled_steps(bench: Bench) -> Iterator[Row]:
    """The compiled model beside the baseline: largest batch first, then the usual."""
    usual, precisions = bench.options.batch, bench.options.precisions
    jobs = [(precision, usual) for precision in reversed(precisions)]
    if bench.cuda:
        large = bench.options.large or _common(bench, precisions[-1])
        jobs.insert(0, (precisions[-1], large))
    for precision, clips in jobs:
        torch._dynamo.reset()
        ways = ['baseline', 'ours, compiled']
        try:
            yield from compare(bench, 'compiled', ways, precision, clips)
        except RuntimeError as error:  # a compiler's, or memory's: the next may do
            yield failure('compiled', 'failed', error, precision, clips)
        bench.release()


def _common(bench: Bench, precision: str) -> int:
    """The largest batch of all ways, a multiple of 8."""
    if precision not in bench.largest:
        bench.largest[precision] = {'baseline': search(bench, 'baseline', precision)}
    clips = min(bench.largest[precision].values())
    if not clips:
        raise ConfigError(
            f'a batch of {bench.options.batch} clips or less fits nowhere'
        )
    return clips - clips % 8 if clips > 8 else clips


def compile_now(bench: Bench, stepper: Stepper, data: Sequence[dict]) -> str:
    """Take a compiled step on each batch; what that took, in words."""
    counters: Any = torch._dynamo.utils.counters
    counters.clear()
    began = time.perf_counter()
    for batch in data:
        stepper.step(batch)
    bench.synchronize()
    seconds = time.perf_counter() - began
    graphs = counters['stats']['unique_graphs']
    breaks = sum(counters['graph_break'].values())
    return f'compiled in {seconds:.0f} s: {graphs} graphs, {breaks} breaks'
