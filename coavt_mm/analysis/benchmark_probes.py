"""Sections of the benchmark beside the steps: what a device does, and at what rate."""

import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coavt_mm.analysis.baseline import decay_groups
from coavt_mm.analysis.benchmark_meters import quartiles
from coavt_mm.analysis.benchmark_rows import Row
from coavt_mm.analysis.benchmark_steps import (
    PRECISIONS,
    Bench,
    autocast,
    matrix_precision,
)

#: In a process of its own: what it may do to a device must not end the run.
EMPTY = """
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
q = torch.zeros(0, 12, 32, 64, device='{device}', dtype=torch.bfloat16)
q.requires_grad_()
for name in ('FLASH_ATTENTION', 'CUDNN_ATTENTION', 'EFFICIENT_ATTENTION', ''):
    kernels = [getattr(SDPBackend, name)] if name else list(
        SDPBackend.__members__.values())[1:]
    try:
        with sdpa_kernel(kernels):
            out = torch.nn.functional.scaled_dot_product_attention(q, q, q)
            if out is None:
                raise RuntimeError('gives nothing at all')
            out.sum().backward()
        if q.is_cuda:
            torch.cuda.synchronize()
        said = 'fine'
    except RuntimeError as error:
        said = ' '.join(str(error).split())[:120] or 'an error without words'
    print((name or 'any').lower() + '\t' + said, flush=True)
"""


