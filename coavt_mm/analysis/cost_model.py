"""What pre-training costs on many GPUs, computed from pieces that were measured.

Each number is of one kind, and says so: *measured* (docs/benchmarks.md has hardware and
command), *counted* in the model, *stated* by a maker, *assumed*, or *computed* from
these. Of what was measured on one GPU, nothing is known on several.
"""

import math
from dataclasses import dataclass

DATASETS = {'VGGSound': 183e3, 'AudioSet-2M': 2e6, '100 M clips': 100e6}
GPUS = (1, 8, 64, 1024)
FEWEST_STEPS = 100  # an epoch; with fewer, other batches and rates are needed


@dataclass(frozen=True)
class Pieces:
    """The paper's model in bf16, compiled, on H200s; times in s, sizes in bytes.

    Attributes:
        batch: Clips of a GPU.
        step: Measured: time of a step of that batch on one GPU.
        flops: Computed: of a clip, forward and backward: step x rate x share of it.
        parameters: Counted.
        tokens: Counted: of sound and picture that matching reads of a clip.
        width: Counted: of a token.
        features: Counted: numbers of a clip and its caption that the contrastive losses
            gather: three streams of 32 queries and a caption, 256 wide.
        memory_empty, memory_clip: Computed: GiB of the line through 32 and 144 clips,
            eager.
        cores: Of a GPU, which decode: those of the machine that was measured.
        raw_small, raw_large, shard: Measured: clips/s that one core of another machine
            reads, of 640x360, 1280x720 and from shards.
        raw_loader: Measured: clips/s of 640x360 by a worker on the GPU's machine.
        clip_bytes: Assumed: of a clip in a shard, 100 MB for 256 as docs/shards.md has
            it. Measured: rendered noise has 1.9e6, the demo's clips 0.09e6.
        inside, outside: Stated by the maker: byte/s that a GPU sends to others of its
            machine (NVLink), of other machines (400 Gbit/s).
        per_machine: GPUs that NVLink joins.
        month_price, read_price: An example, no offer: dollars for 1e9 bytes a month,
            and for 1000 reads.
    """

    batch: int = 144
    step: float = 0.319
    flops: float = 0.319 * 701e12 * 0.43 / 144
    parameters: float = 453.5e6
    tokens: int = 708
    width: int = 768
    features: int = (3 * 32 + 1) * 256
    memory_empty: float = 6.3
    memory_clip: float = 0.437
    cores: int = 16
    raw_small: float = 15.9
    raw_large: float = 6.2
    shard: float = 84.4
    raw_loader: float = 74 / 8
    clip_bytes: float = 0.4e6
    inside: float = 450e9
    outside: float = 50e9
    per_machine: int = 8
    month_price: float = 0.023
    read_price: float = 0.0004


def step_bytes(pieces: Pieces, gpus: int) -> dict[str, float]:
    """Bytes that a GPU sends in a step, by what they are.

    Args:
        pieces: What is known.
        gpus: Of the run, all of which hold the whole model (DDP).
    """
    others = gpus - 1
    return {
        # a ring: each sums a part, and hands it on
        'gradients': 2 * others / gpus * 4 * pieces.parameters,
        # of one drawn clip for each clip, and their gradient back
        'tokens': 2 * others / gpus * pieces.batch * 4 * pieces.tokens * pieces.width,
        # to all others, and their gradient back
        'features': 2 * others * pieces.batch * 4 * pieces.features,
    }


@dataclass(frozen=True)
class Cost:
    """Of an epoch; times in s.

    Attributes:
        steps: Of an epoch.
        compute: Of the GPU in a step.
        network: Of the step's bytes, were nothing else done meanwhile.
        decoding: Of the cores for a step.
    """

    steps: float
    compute: float
    network: float
    decoding: float

    @property
    def bound(self) -> str:
        """What a step waits for, or 'batch' where an epoch has too few steps."""
        if self.steps < FEWEST_STEPS:
            return 'batch'
        parts = ('compute', 'network', 'decoding')
        return max(parts, key=lambda part: getattr(self, part))

    @property
    def least(self) -> float:
        """Seconds of an epoch, if all is done at once."""
        return self.steps * max(self.compute, self.network, self.decoding)

    @property
    def most(self) -> float:
        """Seconds of an epoch, if the network waits for the GPU and the other way."""
        return self.steps * max(self.compute + self.network, self.decoding)


