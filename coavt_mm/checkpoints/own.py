"""Our own checkpoints: weights alone, in and out, and several put together."""

import json
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from coavt_mm.errors import CheckpointError

from .conversion import Converted, Source, read_state_dict
from .positions import resize_positions


def save_weights(
    state_dict: Mapping[str, Tensor],
    path: str | PathLike,
    model_cfg: dict | None = None,
    notes: str = '',
) -> None:
    """Write weights for ``init_cfg``, ``load_from`` and ``tools/test.py``.

    Args:
        state_dict (Mapping[str, Tensor]): The weights.
        path (str | PathLike): ``.safetensors``, or ``.pth`` in mmengine's form.
        model_cfg (dict, optional): Config of the model, kept beside the weights.
        notes (str): Where they come from, kept likewise.
    """
    meta = dict(model_cfg=model_cfg, notes=notes)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if Path(path).suffix != '.safetensors':
        torch.save(dict(state_dict=dict(state_dict), meta=meta), path)
        return
    from safetensors.torch import save_file

    tensors = {name: t.detach().clone().contiguous() for name, t in state_dict.items()}
    save_file(tensors, path, dict(format='pt', coavt_mm=json.dumps(meta)))


def load_weights(
    source: Source, model: nn.Module, prefix: str = '', strict: bool = True
) -> list[str]:
    """Load weights into a model; tensors that find no place are an error.

    Position tables of another clip length or picture size are interpolated.

    Args:
        source (str | PathLike | Mapping): File or state dict.
        model (nn.Module): Where they go.
        prefix (str): Take only names that start so, without it. Defaults to all.
        strict (bool): Whether every tensor of the model must come from the source.
            If not, those that don't stay as they are.

    Returns:
        list[str]: What was done, in lines for a log.

    Raises:
        CheckpointError: If something doesn't fit.
    """
    state = read_state_dict(source)
    prefix = f'{prefix.rstrip(".")}.' if prefix else ''
    state = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    state, lines = fit(state, model, f'the weights {prefix}*', strict)
    model.load_state_dict(state, strict=False)  # fit() has compared the names
    return lines


def fit(
    state: Mapping[str, Tensor], model: nn.Module, what: str, strict: bool
) -> tuple[dict[str, Tensor], list[str]]:
    """Fit a state dict to a model, or say why it can't be.

    Args:
        state (Mapping[str, Tensor]): Names and tensors.
        model (nn.Module): The model.
        what (str): How messages call the state dict.
        strict (bool): Whether the model must be filled.

    Returns:
        tuple: The state dict with fitting position tables, and lines for a log.

    Raises:
        CheckpointError: If a tensor is unknown to the model or of another shape, or
            ``strict`` and one is missing.
    """
    state, resized = resize_positions(state, model)
    wanted = model.state_dict()
    unknown = [name for name in state if name not in wanted]
    shapes = [
        f'{name}: {tuple(state[name].shape)}, the model has {tuple(wanted[name].shape)}'
        for name in state.keys() & wanted.keys()
        if state[name].shape != wanted[name].shape
    ]
    missing = [name for name in wanted if name not in state]
    if not state or unknown or shapes or (strict and missing):
        raise CheckpointError(
            f'{what} does not fit {type(model).__name__}: {len(state) - len(unknown)} '
            f'of {len(state)} names match; unknown to the model: {_first(unknown)}; '
            f'of another shape: {_first(shapes)}; missing: {_first(missing)}'
        )
    lines = [f'{len(state)} of {len(wanted)} tensors of {type(model).__name__} loaded']
    if missing:
        lines.append(f'{len(missing)} stay as they are: {_first(missing)}')
    return state, lines + [f'{name}: {how}' for name, how in resized.items()]


def _first(names: list[str], count: int = 4) -> str:
    return ', '.join(names[:count]) + (', ...' if len(names) > count else '') or 'none'


def export_safetensors(source: Source, path: str | PathLike) -> int:
    """Write the weights of a training checkpoint, and nothing else, to safetensors.

    Args:
        source (str | PathLike | Mapping): mmengine's checkpoint or a state dict.
        path (str | PathLike): ``.safetensors`` file to write.

    Returns:
        int: Number of tensors.
    """
    if Path(path).suffix != '.safetensors':
        raise CheckpointError(f'{fspath(path)}: the name must end with .safetensors')
    state = read_state_dict(source)
    save_weights(state, path)
    return len(state)


def combine(parts: Mapping[str, Converted], **model_cfg) -> Converted:
    """Put converted parts together to one CoAVT.

    Args:
        parts (Mapping[str, Converted]): Name of the part in ``CoAVT`` ('av_encoder',
            'text_encoder', 'query_encoder') -> weights; '' for a whole CoAVT, such as
            BLIP-2's.
        model_cfg: Further arguments of ``CoAVT``.

    Returns:
        Converted: Of the joint config; its report is the last part's.
    """
    state, cfg = {}, dict(type='CoAVT')
    for name, part in parts.items():
        own = {name: part.model_cfg} if name else part.model_cfg
        cfg.update(ConfigDict(own).to_dict())
        prefix = f'{name}.' if name else ''
        state.update({prefix + k: v for k, v in part.state_dict.items()})
        report = part.report
    cfg.update(model_cfg)
    return Converted(state, cfg, report)