def empty_attention(bench: Bench) -> Iterator[Row]:
    """Whether attention in bf16 takes a batch of no rows, kernel by kernel."""
    run = subprocess.run(
        [sys.executable, '-c', EMPTY.format(device=bench.options.device)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    for line in run.stdout.splitlines():
        name, _, said = line.partition('\t')
        yield Row('attention', f'0 rows, {name}', 'bf16', 0, note=said)
    if run.returncode:
        last = run.stderr.strip().splitlines()[-1:]
        yield Row('attention', '0 rows', 'bf16', 0, failed=True,
                  note=f'status {run.returncode}: {"".join(last):.200}')  # fmt: skip


def waits(bench: Bench) -> Iterator[Row]:
    """How often a step of ours waits for the device, and where."""
    clips, precision = bench.options.batch, bench.options.precisions[-1]
    if not bench.cuda:
        yield Row('waits', 'waits for the device', note='needs a GPU')
        return
    stepper = bench.stepper('ours', precision)
    data = bench.batches(clips, 2)
    stepper.step(data[0])
    bench.synchronize()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            stepper.step(data[1])
        finally:
            torch.cuda.set_sync_debug_mode('default')
    where = Counter(
        f'{"/".join(w.filename.split("/")[-2:])}:{w.lineno}'
        for w in seen
        if 'called a synchronizing' in str(w.message)
    )
    said = ', '.join(f'{place} ({n})' for place, n in where.most_common(12))
    yield Row('waits', f'{where.total()} waits in a step', precision, clips, note=said)


def optimisers(bench: Bench) -> Iterator[Row]:
    """An optimiser's step alone, for each way to run AdamW, and the recipe's."""
    parameters = [p for p in bench.model.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-6)
    single = [dict(params=[p]) for p in parameters]

    def grouped(**options: Any) -> torch.optim.Optimizer:
        # new groups each time: an optimiser writes its options into them
        return torch.optim.AdamW(decay_groups(bench.model, 0.05), lr=1e-6, **options)

    ways: dict[str, Callable[[], torch.optim.Optimizer]] = {
        'for loop': lambda: grouped(foreach=False),
        'default': grouped,
        'foreach': lambda: grouped(foreach=True),
        'fused': lambda: grouped(fused=True),
        'a group per tensor': lambda: torch.optim.AdamW(single, lr=1e-6),
        'the recipe': lambda: bench.optimizers.ours,
    }
    for name, make in ways.items():
        optimizer = make()
        seconds = _times(bench, optimizer.step)
        optimizer.state.clear()
        number = f'{len(optimizer.param_groups)} groups, {len(parameters)} tensors'
        yield _timed('optimiser', f'AdamW, {name}', seconds, note=number)


def _timed(section: str, what: str, seconds: list[float], **others: Any) -> Row:
    row = Row(section, what, ms=1000 * median(seconds), **others)
    low, high = quartiles(seconds)
    row.quartiles = 1000 * low, 1000 * high
    return row


def _times(bench: Bench, call: Callable[[], Any], enough: float = 0.5) -> list[float]:
    """Times of a call in s, after one to warm up: up to 20, for about ``enough`` s."""
    call()
    bench.synchronize()
    seconds: list[float] = []
    while not seconds or (sum(seconds) < enough and len(seconds) < 20):
        began = time.perf_counter()
        call()
        bench.synchronize()
        seconds.append(time.perf_counter() - began)
    return seconds


# ------------------------------------------------------------------- rates
def matrix_rate(bench: Bench, precision: str) -> float:
    """FLOP/s of a large product of random matrices, measured once."""
    if precision not in bench.rates:
        size = _size(bench, precision)
        dtype = PRECISIONS[precision] or torch.float32
        a, b = (
            torch.randn(size, size, device=bench.device).to(dtype) for _ in range(2)
        )
        # several in a row, so that the launch of one hides behind the one before
        inner = 5 if bench.cuda else 1
        with matrix_precision(precision):
            seconds = _times(bench, lambda: [a @ b for _ in range(inner)])
        bench.rates[precision] = inner * 2 * size**3 / median(seconds)
    return bench.rates[precision]


def _size(bench: Bench, precision: str) -> int:
    """Of the matrices; a CPU may take a second for a small product in bfloat16."""
    if bench.cuda:
        return 8192
    return 512 if PRECISIONS[precision] else 2048


def matrix_rates(bench: Bench) -> Iterator[Row]:
    """The rate of a large matrix product in each precision, and of a copy."""
    for precision in bench.options.precisions:
        rate, size = matrix_rate(bench, precision), _size(bench, precision)
        yield Row('rates', f'product of {size} x {size}', precision,
                  tflops=rate / 1e12, share=1.0)  # fmt: skip
    source = torch.zeros(2**28 if bench.cuda else 2**25, device=bench.device)
    target = torch.empty_like(source)
    seconds = median(_times(bench, lambda: target.copy_(source)))
    moved = 2 * source.nbytes / seconds / 1e9
    yield Row('rates', 'copy', ms=1000 * seconds,
              note=f'{moved:.0f} GB/s read and written')  # fmt: skip


def spectrograms(bench: Bench) -> Iterator[Row]:
    """Log-mel and the whole preprocessor on the device."""
    preprocessor = bench.model.data_preprocessor
    front_end = preprocessor.front_end
    samples = round(10 * front_end.sample_rate)
    for clips in (bench.options.batch, 4 * bench.options.batch):
        waveform = 0.1 * torch.randn(clips, samples, device=bench.device)
        lengths = torch.full((clips,), samples, device=bench.device)
        valid = front_end.num_frames(lengths)

        def compute(waveform: Tensor = waveform, valid: Tensor = valid) -> Tensor:
            return front_end(waveform, valid)

        seconds = _times(bench, compute)
        yield _timed('logmel', 'log-mel', seconds, precision='float32', batch=clips,
                     clips_per_s=clips / median(seconds),
                     note=f'10 s at {front_end.sample_rate} Hz')  # fmt: skip
    clips = bench.options.batch
    data = bench.batches(clips, 1)[0]
    seconds = _times(bench, lambda: preprocessor(data, True))
    yield _timed('logmel', 'preprocessor, from host memory', seconds, batch=clips,
                 precision='float32', clips_per_s=clips / median(seconds))  # fmt: skip


# ---------------------------------------------------------------- numbers
def loss_curves(bench: Bench, number: int = 30) -> Iterator[Row]:
    """Losses of a few steps in each precision, from the same weights, same batches.

    Without dropout, and with the same seed before each step; the learning rate climbs
    to 1e-4.
    """
    number = number if bench.cuda else min(number, bench.options.steps)
    clips = min(bench.options.batch, 8)
    data = bench.batches(clips)
    before = {k: v.clone() for k, v in bench.model.state_dict().items()}
    first: list[float] | None = None
    for precision in bench.options.precisions:
        try:
            curve = _curve(bench, precision, data, number)
        finally:
            bench.model.load_state_dict(before)
            bench.release()
        note = f'{number} steps: {curve[0]:.4f} to {curve[-1]:.4f}'
        if first is not None:
            apart = [abs(a - b) / abs(b) for a, b in zip(curve, first, strict=True)]
            note += (
                f'; apart from {bench.options.precisions[0]}: at first '
                f'{apart[0]:.1e}, at most {max(apart):.1e}, at the end {apart[-1]:.1e}'
            )
        first = first or curve
        yield Row('losses', 'loss without dropout', precision, clips, note=note)


def _curve(bench: Bench, precision: str, data: list[dict], number: int) -> list[float]:
    """The sum of the losses at each step."""
    stepper = bench.stepper('ours', precision)
    groups = bench.optimizers.ours.param_groups
    rates = [group['lr'] for group in groups]
    bench.model.eval()  # without dropout
    totals = []
    try:
        for index in range(number):
            for group in groups:
                group['lr'] = 1e-4 * (index + 1) / number
            torch.manual_seed(index)
            losses = stepper.step(data[index % len(data)])
            totals.append(sum(v.detach() for k, v in losses.items() if 'loss' in k))
    finally:
        for group, rate in zip(groups, rates, strict=True):
            group['lr'] = rate
    return torch.stack(totals).tolist()  # type: ignore[arg-type]


def validation(bench: Bench) -> Iterator[Row]:
    """The forward pass of validation in each precision, and how far its features are
    from float32."""
    clips = 2 * bench.options.batch
    data = bench.batches(clips, 1)[0]
    model = bench.model.eval()
    exact = None
    for precision in bench.options.precisions:

        @torch.no_grad()
        def predict(precision: str = precision) -> Tensor:
            with matrix_precision(precision), autocast(precision, bench.device):
                inputs = model.data_preprocessor(data, False)
                samples = model(**inputs, mode='predict')
            return torch.stack([s.clip_feats['V'] for s in samples])

        feats = predict().float()
        note = ''
        if exact is None:
            exact = feats
        else:
            cosine = F.cosine_similarity(feats, exact, dim=-1)
            note = f'cosine of features with {bench.options.precisions[0]}: '
            note += f'mean {cosine.mean():.6f}, least {cosine.min():.6f}'
        seconds = _times(bench, predict, 1.0)
        yield _timed('validation', 'features', seconds, precision=precision,
                     batch=clips, clips_per_s=clips / median(seconds),
                     note=note)  # fmt: skip
