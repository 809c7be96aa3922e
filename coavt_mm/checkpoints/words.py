"""Tables of word pieces, for a tokenizer that has got further ones."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

#: Ends of the names of tensors with a row for each word piece.
TABLES = ('word_embeddings.weight', 'lm_head.bias')


def grow_words(
    state: Mapping[str, Tensor], model: nn.Module
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Fit the word tables of a state dict to a model whose tokenizer has more pieces.

    Only right where the pieces that were there keep their ids.

    Args:
        state: Weights of ``model``, but for the tables.
        model: Whose further rows begin as they are in it.

    Returns:
        The state dict with fitting tables, and what was done, by name.
    """
    state, changed = dict(state), {}
    own = model.state_dict()
    for name in (n for n in own if n.endswith(TABLES) and n in state):
        table, wanted = state[name], own[name]
        more = len(wanted) - len(table) if table.ndim == wanted.ndim else 0
        if more > 0 and table.shape[1:] == wanted.shape[1:]:
            rest = wanted[len(table) :].to(table)
            state[name] = torch.cat([table, rest])
            changed[name] = f'{more} word pieces are new'
    return state, changed
