"""Rows that one rank asks others for: what is sent does not grow with the ranks.

Letters used in shapes: B rows of each rank, R rows that a rank asks for, W world size
(number of processes).
"""

from typing import NamedTuple

import torch
import torch.distributed as torch_dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from mmengine.dist import get_rank, get_world_size
from torch import Tensor


def fetch_rows(x: Float[Tensor, 'B *rest'], index: Int[Tensor, ' R']) -> Tensor:
    """Take rows of all ranks' tensors, with exact gradient; only those are sent.

    Gathering the tensors of all ranks would give the same, but takes W times the
    memory, and sends W - 1 times a rank's tensor. Here a rank gets the R rows that it
    asks for. Who sends what to whom is read on the host, once for forward and backward;
    shapes of results do not depend on it, so that a compiled graph stays whole.

    Args:
        x: (B, ...) of this rank, of one shape on every rank. Under bfloat16 autocast
            rows travel in bfloat16, which the next matrix product takes anyway.
        index: (R,) places in the tensors of all ranks, one behind the other; any may
            come twice. R is at most B and may differ between ranks.

    Returns:
        (R, ...), as ``x``.
    """
    wire, device = x.dtype, x.device.type
    if torch.is_autocast_enabled(device):
        # not float16, in which gradients may become inf or 0
        bf16 = torch.get_autocast_dtype(device) == torch.bfloat16
        wire = torch.bfloat16 if bf16 else wire
    return _fetch(x.to(wire), index)[0].to(x.dtype)


class _Plan(NamedTuple):
    """Which rows this rank sends, rank by rank, and where those it gets belong.

    Attributes:
        sent: (S,) places among the rank's own rows, in the order of who gets them.
        sent_counts: How many each rank gets.
        order: (R,) the asked rows in the order in which they come.
        order_counts: How many come from each rank.
    """

    sent: Tensor
    sent_counts: list[int]
    order: Tensor
    order_counts: list[int]


def _plan(asked: Tensor, rows: int) -> _Plan:
    """Work out the plan from what every rank asks for, (W, B) on the host; -1 is none.

    Args:
        asked: Places in the tensors of all ranks.
        rows: R of this rank.
    """
    rank, owners = get_rank(), asked.div(asked.shape[1], rounding_mode='floor')
    mine, own = owners == rank, owners[rank, :rows]
    return _Plan(
        asked[mine] - rank * asked.shape[1],
        mine.sum(1).tolist(),
        own.argsort(stable=True),
        own.bincount(minlength=len(asked)).tolist(),
    )


@torch.library.custom_op('coavt_mm::fetch_rows', mutates_args=())
def _fetch(x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows, and what all ranks asked for, (W, B) on the host."""
    asked = index.new_empty(get_world_size(), len(x))
    own = F.pad(index, (0, len(x) - len(index)), value=-1)
    torch_dist.all_gather(list(asked.unbind()), own)
    asked = asked.cpu()
    plan = _plan(asked, len(index))
    sent = x.index_select(0, plan.sent.to(x.device, non_blocking=True))
    come = x.new_empty(len(index), *x.shape[1:])
    torch_dist.all_to_all_single(come, sent, plan.order_counts, plan.sent_counts)
    order = plan.order.to(x.device, non_blocking=True)
    return torch.empty_like(come).index_copy_(0, order, come), asked


@_fetch.register_fake
def _(x, index):
    asked = torch.empty(get_world_size(), len(x), dtype=index.dtype, device='cpu')
    return x.new_empty(len(index), *x.shape[1:]), asked


@torch.library.custom_op('coavt_mm::return_rows', mutates_args=())
def _return(grad: Tensor, asked: Tensor) -> Tensor:
    """Send the gradient of fetched rows (R, ...) back, summed up where they lie."""
    plan = _plan(asked, len(grad))
    order = plan.order.to(grad.device, non_blocking=True)
    come = grad.new_empty(len(plan.sent), *grad.shape[1:])
    torch_dist.all_to_all_single(
        come, grad.index_select(0, order), plan.sent_counts, plan.order_counts
    )
    total = grad.new_zeros(asked.shape[1], *grad.shape[1:])
    return total.index_add_(0, plan.sent.to(grad.device, non_blocking=True), come)


@_return.register_fake
def _(grad, asked):
    return grad.new_empty(asked.shape[1], *grad.shape[1:])


def _keep(ctx, inputs, output):
    ctx.save_for_backward(output[1])


def _backward(ctx, grad, _):
    return _return(grad, *ctx.saved_tensors), None


_fetch.register_autograd(_backward, setup_context=_keep)
