"""A model from a file, and the functions that ask it."""

import gc
import os
from collections.abc import Callable
from functools import lru_cache, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any
from warnings import warn
from weakref import WeakSet

from coavt_mm.apis.inferencer import CoAVTInferencer
from coavt_mm.errors import ConfigError, InputError

Model = CoAVTInferencer | str | Path

_loaded: WeakSet[CoAVTInferencer] = WeakSet()  # by `load_model`, and still in use
_last: list[CoAVTInferencer] = []  # in use although nobody may have kept it


def load_model(
    checkpoint: str | Path,
    config: str | Path | dict | None = None,
    device: str | None = None,
    show_progress: bool = True,
    isolate: bool = False,
) -> CoAVTInferencer:
    """Load a model, whose methods answer: ``load_model(path).caption(clip)``.

    The functions without ``model`` ask it too, as long as it is the only one.

    Args:
        checkpoint: .pth or .safetensors file; or a model of others, by its folder or
            hub id: CLAP, CLIP, SigLIP, PE-AV.
        config: Needed only for checkpoints that do not carry theirs.
        device: 'cpu', 'cuda', 'cuda:1'. Default: a GPU if there is one.
        show_progress: Whether to show bars.
        isolate: Whether a process beside decodes the clips: one that crashes a decoder,
            makes it hang or fills the memory then costs its own answer alone.

    Raises:
        ConfigError: The config is missing or broken, or there is no such device.
        CheckpointError: The checkpoint is missing, damaged, unsafe, or of another
            config, or carries none.
    """
    inferencer = CoAVTInferencer(config, checkpoint, device, show_progress, isolate)
    _loaded.add(inferencer)
    _last[:] = [inferencer]
    return inferencer


@lru_cache(maxsize=2)
def _from_file(path: str, changed: int) -> CoAVTInferencer:
    return CoAVTInferencer(None, path)


def get_model(model: Model | None) -> CoAVTInferencer:
    """Return a model that is given, in whatever form, else the only one loaded.

    Raises:
        ConfigError: None is given, and none was loaded, or several are in use.
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
    if not _last:
        raise ConfigError(
            "no model is loaded: load_model('checkpoint.pth') first, or give model=..."
        )
    if len(_loaded) > 1:
        gc.collect()  # those that nobody holds any more do not count
    if len(_loaded) > 1:
        raise ConfigError(
            f'{len(_loaded)} models are loaded: say which one, as model.caption(clip) '
            'or caption(clip, model=model)'
        )
    return _last[0]


def _door(task: Callable) -> Callable:
    """Make a function of a method: it asks ``model``, else the only one loaded."""

    @wraps(task)
    def ask(*args, model: Model | None = None, **options):
        return task(get_model(model), *args, **options)

    own = Parameter('model', Parameter.KEYWORD_ONLY, default=None)
    _, *others = signature(task).parameters.values()
    made: Any = ask
    made.__signature__ = Signature(sorted([*others, own], key=lambda p: p.kind))
    return made


embed = _door(CoAVTInferencer.embed)
retrieve = _door(CoAVTInferencer.retrieve)
classify = _door(CoAVTInferencer.classify)
caption = _door(CoAVTInferencer.caption)
match = _door(CoAVTInferencer.match)
check_sound = _door(CoAVTInferencer.check_sound)
visualize = _door(CoAVTInferencer.visualize)


def picture(*args, **options) -> list[Path | dict]:
    """Draw clips, by the old name of :func:`visualize`."""
    warn('picture() is now called visualize()', FutureWarning, stacklevel=2)
    return visualize(*args, **options)
