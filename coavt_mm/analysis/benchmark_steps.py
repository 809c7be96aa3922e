"""Training steps of the benchmark: batches, and the ways to take a step."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS, init_default_scope
from torch import Tensor, nn

from coavt_mm.analysis.baseline import decay_groups, plain_losses
from coavt_mm.analysis.benchmark_meters import Timing, peak_memory, reset_peak
from coavt_mm.analysis.model_cost import packed_batch
from coavt_mm.batches import stack_inputs
from coavt_mm.config import load_config
from coavt_mm.errors import ConfigError
from coavt_mm.models import CoAVT
from coavt_mm.registry import MODELS

PRECISIONS = {
    'float32': None,
    'tf32': None,
    'bf16': torch.bfloat16,
    'fp16': torch.float16,
}
#: What ``OptimWrapper`` each precision trains with.
WRAPPERS = dict(bf16='BF16OptimWrapper', fp16='AmpOptimWrapper')
WAYS = ('baseline', 'ours', 'ours, compiled')
#: Tokens of the captions, drawn evenly: sentences of 4 to 18 words. The longest is in
#: every batch, so that all batches have one shape.
CAPTION_TOKENS = (6, 20)
ROTATING = 4  # batches that are taken in turn


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        config: Path of a config with a CoAVT model.
        device: 'cpu' or 'cuda'.
        batch: Clips of a step.
        precisions: Of :data:`PRECISIONS`.
        compile: Whether the compiled model is measured as well.
        steps: Rounds of which medians and quartiles are taken.
        large: Clips of the large batch; None looks for the largest that fits.
        workers: Of the loader.
        cfg_options: Settings that replace those of the config; what they leave out of
            the model, such as masked tokens, the baseline computes all the same.
    """

    config: str
    device: str = 'cpu'
    batch: int = 4
    precisions: tuple[str, ...] = ('float32',)
    compile: bool = False
    steps: int = 5
    large: int | None = None
    workers: int = 2
    cfg_options: dict[str, Any] = field(default_factory=dict)


class Bench:
    """The model of a config, and what it takes to measure it.

    Args:
        options: What is measured.

    Raises:
        ConfigError: The device is not there or the config holds no CoAVT.
    """

    def __init__(self, options: Options):
        self.options, self.device = options, torch.device(options.device)
        self.cuda = self.device.type == 'cuda'
        if self.cuda and not torch.cuda.is_available():
            raise ConfigError(f'--device {options.device}: torch finds no GPU here')
        if 'tf32' in options.precisions and not self.cuda:
            raise ConfigError('--precision tf32 is for GPUs')
        self.began = time.perf_counter()
        self.deadline: float | None = None
        self.cfg = load_config(options.config, options.cfg_options)
        init_default_scope('coavt_mm')
        MMLogger.get_current_instance().setLevel('WARNING')
        torch.manual_seed(0)
        self.model = MODELS.build(self.cfg.model).to(self.device).train()
        if not isinstance(self.model, CoAVT):
            raise ConfigError(f'{options.config} holds no CoAVT')
        self.text_length = longest_text(self.cfg)
        #: precision -> FLOP/s of a large matrix product
        self.rates: dict[str, float] = {}
        #: way -> FLOPs of a step per clip
        self.flops: dict[str, float] = {}
        #: precision -> way -> largest batch
        self.largest: dict[str, dict[str, int]] = {}
        self.optimizers = Optimizers(self.model, self.cfg)
        self._batches: list[dict] = []  # of the usual number of clips

    def seconds_left(self) -> float | None:
        """Until the deadline; None without one."""
        if self.deadline is None:
            return None
        return self.deadline - time.perf_counter()

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def batches(self, clips: int, number: int = ROTATING) -> list[dict]:
        """Different batches of one shape, as the data loader gives them."""
        kept = self._batches if clips == self.options.batch else []
        while len(kept) < number:
            batch = make_batch(self.model, clips, len(kept))
            kept.append(pinned(batch) if self.cuda else batch)
        return kept[:number]

    def stepper(self, way: str, precision: str) -> 'Stepper':
        """A way to take steps."""
        return Stepper(self, way, precision)

    def release(self) -> None:
        """Let go of gradients and moments, and go back to training mode."""
        self.optimizers.clear()
        self.model.zero_grad(set_to_none=True)
        self.model.train()


