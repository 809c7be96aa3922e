"""Large batches in little memory: gradient caching (GradCache, arXiv 2101.06983)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import checkpoint


def in_chunks(function: Callable[..., Any], size: int | None, *inputs: Tensor) -> Any:
    """Run a function on slices of a batch, without keeping activations of any.

    In the backward pass a slice is computed anew when its gradient is due, with the
    random numbers that it had, and let go before the next: what is kept are inputs and
    results of all, and activations of one. Values and gradients are those of one run.

    Args:
        function: Takes slices of the inputs and gives a tensor, or tensors in tuples,
            lists and dictionaries, whose rows follow from the same rows of the inputs.
        size: Rows of a slice; None runs the whole batch at once and keeps all.
        inputs: Tensors (R, ...).

    Returns:
        What ``function`` gives for the whole.
    """
    if size is None or inputs[0].shape[0] <= size:
        return function(*inputs)
    slices = zip(*(x.split(size) for x in inputs), strict=True)
    parts = [checkpoint(function, *some, use_reentrant=False) for some in slices]
    return tree_map(lambda *rows: torch.cat(rows), *parts)