def epoch_cost(pieces: Pieces, clips: float, gpus: int, rate: float) -> Cost:
    """What an epoch costs.

    Args:
        pieces: What is known.
        clips: Of the data set.
        gpus: Of the run.
        rate: Clips/s that one core reads.
    """
    speed = pieces.inside if gpus <= pieces.per_machine else pieces.outside
    return Cost(
        steps=clips / (pieces.batch * gpus),
        compute=pieces.step,
        network=sum(step_bytes(pieces, gpus).values()) / speed,
        decoding=pieces.batch / (pieces.cores * rate),
    )


def storage(pieces: Pieces, clips: float) -> tuple[float, float, float]:
    """Bytes of a data set's shards, dollars a month and dollars of an epoch's reads."""
    size = clips * pieces.clip_bytes
    return size, size / 1e9 * pieces.month_price, clips / 1000 * pieces.read_price


def duration(seconds: float) -> str:
    """'40 s', '12 min', '3.4 h' or '120 d'."""
    for unit, length in (('d', 86400 * 2), ('h', 7200), ('min', 120)):
        if seconds >= length:
            value = seconds / dict(d=86400, h=3600, min=60)[unit]
            return f'{value:.2g} {unit}' if value < 10 else f'{value:.0f} {unit}'
    return f'{seconds:.0f} s'


def tables(pieces: Pieces) -> str:
    """The tables of docs/scaling.md, in Markdown."""
    parts = _times(pieces), _step(pieces), _cores(pieces), _storage(pieces)
    return '\n\n'.join('\n'.join(part) for part in parts)


def _row(*cells: object) -> str:
    return f'| {" | ".join(map(str, cells))} |'


def _times(pieces: Pieces) -> list[str]:
    lines = [
        _row('an epoch, computed', 'GPUs', 'steps', 'from shards', 'bound',
             'from files of 640x360', 'bound'),
        '|---|---|---|---|---|---|---|',
    ]  # fmt: skip
    for name, clips in DATASETS.items():
        for gpus in GPUS:
            cells = []
            for rate in (pieces.shard, pieces.raw_loader):
                cost = epoch_cost(pieces, clips, gpus, rate)
                least, most = duration(cost.least), duration(cost.most)
                span = least if least == most else f'{least} to {most}'
                cells += [span, cost.bound]
            lines.append(_row(name, f'{gpus:,}', f'{cost.steps:,.0f}', *cells))
    return lines


def _step(pieces: Pieces) -> list[str]:
    memory = pieces.memory_empty + pieces.memory_clip * pieces.batch
    flops, counts = pieces.batch * pieces.flops, [g for g in GPUS if g > 1]
    lines = [
        _row(f'a step of {pieces.batch} clips a GPU', *(f'{g:,} GPUs' for g in counts)),
        '|---' * (1 + len(counts)) + '|',
        _row('FLOPs of a GPU, computed', *[f'{flops / 1e12:.0f} T'] * len(counts)),
        _row('memory, eager, computed', *[f'{memory:.0f} GiB'] * len(counts)),
        _row('GPU at work, measured on one', *[f'{pieces.step:.3f} s'] * len(counts)),
    ]
    sent = [step_bytes(pieces, gpus) for gpus in counts]
    for name in sent[0]:
        cells = (f'{parts[name] / 1e9:.2f} GB' for parts in sent)
        lines.append(_row(f'{name} sent, computed', *cells))
    read = pieces.batch * pieces.clip_bytes / 1e6
    lines.append(_row('read from shards, assumed', *[f'{read:.0f} MB'] * len(counts)))
    network = (epoch_cost(pieces, 1, gpus, 1).network for gpus in counts)
    times = (f'{seconds:.3f} s' for seconds in network)
    return [*lines, _row('network at the stated speed, computed', *times)]


def _cores(pieces: Pieces) -> list[str]:
    speed = pieces.batch / pieces.step
    rates = {
        '640x360, a core': pieces.raw_small,
        '1280x720, a core': pieces.raw_large,
        '640x360, a worker beside the GPU': pieces.raw_loader,
        'shards (flac), a core': pieces.shard,
    }
    return [
        _row('reads', 'clips/s, measured', f'needed for {speed:.0f} clips/s, computed'),
        '|---|---|---|',
        *(_row(name, f'{r:.1f}', math.ceil(speed / r)) for name, r in rates.items()),
    ]


def _storage(pieces: Pieces) -> list[str]:
    lines = [
        _row('shards, computed', 'size', 'a month', 'reads of an epoch'),
        '|---|---|---|---|',
    ]
    for name, clips in DATASETS.items():
        size, month, reads = storage(pieces, clips)
        lines.append(_row(name, f'{size / 1e12:,.2f} TB', f'${month:,.2f}',
                          f'${reads:,.2f}'))  # fmt: skip
    return lines
