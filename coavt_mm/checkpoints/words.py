"""Word pieces of a checkpoint: are they the model's, and has its tokenizer more?"""

import json
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coavt_mm.checkpoints.stored_config import carried_tokenizer
from coavt_mm.datasets.tokenizer import serialise_tokenizer
from coavt_mm.errors import CheckpointError

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


def check_words(
    checkpoint: Any, state: Collection[str], model: nn.Module, where: str = ''
) -> list[str]:
    """Refuse weights of other word pieces: each row would be taken for another word.

    Args:
        checkpoint: What was read from a file; one that carries no config, or no
            tokenizer, says nothing.
        state: Names of the weights that are taken of it.
        model: With ``tokenizer_path``, or without a tokenizer of its own.
        where: Name of the file, for the message.

    Returns:
        Lines for a log: what can't be compared, and rules that differ by which texts
        are cut into pieces.

    Raises:
        CheckpointError: A piece has another number; more of them may follow.
    """
    path = getattr(model, 'tokenizer_path', None)
    tables = [n for n in model.state_dict() if n.endswith(TABLES) and n in state]
    if path is None or not tables:
        return []
    try:
        text = carried_tokenizer(checkpoint, where)
    except CheckpointError as error:  # the weights may be good
        return [f'the tokenizer is not compared: {error}']
    if text is None:
        return []
    theirs, ours = json.loads(text), json.loads(serialise_tokenizer(path))
    there, here = _pieces(theirs), _pieces(ours)
    other = [n for n in sorted(there.keys() & here.keys()) if there[n] != here[n]]
    if other:
        told, first = f'{where}: ' if where else '', other[0]
        raise CheckpointError(
            f'{told}trained with another tokenizer than {path}: {len(other)} word '
            f'pieces have other numbers, such as {first}, {there[first]!r} there and '
            f'{here[first]!r} here; set tokenizer= to that of the training'
        )
    parts = ('normalizer', 'pre_tokenizer')
    return [
        f'the tokenizer {path} has another {part} than that of the checkpoint: '
        f'{ours.get(part)} in place of {theirs.get(part)}'
        for part in parts
        if ours.get(part) != theirs.get(part)
    ]


def _pieces(rules: dict) -> dict[int, str]:
    """Number -> word piece, [DEC] and others that were added among them."""
    vocabulary = rules['model'].get('vocab')
    known = vocabulary if isinstance(vocabulary, dict) else {}  # of a BERT
    added = {token['id']: token['content'] for token in rules['added_tokens']}
    return {number: piece for piece, number in known.items()} | added
