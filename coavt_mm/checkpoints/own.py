"""Our own checkpoints: weights alone, in and out, and several put together."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from coavt_mm.checkpoint_files import plain_names
from coavt_mm.checkpoints.conversion import Source, read_state_dict, skeleton
from coavt_mm.checkpoints.misfits import differing_settings
from coavt_mm.checkpoints.positions import resize_positions
from coavt_mm.checkpoints.stored_config import (
    KEY,
    carried_config,
    config_to_json,
    read_stored_config,
)
from coavt_mm.checkpoints.stored_model import check_model
from coavt_mm.checkpoints.words import check_words
from coavt_mm.checksums import CHECKSUM
from coavt_mm.compat import load_from_local
from coavt_mm.errors import CheckpointError, shown
from coavt_mm.registry import MODELS


def save_weights(
    state_dict: Mapping[str, Tensor],
    path: str | PathLike,
    model_cfg: dict | None = None,
    notes: str = '',
    config: str | None = None,
) -> None:
    """Write weights for ``init_cfg``, ``load_from`` and ``tools/test.py``.

    Args:
        state_dict: The weights.
        path: ``.safetensors``, or ``.pth`` in mmengine's form.
        model_cfg: Config of the model, kept beside the weights.
        notes: Where they come from, kept likewise.
        config: From ``config_to_json``: lets the inferencer work from this file alone.
    """
    meta = dict(model_cfg=model_cfg, notes=notes)
    if config is not None:
        meta[KEY] = config
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(f'{fspath(path)}{CHECKSUM}').unlink(missing_ok=True)  # of what lay there
    if Path(path).suffix != '.safetensors':
        torch.save(dict(state_dict=dict(state_dict), meta=meta), path)
        return
    from safetensors.torch import save_file

    tensors = {name: t.detach().clone().contiguous() for name, t in state_dict.items()}
    save_file(tensors, path, dict(format='pt', coavt_mm=json.dumps(meta)))


def load_weights(
    source: Source,
    model: nn.Module,
    prefix: str = '',
    strict: bool = True,
    min_share: float = 1.0,
) -> list[str]:
    """Load weights into a model; tensors that find no place are an error.

    Position tables of another clip length or picture size are interpolated.

    Args:
        source: File or state dict.
        model: Where they go.
        prefix: Take only names that start so, without it. Defaults to all.
        strict: Whether every tensor of the model must come from the source. If not,
            those that don't stay as they are.
        min_share: Least share of the source's tensors that the model must know.
            Defaults to all.

    Returns:
        What was done, in lines for a log.

    Raises:
        CheckpointError: If something doesn't fit.
    """
    where = '' if isinstance(source, Mapping) else fspath(source)
    if not isinstance(source, Mapping):
        source = load_from_local(where, 'cpu')
    state = read_state_dict(source, where or 'the given state dict')
    prefix = f'{prefix.rstrip(".")}.' if prefix else ''
    state = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    words = check_words(source, state, model, where)
    state, lines = fit(state, model, strict, min_share, where)
    model.load_state_dict(state, strict=False)  # fit() has compared the names
    return [shown(line) for line in words + lines]


def fit(
    state: Mapping[str, Tensor],
    model: nn.Module,
    strict: bool = False,
    min_share: float = 1.0,
    where: str = '',
) -> tuple[dict[str, Tensor], list[str]]:
    """Fit a state dict to a model, or say why it can't be.

    Args:
        state: Names and tensors.
        model: The model.
        strict: Whether the model must be filled.
        min_share: Least share of the tensors that the model must know.
        where: Name of the file, for the message.

    Returns:
        What the model knows, with fitting position tables, and lines for a log.

    Raises:
        CheckpointError: If too few tensors are known, one has another shape, or
            ``strict`` and one is missing.
    """
    wanted = model.state_dict()
    own = plain_names({name: name for name in wanted}, 'the model', inner=True)
    state = {own.get(name, name): tensor for name, tensor in state.items()}
    state, resized = resize_positions(state, model)
    unknown = [name for name in state if name not in wanted]
    known = {name: tensor for name, tensor in state.items() if name in wanted}
    for name, tensor in known.items():
        if tensor.numel() == wanted[name].numel() == 1:  # one number, in any shape
            known[name] = tensor.reshape(wanted[name].shape)
    missing = [name for name in wanted if name not in state]
    other = {n: x for n, x in known.items() if x.shape != wanted[n].shape}
    shapes = [
        f'{name} {tuple(tensor.shape)} for {tuple(wanted[name].shape)}'
        for name, tensor in other.items()
    ]
    lines = [
        f'{len(known)} of {len(state)} tensors of the checkpoint go into '
        f'{len(wanted)} of {type(model).__name__}'
    ]
    for title, names in (
        ('not in the model', unknown),
        ('of another shape', shapes),
        ('not in the checkpoint', missing),
    ):
        if names:
            lines.append(f'{len(names)} {title}: {_first(names)}')
    few = not known or len(known) < min_share * len(state)
    if few or shapes or (strict and missing):
        told = f'{where}: ' if where else ''
        lines += differing_settings(other, wanted)
        raise CheckpointError(f'{told}the weights do not fit; ' + '; '.join(lines))
    return known, lines + [f'{name}: {how}' for name, how in resized.items()]


def _first(names: list[str], count: int = 4) -> str:
    return ', '.join(names[:count]) + (', ...' if len(names) > count else '')


def export_safetensors(source: Source, path: str | PathLike) -> int:
    """Write the weights of a training checkpoint, and nothing else, to safetensors.

    Args:
        source: mmengine's checkpoint or a state dict.
        path: ``.safetensors`` file to write.

    Returns:
        Number of tensors.
    """
    if Path(path).suffix != '.safetensors':
        raise CheckpointError(f'{fspath(path)}: the name must end with .safetensors')
    where = 'the given state dict'
    if not isinstance(source, Mapping):
        where, source = fspath(source), load_from_local(fspath(source), 'cpu')
    state = read_state_dict(source, where)
    save_weights(state, path, config=fitting_config(source, state, where))
    return len(state)


def fitting_config(
    checkpoint: Mapping, state_dict: Mapping[str, Tensor], where: str
) -> str | None:
    """The JSON that a checkpoint carries, once the weights are seen to be of it.

    Args:
        checkpoint: What was read from the file.
        state_dict: Its weights.
        where: Its name, for messages.

    Returns:
        For :func:`save_weights`; None if no config is carried.

    Raises:
        CheckpointError: The weights are not of this config.
    """
    config = carried_config(checkpoint)
    if config is not None:
        stored = read_stored_config(checkpoint, where)
        check_model(stored, state_dict, where)
        try:
            fit(state_dict, skeleton(stored['model']), strict=True)
        except CheckpointError as error:
            raise CheckpointError(f'{where}: of its stored config {error}') from error
    return config


def add_config(cfg: Config, state_dict: Mapping[str, Tensor]) -> str:
    """The config as data for weights that were trained without storing it.

    Args:
        cfg: What they were trained with.
        state_dict: The weights.

    Returns:
        For :func:`save_weights`.

    Raises:
        CheckpointError: The weights are not of this config.
    """
    scope = cfg.get('default_scope') or MODELS.scope
    model = MODELS.build(dict(cfg.model, _scope_=scope))
    load_weights(state_dict, model)
    return config_to_json(cfg, model)


def combine(parts: Iterable[tuple[str, Source]]) -> dict[str, Tensor]:
    """Put parts together to the state dict of one CoAVT.

    Args:
        parts: Name of a part ('av_encoder', 'text_encoder', 'query_encoder'; '' for
            names that are whole already, such as those of a converted BLIP-2) and its
            weights.

    Returns:
        The state dict.

    Raises:
        CheckpointError: If two parts hold the same tensor.
    """
    state = {}
    for part, source in parts:
        prefix = f'{part}.' if part else ''
        for name, tensor in read_state_dict(source).items():
            if prefix + name in state:
                raise CheckpointError(f'{prefix + name!r} comes from two of the parts')
            state[prefix + name] = tensor
    return state


def publish(source: str | PathLike, path: str | PathLike) -> Path:
    """Write weights alone under ``NAME-<hash>.pth``, as torch.hub checks a download.

    Args:
        source: mmengine's checkpoint, or any file of weights.
        path: ``NAME.pth`` or ``NAME.safetensors``.

    Returns:
        The path with the first 8 digits of the file's SHA-256.

    Raises:
        CheckpointError: If the name has another end, or the weights are not of the
            config that the file carries.
    """
    path = Path(path)
    if path.suffix not in ('.pth', '.safetensors'):
        raise CheckpointError(f'{path}: the name must end with .pth or .safetensors')
    checkpoint = load_from_local(fspath(source), 'cpu')
    state = read_state_dict(checkpoint)
    config = fitting_config(checkpoint, state, fspath(source))
    part = path.with_name(f'.{path.stem}{path.suffix}')
    save_weights(state, part, config=config)
    digest = hashlib.sha256()
    with part.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    hashed = f'{path.stem}-{digest.hexdigest()[:8]}{path.suffix}'
    return part.replace(path.with_name(hashed))
