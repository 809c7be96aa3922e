"""Pieces that several models share: blocks, position table, cross-rank helpers.

Letters used in shapes: B batch, Q queries, T text tokens, N tokens of any stream,
D width, E projected width, W world size (number of processes).
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as torch_dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from mmengine.dist import get_world_size
from torch import Tensor, nn

from coavt_mm.config_options import constructor_arguments
from coavt_mm.errors import ConfigError
from coavt_mm.registry import MODELS

#: The floor keeps a run-away temperature from turning into inf.
MIN_TEMPERATURE = 1e-3


def build_part(
    part: dict | nn.Module | None, name: str = '', **sizes: int | None
) -> Any:
    """Build a part of a model, which takes the sizes that its config leaves out.

    Args:
        part: The part, given built, as a config, or not at all.
        name: Where the part is in the model, for the message.
        sizes: What the parts around it ask for, by the names of its own arguments,
            which are its attributes, too; None asks for nothing.

    Returns:
        The part.

    Raises:
        ConfigError: If the part has another size.
    """
    sizes = {key: size for key, size in sizes.items() if size is not None}
    stated: dict[str, int] = {}
    if isinstance(part, dict):
        takes = constructor_arguments(_class_of(part)) & set(sizes)
        stated = {k: part[k] for k in takes if part.get(k) is not None}
        part = MODELS.build({**part, **{k: sizes[k] for k in takes - set(stated)}})
    for key, size in sizes.items():
        given = getattr(part, key, stated.get(key, size))
        if given != size:
            raise ConfigError(
                f'{name}.{key} is {given}, but must be {size}, as the parts around it '
                'have it; left out, it fits by itself'
            )
    return part


def stated_size(part: dict | nn.Module | None, name: str) -> int | None:
    """Look up a size of a part, built or not; None where nothing says it."""
    if not isinstance(part, dict):
        return getattr(part, name, None)
    if part.get(name) is not None or not inspect.isclass(_class_of(part)):
        return part.get(name)
    argument = inspect.signature(_class_of(part)).parameters.get(name)
    return argument.default if argument and isinstance(argument.default, int) else None


def _class_of(part: dict) -> Any:
    kind = part.get('type')
    return MODELS.get(kind) if isinstance(kind, str) else kind


def shapes_only() -> bool:
    """Whether a model without memory is being built, on the device 'meta'.

    There arithmetic imports torch's compiler, which takes a third as long as torch.
    """
    return torch.get_default_device().type == 'meta'


def sincos_table(embed_dims: int, rows: int, cols: int) -> Tensor:
    """Fixed 2-D sin-cos positions of a grid, square or not (MAE, CAV-MAE).

    The first half of the channels encodes the column, the second the row; each
    half holds all sines, then all cosines.

    Args:
        embed_dims: Width D, a multiple of 4.
        rows: Height of the grid, in patches.
        cols: Width of the grid, in patches.

    Returns:
        (rows * cols, D), row-major.
    """
    if embed_dims % 4:
        raise ConfigError(f'embed_dims must be a multiple of 4, not {embed_dims}')
    if shapes_only():
        return torch.empty(rows * cols, embed_dims)
    quarter = embed_dims // 4
    omega = 1 / 10000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)

    def encode(positions: Tensor) -> Tensor:
        angles = positions.double()[:, None] * omega
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing='ij')
    return torch.cat([encode(col.flatten()), encode(row.flatten())], 1).float()


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection (ViT).

    Args:
        embed_dims: Width D.
        num_heads: Number of heads.
    """

    def __init__(self, embed_dims: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, D / heads)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Pre-norm transformer block whose LayerNorms exist once for each stream.

    Attention and MLP are shared by the streams that run through the block, the
    norms are not (CAV-MAE's joint layer).

    Args:
        embed_dims: Width D.
        num_heads: Number of heads.
        mlp_ratio: Width of the MLP over D.
        streams: Streams that may run through this block.
        drop_path: Probability that a sample leaves out a branch in training. Defaults
            to 0.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        mlp_ratio: float,
        streams: Sequence[str],
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.drop_path = drop_path
        hidden_dims = int(embed_dims * mlp_ratio)
        self.norm1 = stream_norms(embed_dims, streams)
        self.attn = SelfAttention(embed_dims, num_heads)
        self.norm2 = stream_norms(embed_dims, streams)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dims, hidden_dims),
            nn.GELU(),
            nn.Linear(hidden_dims, embed_dims),
        )

    def forward(self, x: Tensor, stream: str) -> Tensor:
        """(B, N, D) -> (B, N, D), normalised as ``stream`` asks."""
        x = x + self._branch(self.attn(self.norm1[stream](x)))
        return x + self._branch(self.mlp(self.norm2[stream](x)))

    def _branch(self, x: Tensor) -> Tensor:
        """Stochastic depth: zero for some samples, the others scaled up for them."""
        if not self.training or self.drop_path == 0:
            return x
        one = x.new_ones(x.shape[0], 1, 1)
        return x * F.dropout(one, self.drop_path)


