"""The model that the functions use."""

import os
from functools import lru_cache
from pathlib import Path

from coavt_mm.apis.inferencer import CoAVTInferencer
from coavt_mm.errors import ConfigError, InputError

Model = CoAVTInferencer | str | Path

_loaded: list[CoAVTInferencer] = []  # the one that functions without `model` use


def load_model(
    checkpoint: str | Path,
    config: str | Path | dict | None = None,
    device: str | None = None,
    show_progress: bool = True,
) -> CoAVTInferencer:
    """Load a model; the functions use the one loaded last unless ``model`` names one.

    Args:
        checkpoint (str | Path): .pth or .safetensors file.
        config (str | Path | dict, optional): Needed only for checkpoints that do not
            carry theirs.
        device (str, optional): 'cpu', 'cuda', 'cuda:1'. Default: a GPU if there is one.
        show_progress (bool): Whether to show bars.

    Returns:
        CoAVTInferencer: The model.

    Raises:
        ConfigError: The config is missing or broken, or there is no such device.
        CheckpointError: The checkpoint is missing, damaged, unsafe, or of another
            config, or carries none.
    """
    inferencer = CoAVTInferencer(config, checkpoint, device, show_progress)
    _loaded[:] = [inferencer]
    return inferencer


@lru_cache(maxsize=2)
def _from_file(path: str, changed: int) -> CoAVTInferencer:
    return CoAVTInferencer(None, path)


def get_model(model: Model | None) -> CoAVTInferencer:
    """A model that is given, in whatever form, else the one loaded last.

    Raises:
        ConfigError: None is given and none was loaded.
        InputError: It is neither a model nor a path.
    """
    if isinstance(model, CoAVTInferencer):
        return model
    if isinstance(model, str | os.PathLike):
        path = os.path.expanduser(os.fspath(model))
        changed = os.stat(path).st_mtime_ns if os.path.exists(path) else 0
        return _from_file(path, changed)
    if model is not None:
        raise InputError(
            'model must be a CoAVTInferencer or the path of a checkpoint, not a '
            f'{type(model).__name__}'
        )
    if not _loaded:
        raise ConfigError(
            "no model is loaded: load_model('checkpoint.pth') first, or give model=..."
        )
    return _loaded[0]
