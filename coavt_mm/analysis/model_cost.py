"""What a model holds and what a clip costs: parameters, multiply-adds, memory."""

import resource
import time
from collections.abc import Collection, Sequence

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from coavt_mm.models import CoAVT, JointAVEncoder


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Parameters of each part, those of a joint encoder by its own parts.

    Fixed position tables are buffers and not counted.

    Args:
        model: Any model.

    Returns:
        Name of the part -> parameters.
    """
    parts = {}
    for name, child in model.named_children():
        inner = {name: child}
        if isinstance(child, JointAVEncoder):
            inner = {f'{name}.{k}': part for k, part in child.named_children()}
        for key, part in inner.items():
            number = sum(p.numel() for p in part.parameters())
            if number:
                parts[key] = number
    own = sum(p.numel() for p in model.parameters(recurse=False))
    return dict(parts, **({'itself': own} if own else {}))


class _Call(nn.Module):
    """One method of a module as a ``forward`` that returns tensors only."""

    def __init__(self, module: nn.Module, name: str):
        super().__init__()
        self.module, self.name = module, name

    def forward(self, *args: Tensor) -> Tensor | Sequence[Tensor]:
        """Call it."""
        out = getattr(self.module, self.name)(*args)
        if isinstance(out, dict):
            return tuple(out.values())
        return out if isinstance(out, Tensor) else out[0]


def _attention_macs(inputs: list, outputs: list) -> int:
    """(B, H, N, d) x (B, H, M, d): scores and weighted sum, 2 B H N M d."""
    query, key = (inputs[i].type().sizes() for i in range(2))
    return 2 * query[0] * query[1] * query[2] * key[2] * query[3]


def count_macs(module: nn.Module, method: str, *args: Tensor) -> int:
    """Multiply-adds of a call.

    Counted are matrix products, convolutions, attention (scores and weighted sum,
    which mmengine's analyser leaves out) and 5 a value for LayerNorm; not counted are
    softmax, GELU, additions and embeddings, less than 1 % of the whole.

    Args:
        module: A module in eval mode.
        method: Name of its method.
        args: Arguments of the call.

    Returns:
        Multiply-adds; one is two floating-point operations.
    """
    analyzer = FlopAnalyzer(_Call(module, method).eval(), args)
    analyzer.set_op_handle('aten::scaled_dot_product_attention', _attention_macs)
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.no_grad():
        return int(analyzer.tracer_warnings('none').total())


def macs_by_step(model: CoAVT, num_tokens: int = 32) -> dict[str, int]:
    """Multiply-adds of one clip with one frame, and of one caption.

    Args:
        model: With an audio-visual encoder.
        num_tokens: Length of the caption in tokens.

    Returns:
        Name of the step -> multiply-adds.
    """
    model = model.eval()
    encoder, queries = model.av_encoder, model.query_encoder
    spectrogram = torch.zeros(1, *encoder.spec_size)
    frame = torch.zeros(1, 3, encoder.img_size, encoder.img_size)
    with torch.no_grad():
        tokens = encoder(spectrogram, frame)
    ids = torch.ones(1, num_tokens, dtype=torch.long)
    steps: dict[str, tuple] = {
        'encoder, AV alone': (encoder, 'encode_av', spectrogram, frame),
        'encoder, A alone': (encoder, 'encode_audio', spectrogram),
        'encoder, V alone': (encoder, 'encode_visual', frame),
        'encoder, all three streams': (encoder, 'forward', spectrogram, frame),
    }
    for stream, x in tokens.items():
        steps[f'queries on {stream} tokens'] = (queries, 'encode_queries', x)
    steps['text encoder'] = (model, 'encode_text', ids, ids)
    steps['matching a pair'] = (model, 'match', tokens['AV'], ids, ids)
    return {name: count_macs(*call) for name, call in steps.items()}


def packed_batch(
    model: CoAVT,
    batch: int,
    seconds: float = 10.0,
    num_tokens: int | Sequence[int] = 32,
    silent: Collection[int] = (),
) -> dict:
    """A batch of noise in the form in which the data loader gives it.

    Args:
        model: Whose sizes are used.
        batch: Clips, each with one frame and one caption.
        seconds: Length of the sound.
        num_tokens: Length of the captions in tokens, one for all or one for each.
        silent: Numbers of the clips that have no sound.

    Returns:
        ``inputs`` and ``data_samples``.
    """
    lengths = [num_tokens] * batch if isinstance(num_tokens, int) else num_tokens
    rate = model.data_preprocessor.front_end.sample_rate
    side, samples = model.av_encoder.img_size, round(rate * seconds)
    vocab = model.query_encoder.word_embeddings.num_embeddings
    return dict(
        inputs=dict(
            frames=[
                torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
                for _ in range(batch)
            ],
            waveform=[
                None if i in silent else 0.1 * torch.randn(samples)
                for i in range(batch)
            ],
            input_ids=[torch.randint(1, vocab, (length,)) for length in lengths],
            caption_lengths=[torch.tensor([length]) for length in lengths],
        ),
        data_samples=[
            BaseDataElement(
                metainfo=dict(
                    sample_id=f'noise {i}',
                    sample_idx=i,
                    texts=[f'noise {i}'],
                    text_streams=['AV'],
                    audio_samples=samples,
                )
            )
            for i in range(batch)
        ],
    )


def training_step(model: CoAVT, batch: int = 2) -> dict[str, float]:
    """One AdamW step with all losses on noise.

    Args:
        model: With its data preprocessor.
        batch: Clips.

    Returns:
        The losses, ``seconds`` and ``peak_gib``, the most memory that this process ever
        held (on a GPU: that torch did).
    """
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-6))
    data, start = packed_batch(model, batch), time.perf_counter()
    values = model.train().train_step(data, wrapper)
    result = {name: float(value.detach()) for name, value in values.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if next(model.parameters()).is_cuda:
        peak = torch.cuda.max_memory_allocated()
    return dict(result, seconds=time.perf_counter() - start, peak_gib=peak / 2**30)