def stream_norms(embed_dims: int, streams: Sequence[str]) -> nn.ModuleDict:
    """One LayerNorm a stream, under the stream's name."""
    return nn.ModuleDict({s: nn.LayerNorm(embed_dims, eps=1e-5) for s in streams})


def gather_with_grad(x: Tensor) -> Tensor:
    """Concatenate a tensor of all ranks, keeping the gradient exact.

    Args:
        x: (B, ...), of one shape on every rank.

    Returns:
        (W * B, ...) in rank order; ``x`` itself in a single process.
    """
    if get_world_size() == 1:
        return x
    if not x.requires_grad:
        parts = [torch.empty_like(x) for _ in range(get_world_size())]
        torch_dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)
    from torch.distributed.nn.functional import all_gather

    # mmaction2's GatherLayer keeps only the local gradient; this one sums them all
    gathered = torch.cat(all_gather(x.contiguous()))
    # its backward gives wrong numbers, silently, for a gradient that is not contiguous
    gathered.register_hook(lambda grad: grad.contiguous())
    return gathered


def gather_padded(x: Tensor, value: int = 0) -> Tensor:
    """Gather integer tensors (B, T) whose T differs between ranks.

    Args:
        x: (B, T).
        value: What the shorter ones are padded with.

    Returns:
        (W * B, largest T).
    """
    if get_world_size() == 1:
        return x
    longest = torch.tensor(x.shape[1], device=x.device)
    torch_dist.all_reduce(longest, torch_dist.ReduceOp.MAX)
    return gather_with_grad(F.pad(x, (0, int(longest) - x.shape[1]), value=value))


def global_mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of the counted values over all ranks, right under DDP's averaging.

    Ranks may count different numbers of values (missing modalities, padding); a
    mean per rank, averaged by DDP, would weigh them wrongly.

    Args:
        values: Values of this rank, any shape.
        weight: Same shape, bool or float: how much each value counts. All the same
            when not given.

    Returns:
        Scalar whose average over ranks is the weighted mean of all values. Zero, with a
        gradient path, where nothing counts.
    """
    weight = torch.ones_like(values) if weight is None else weight.to(values.dtype)
    count = weight.sum()
    if get_world_size() > 1:
        torch_dist.all_reduce(count)
        count = count / get_world_size()
    # where() and not a product: an uncounted inf or NaN must not leak into the sum
    total = torch.where(weight > 0, values * weight, torch.zeros_like(values)).sum()
    return total / count.clamp_min(1e-6)


def draw_negatives(
    similarity: Float[Tensor, 'B G'] | None, allowed: Bool[Tensor, 'B G']
) -> tuple[Int[Tensor, ' B'], Bool[Tensor, ' B']]:
    """Draw one hard negative a row, with softmax(similarity) as probabilities.

    Args:
        similarity: (B, W * B) logits; None draws evenly.
        allowed: (B, W * B) bool; columns that may be drawn.

    Returns:
        Index of the drawn column (B,), and whether the row had a column to draw from
        (B,) bool (its index is 0 otherwise).
    """
    found = allowed.any(1)
    logits = torch.zeros_like(allowed, dtype=torch.float32)
    if similarity is not None:
        logits = similarity.detach().float()
    # rows without a candidate get an arbitrary one, which `found` masks out
    logits = logits.masked_fill(~(allowed | ~found[:, None]), float('-inf'))
    # the draw of torch.multinomial, which waits for the device to check its input
    chance = logits.softmax(1)
    index = (chance / torch.empty_like(chance).exponential_()).argmax(1)
    return index.masked_fill(~found, 0), found
