"""The training log of a checkpoint as plain numbers, and back.

mmengine pickles its ``HistoryBuffer`` objects, for which a reader must allow
``getattr``: a door that no other part of a checkpoint needs.
"""

from collections.abc import Mapping
from typing import Any

# of a scalar's history in a checkpoint
_PARTS = {'values', 'counts', 'max_length'}


def plain_log(hub: Any) -> Any:
    """The state of a ``MessageHub`` with tensors in the place of histories.

    Args:
        hub: As ``MessageHub.state_dict`` gives it; stays as it is.

    Returns:
        The same with what :func:`plain_history` makes of each scalar, and Python's
        numbers for those of NumPy.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    if not isinstance(hub, Mapping) or not isinstance(hub.get('log_scalars'), Mapping):
        return hub
    scalars = {
        name: plain_history(part.data[0], part.data[1], part.max_length)
        if isinstance(part, HistoryBuffer)
        else part
        for name, part in hub['log_scalars'].items()
    }
    facts = {
        name: fact.item() if isinstance(fact, np.generic) else fact
        for name, fact in (hub.get('runtime_info') or {}).items()
    }
    return {**hub, 'log_scalars': scalars, 'runtime_info': facts}


def plain_history(values: Any, counts: Any, max_length: int) -> dict[str, Any]:
    """A scalar's history for a checkpoint.

    Args:
        values: Its array, (N,).
        counts: How often each value counts, (N,).
        max_length: How many values are kept.

    Returns:
        The same as tensors and a number, with numbers of 64 bits for those of Python.
    """
    import torch

    values, counts = (
        torch.from_numpy(part.astype(float) if part.dtype == object else part.copy())
        for part in (values, counts)
    )
    return dict(values=values, counts=counts, max_length=max_length)


def whole_log(hub: Any) -> Any:
    """What :func:`plain_log` was given, equal to the last bit.

    Args:
        hub: From a checkpoint; stays as it is.

    Returns:
        For ``MessageHub.load_state_dict``.

    Raises:
        ValueError: If a history is none.
    """
    if not isinstance(hub, Mapping) or not isinstance(hub.get('log_scalars'), Mapping):
        return hub
    scalars = {
        name: _history(name, part) if isinstance(part, Mapping) else part
        for name, part in hub['log_scalars'].items()
    }
    return {**hub, 'log_scalars': scalars}


def _history(name: Any, part: Mapping) -> Any:
    from mmengine.logging import HistoryBuffer
    from torch import Tensor

    values, counts, longest = (part.get(k) for k in ('values', 'counts', 'max_length'))
    if not (
        part.keys() == _PARTS
        and isinstance(values, Tensor)
        and isinstance(counts, Tensor)
        and values.ndim == counts.ndim == 1
        and type(longest) is int
        and len(values) == len(counts) <= longest
    ):
        raise ValueError(f'{name!r:.80} of its training log is no history of numbers')
    return HistoryBuffer(values.cpu().numpy(), counts.cpu().numpy(), longest)
