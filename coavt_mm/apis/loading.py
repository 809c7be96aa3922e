"""Which config a checkpoint goes with, and where it runs."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.fileio import load

from coavt_mm.checkpoint_files import load_from_http, load_from_local, names_peer
from coavt_mm.checkpoints import (
    check_model,
    inference_config,
    read_state_dict,
    read_stored_config,
)
from coavt_mm.compat import check_openmmlab
from coavt_mm.config import load_config
from coavt_mm.datasets.manifest import nearest
from coavt_mm.errors import CheckpointError, ConfigError, InputError

CONFIG_SUFFIXES = ('.py', '.json', '.yaml', '.yml')
SHIPPED = Path(__file__).parents[1] / '.mim'


def shipped_models() -> dict[str, dict]:
    """Read name -> entry of our models that the package's metafiles list."""
    files = load(SHIPPED / 'model-index.yml')['Import']
    entries = [x for file in files for x in load(SHIPPED / file)['Models']]
    own = [entry for entry in entries if entry['In Collection'] != 'Peers']
    return {entry['Name']: entry for entry in own}


def shipped_config(name: str) -> str | None:
    """The config of a model that is listed by this name, None if none is."""
    entry = shipped_models().get(name)
    return None if entry is None else str(SHIPPED / entry['Config'])


def shipped_weights(name: str) -> str:
    """Where the weights of a listed model are.

    Raises:
        InputError: None is listed by this name, or its weights are not published.
    """
    models = shipped_models()
    if name not in models:
        raise InputError(
            f'{name!r} is none of the {len(models)} models that '
            f'CoAVTInferencer.list_models() names{nearest(name, list(models))}; a '
            'checkpoint is given as `weights`'
        )
    weights = models[name].get('Weights')
    if weights is None:
        raise InputError(
            f'{name}: its weights are not published; train it (coavt train '
            f'coavt_mm::{models[name]["Config"].removeprefix("configs/")}) and give '
            'the checkpoint as `weights`'
        )
    return weights[0] if isinstance(weights, list) else weights


def read_checkpoint(weights: str) -> dict:
    """Read a checkpoint, from a file or an address.

    Raises:
        CoAVTError: Packages are installed that overwrite each other, or no mmcv is.
        CheckpointError: It is missing, damaged or unsafe.
    """
    check_openmmlab()
    is_address = weights.startswith(('http://', 'https://'))
    return (load_from_http if is_address else load_from_local)(weights, 'cpu')


def read_weights(
    model: str | Path | dict | Config | None, weights: str
) -> tuple[dict | None, dict]:
    """Read a checkpoint, and find the config that goes with it.

    Args:
        model: The config, its path or its name, if it is given.
        weights: The checkpoint; or a folder or hub id with a model of others.

    Returns:
        The checkpoint, and ``model``, ``pipeline`` and ``classes`` of it; None, and
        ``model`` alone, of a model of others, which brings all that it needs.

    Raises:
        CoAVTError: See :func:`read_checkpoint` and :func:`config_of`.
        InputError: A config is given for a model of others.
    """
    if not names_peer(weights):
        checkpoint = read_checkpoint(weights)
        return checkpoint, config_of(model, checkpoint, weights)
    if model is not None:
        raise InputError(f'{weights}: a model of others takes no config')
    return None, dict(model=dict(type='PeerEncoder', path=weights))


def config_of(
    model: str | Path | dict | Config | None, checkpoint: dict, weights: str
) -> dict:
    """Find ``model``, ``pipeline`` and ``classes``, wherever they are written.

    Args:
        model: The config, its path or its name, if it is given.
        checkpoint: What was read from the checkpoint.
        weights: Its name.

    Raises:
        CheckpointError: No config is given and none is stored, or it is no checkpoint.
        ConfigError: The config is missing or broken.
        InputError: It is no config.
    """
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f'{weights}: holds no state dict (tensors by name)')
    if model is None:
        stored = read_stored_config(checkpoint, weights)
        check_model(stored, read_state_dict(checkpoint), weights)
        return stored
    if isinstance(model, str | os.PathLike):
        model = shipped_config(os.fspath(model)) or model
        if Path(model).suffix not in CONFIG_SUFFIXES:
            raise ConfigError(
                f'{model} is no config ({", ".join(CONFIG_SUFFIXES)}); a checkpoint is '
                'given as `weights`'
            )
        model = load_config(os.fspath(model))
    elif isinstance(model, dict):
        model = Config(model)
    if not isinstance(model, Config):
        raise InputError(
            'model must be a config, its path or a dict, not a '
            f'{type(model).__name__}; the checkpoint is `weights`'
        )
    cfg = inference_config(model)
    meta = checkpoint.get('meta')
    trained_on = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    if isinstance(trained_on, Mapping) and not cfg['classes']:
        cfg['classes'] = trained_on.get('classes')
    return cfg


def checked_device(device: str | None) -> str:
    """Return a device that works, the best there is by default.

    Raises:
        ConfigError: It can't be used.
    """
    if device is None:
        return get_device()
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f'device {device!r} can not be used: {reason}') from error
    return device
