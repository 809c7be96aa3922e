"""Position tables: their grid, and another clip length or picture size."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from coavt_mm.errors import CheckpointError
from coavt_mm.models.av_encoder import PatchEmbed
from coavt_mm.models.layers import sincos_table


def find_grid(table: Tensor) -> tuple[int, int] | None:
    """Rows and columns of a fixed sin-cos table (1, N, D); None for another table."""
    num, dims = table.shape[-2:]
    if dims % 4:
        return None
    for rows in (r for r in range(1, num + 1) if num % r == 0):
        expected = sincos_table(dims, rows, num // rows)
        if (table[0].float() - expected).abs().max() < 1e-3:
            return rows, num // rows
    return None


def resize_table(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Bicubic interpolation of a table (1, N, D) to another grid of patches.

    The input's extent is kept: the first and the last patch keep their places, the
    ones between are spread (what MAE and CAV-MAE do for another size).
    """
    dims = table.shape[-1]
    grid = table.float().transpose(1, 2).reshape(1, dims, *old)
    grid = F.interpolate(grid, size=new, mode='bicubic', align_corners=False)
    return grid.flatten(2).transpose(1, 2).to(table.dtype)


def resize_positions(
    state: Mapping[str, Tensor], model: nn.Module
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Fit the position tables of a state dict to a model of other input sizes.

    Args:
        state: Weights of ``model``, but for the tables.
        model: Any model with patch embeddings of this package.

    Returns:
        The state dict with fitting tables, and what was done, by name.
    """
    state, changed = dict(state), {}
    for module_name, module in model.named_modules():
        name = f'{module_name}.position'.lstrip('.')
        if not isinstance(module, PatchEmbed) or name not in state:
            continue
        table, shape = state[name], module.position.shape
        if table.shape == shape:
            made_for = find_grid(table)
            if made_for not in (None, module.grid):
                changed[name] = _kept(made_for, module.grid)
            continue
        if table.ndim != 3 or table.shape[-1] != shape[-1]:
            continue  # another width: whoever loads it reports it
        old = _old_grid(table, module, name)
        state[name] = resize_table(table, old, module.grid)
        changed[name] = (
            f'interpolated from {old[0]} x {old[1]} to {module.grid[0]} x '
            f'{module.grid[1]} patches (rows x columns)'
        )
    return state, changed


def _kept(made_for: tuple[int, int], grid: tuple[int, int]) -> str:
    """What is said of a table of as many patches in another grid.

    CAV-MAE builds 8 rows for any number of mel bins, so such a table may be what the
    weights were trained with.
    """
    return (
        f'kept, though it is a table of {made_for[0]} x {made_for[1]} patches (rows x '
        f'columns) and the model has {grid[0]} x {grid[1]}: right where the weights '
        'were trained with it, as a CAV-MAE with other than 128 mel bins; else leave '
        'it out of the checkpoint, and the model keeps its own'
    )


def _old_grid(table: Tensor, module: PatchEmbed, name: str) -> tuple[int, int]:
    """The grid of a table: decoded, else a square picture or as many mel rows."""
    num = table.shape[1]
    square = round(num**0.5)
    found = find_grid(table)
    if found is not None:
        return found
    if module.proj.in_channels == 3 and square * square == num:
        return square, square
    if module.proj.in_channels == 1 and num % module.grid[0] == 0:
        return module.grid[0], num // module.grid[0]
    raise CheckpointError(
        f'{name}: a table of {num} positions fits no grid that could be interpolated '
        f'to {module.grid[0]} x {module.grid[1]} patches'
    )