def longest_text(cfg: Config, default: int = 32) -> int:
    """Tokens that the recipe allows a caption; LAVIS' own number where it says none."""
    loader: Any = cfg.get('train_dataloader') or {}
    for step in loader.get('dataset', {}).get('pipeline', ()):
        if step.get('type') == 'TokenizeText':
            return step.get('max_tokens', default)
    return default


def make_batch(model: CoAVT, clips: int, seed: int) -> dict:
    """Noise with captions of different lengths; one clip of 16 is silent.

    Which clips are silent differs between batches, how many does not.
    """
    draw = random.Random(seed)
    lengths = [draw.randint(*CAPTION_TOKENS) for _ in range(clips)]
    lengths[draw.randrange(clips)] = CAPTION_TOKENS[1]
    most = model.query_encoder.position_embeddings.num_embeddings
    silent = draw.sample(range(clips), clips // 16)
    packed = packed_batch(
        model, clips, num_tokens=[min(n, most) for n in lengths], silent=silent
    )
    samples = packed['data_samples']
    return dict(inputs=stack_inputs(packed['inputs'], samples), data_samples=samples)


def pinned(value: Any) -> Any:
    """A batch whose tensors lie in pinned memory, where a loader puts them."""
    if isinstance(value, Tensor):
        return value.pin_memory()
    if isinstance(value, Mapping):
        return {key: pinned(part) for key, part in value.items()}
    if isinstance(value, list):
        return [pinned(part) for part in value]
    return value


@contextmanager
def matrix_precision(name: str) -> Iterator[None]:
    """Let float32 products on a GPU run in TF32, or not."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision('high' if name == 'tf32' else 'highest')
    torch.backends.cudnn.allow_tf32 = name == 'tf32'
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def autocast(name: str, device: torch.device) -> Any:
    """The context in which a precision runs the model's forward."""
    dtype = PRECISIONS[name]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def compiled(model: CoAVT) -> Callable[..., dict[str, Tensor]]:
    """The model's forward with compiled losses, of which the model knows nothing."""
    graph = torch.compile(model.compute_losses)

    def forward(**inputs: Any) -> dict[str, Tensor]:
        model.compute_losses = graph  # type: ignore[method-assign]
        try:
            return model(**inputs)
        finally:
            del model.compute_losses

    return forward


class Optimizers:
    """The recipe's optimiser and the baseline's, which share their moments.

    So the two ways fit side by side into the memory that one of them takes.

    Args:
        model: Whose parameters are trained.
        cfg: The recipe.
    """

    def __init__(self, model: CoAVT, cfg: Config):
        self.options = dict(cfg.get('optim_wrapper') or {}, accumulative_counts=1)
        for key in ('dtype', 'loss_scale'):
            self.options.pop(key, None)
        self.options.setdefault('optimizer', dict(type='AdamW', lr=1e-4))
        # noise teaches nothing, and must not blow up either
        self.options['optimizer'] = dict(self.options['optimizer'], lr=1e-6)
        built = build_optim_wrapper(model, dict(self.options, type='OptimWrapper'))
        self.ours: torch.optim.Optimizer = built.optimizer
        optimizer = self.options['optimizer']
        known = {k: optimizer[k] for k in ('betas', 'eps') if k in optimizer}
        groups = decay_groups(model, optimizer.get('weight_decay', 0.01))
        self.plain = torch.optim.AdamW(groups, lr=1e-6, **known)
        clip: Any = self.options.get('clip_grad') or {}
        self.max_norm = clip.get('max_norm')

    def wrapper(self, precision: str) -> OptimWrapper:
        """The recipe's optimiser in the wrapper of a precision."""
        made = ('constructor', 'paramwise_cfg', 'optimizer', 'type')
        options = {k: v for k, v in self.options.items() if k not in made}
        if precision == 'fp16':
            options.update(dtype='float16', loss_scale='dynamic')
        kind = WRAPPERS.get(precision, 'OptimWrapper')
        return OPTIM_WRAPPERS.build(dict(options, type=kind, optimizer=self.ours))

    def share(self) -> None:
        """Let the baseline's optimiser work on moments that the recipe's has."""
        for parameter, state in self.ours.state.items():
            if 'exp_avg' in state and parameter not in self.plain.state:
                self.plain.state[parameter] = dict(
                    step=torch.tensor(1.0),
                    exp_avg=state['exp_avg'],
                    exp_avg_sq=state['exp_avg_sq'],
                )

    def clear(self) -> None:
        """Forget all moments."""
        self.ours.state.clear()
        self.plain.state.clear()


class Stepper:
    """Takes training steps in one way and precision.

    Args:
        bench: Model and device.
        way: Of :data:`WAYS`.
        precision: Of :data:`PRECISIONS`.
    """

    def __init__(self, bench: Bench, way: str, precision: str):
        self.bench, self.way, self.precision = bench, way, precision
        self.model, self.optimizers = bench.model, bench.optimizers
        self.wrapper = self.optimizers.wrapper(precision)
        self.scaler = torch.amp.GradScaler(enabled=precision == 'fp16')
        self.forward: Callable[..., dict[str, Tensor]] = self.model
        if way == 'ours, compiled':
            self.forward = compiled(self.model)

    def step(self, data: dict) -> dict[str, Tensor]:
        """Take a step on a batch; its losses."""
        with matrix_precision(self.precision):
            return self._plain(data) if self.way == 'baseline' else self._ours(data)

    def _ours(self, data: dict) -> dict[str, Tensor]:
        with self.wrapper.optim_context(self.model):
            inputs = self.model.data_preprocessor(data, True)
            losses = self.forward(**inputs, mode='loss')
        self.wrapper.update_params(self.model.parse_losses(losses)[0])
        return losses

    def _plain(self, data: dict) -> dict[str, Tensor]:
        self.optimizers.share()
        with autocast(self.precision, self.bench.device):
            inputs = self.model.data_preprocessor(data, True)['inputs']
            losses = plain_losses(self.model, inputs, self.bench.text_length)
        self.update(sum(losses.values()))
        return losses

    def update(self, loss: Any) -> None:
        """Compute the baseline's gradients and update the weights."""
        scaler, plain = self.scaler, self.optimizers.plain
        self.backward(scaler.scale(loss))
        if self.optimizers.max_norm:  # the recipe's, which LAVIS has not
            scaler.unscale_(plain)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.optimizers.max_norm)
        scaler.step(plain)
        scaler.update()
        plain.zero_grad()

    @staticmethod
    def backward(loss: Tensor) -> None:
        """Compute the gradients of the baseline."""
        loss.backward()


def paired(
    bench: Bench, steppers: Sequence[Stepper], data: Sequence[dict], rounds: int
) -> list[Timing]:
    """Time the ways in turn, on the same batches, after a step of each to warm up.

    On a GPU a round is two steps, at whose end the device is waited for: a step may
    begin before the one before has ended.

    Args:
        bench: The device.
        steppers: The ways.
        data: Batches, taken in turn.
        rounds: Of which medians are taken.

    Returns:
        One timing a way.
    """
    inner = 2 if bench.cuda else 1
    timings = [Timing() for _ in steppers]
    for stepper in sorted(steppers, key=lambda s: s.way == 'baseline'):
        stepper.step(data[0])  # ours first, which makes the moments
    for index in range(rounds):
        turn = [data[(inner * index + i) % len(data)] for i in range(inner)]
        for stepper, timing in zip(steppers, timings, strict=True):
            bench.synchronize()
            reset_peak(bench.device)
            began = time.perf_counter()
            for batch in turn:
                stepper.step(batch)
            bench.synchronize()
            timing.seconds.append((time.perf_counter() - began) / inner)
            timing.peak = max(timing.peak, peak_memory(bench.device))
    return timings
