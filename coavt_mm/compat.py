"""Cures for what is broken between the versions of the libraries we stand on.

Every cure is a function that says what fails without it and which release makes it
unnecessary. Importing this module, or ``coavt_mm``, changes nothing in other libraries;
tools call what they need, and what mmaction2 and mmpretrain need is done when their
models are first imported. Nothing here replaces a method of another library's class.
"""

import json
import os.path as osp
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any
from zipfile import BadZipFile

from mmengine.config import Config

from .errors import CheckpointError, CoAVTError, ConfigError


def check_mmcv() -> None:
    """Make sure that ``mmcv``, full or lite, can be imported.

    Both distributions install the module ``mmcv`` and overwrite each other, so
    neither is a requirement of the package and the user chooses.
    Unnecessary once mmaction2 and mmpretrain run without mmcv.

    Raises:
        CoAVTError: If no mmcv is installed.
    """
    if find_spec('mmcv') is None:
        raise CoAVTError(
            'mmcv is not installed. Compiled ops are not needed: '
            '`pip install "mmcv-lite>=2.1,<2.2"` (or install the full mmcv, '
            'same versions, but never both).'
        )


# --------------------------------------------------------------------------------------
# Checkpoints
# --------------------------------------------------------------------------------------
def register_checkpoint_loader() -> None:
    """Let mmengine read its own checkpoints under torch >= 2.6, and no unsafe ones.

    mmengine 0.10.7 calls ``torch.load`` without ``weights_only``; torch 2.6 made True
    the default, which refuses the training log (``HistoryBuffer``) in every checkpoint
    that mmengine writes. Older torch, and downloads, would run whatever code a file
    holds. The loaders registered here keep ``weights_only=True`` and allow just the
    types that such a log is made of. Unnecessary once mmengine stores its log as plain
    tensors and lists, or passes ``weights_only`` itself.
    """
    from mmengine.runner import CheckpointLoader

    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(
        ('http://', 'https://'), load_from_http, force=True
    )


def load_from_local(filename: str, map_location: Any = None) -> dict:
    """Read a local checkpoint without running code from it.

    Args:
        filename (str): Path of the file; ``~`` is expanded.
        map_location (str or callable, optional): As of :func:`torch.load`.

    Returns:
        dict: The checkpoint.

    Raises:
        CheckpointError: If the file is missing, damaged, or asks for code.
    """
    import torch

    path = osp.expanduser(filename)
    if not osp.isfile(path):
        raise CheckpointError(f'{path}: there is no such checkpoint file.')
    if path.endswith('.safetensors'):
        return _load_safetensors(path)
    try:
        with _safe_globals(_history_types()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_explain_refusal(path, str(error))) from error
    except (RuntimeError, EOFError, BadZipFile, IndexError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f'{path}: the checkpoint is damaged or cut off ({reason[0]}); '
            'copy or download it again.'
        ) from error


def _load_safetensors(path: str) -> dict:
    """The tensors, and what ``save_weights`` wrote beside them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'pt') as file:
            meta = json.loads((file.metadata() or {}).get('coavt_mm', '{}'))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return dict(state_dict=state, meta=meta)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f'{path}: the checkpoint is damaged or cut off ({error}); copy or download '
            'it again.'
        ) from error


def load_from_http(filename: str, map_location: Any = None) -> dict:
    """Download a checkpoint into torch hub's folder and read it safely.

    In a process group the first process downloads and the others wait for it.

    Args:
        filename (str): Address of the file.
        map_location (str or callable, optional): As of :func:`torch.load`.

    Returns:
        dict: The checkpoint.
    """
    import os
    from urllib.error import URLError
    from urllib.parse import urlparse

    from mmengine.dist import barrier, get_rank
    from torch import hub

    folder = osp.join(hub.get_dir(), 'checkpoints')
    path = osp.join(folder, osp.basename(urlparse(filename).path))
    try:
        if get_rank() == 0 and not osp.isfile(path):
            os.makedirs(folder, exist_ok=True)
            hub.download_url_to_file(filename, path, progress=False)
    except URLError as error:
        raise CheckpointError(f'{filename}: download failed ({error}).') from error
    barrier()
    return load_from_local(path, map_location)


def _explain_refusal(path: str, message: str) -> str:
    """Say in one line what the file asked for."""
    found = re.search(
        r'GLOBAL (\S+)|unrecognized function (.+?)(?: which|$)|(refused: .+)',
        message,
        re.MULTILINE,
    )
    if found is None:
        return (
            f'{path}: not a checkpoint, or damaged '
            f'({message.strip().splitlines()[-1]}); copy or download it again.'
        )
    asked = next(group for group in found.groups() if group).rstrip('.')
    return (
        f'{path}: refused, the file asks for `{asked}`, which could run code. A '
        'checkpoint of mmengine holds tensors, numbers and text only; load the '
        'weights where the file comes from and save its state_dict anew.'
    )


def _guarded_getattr(owner: Any, name: str) -> Callable:
    """``getattr`` for the statistics methods in HistoryBuffer's pickle, and no more."""
    from mmengine.logging import HistoryBuffer

    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'refused: getattr({owner!r}, {name!r})')


def _named(path: str, function: Callable) -> Callable:
    """A stand-in that torch's unpickler finds under another import path.

    torch >= 2.6 takes (function, path) pairs instead; 2.4 and 2.5 only read the
    attributes of the function, which works on all of them.
    """

    def stand_in(*args):
        return function(*args)

    stand_in.__module__, _, stand_in.__name__ = path.rpartition('.')
    stand_in.__qualname__ = stand_in.__name__
    return stand_in


def _history_types() -> list:
    """All that a HistoryBuffer, its arrays and numpy scalars are rebuilt from."""
    import numpy as np
    from mmengine.logging import HistoryBuffer

    scalar = np.float64(0).__reduce__()[0]
    reconstruct = np.zeros(0).__reduce__()[0]
    dtypes = [type(np.dtype(code)) for code in np.typecodes['AllInteger'] + '?efdgSU']
    renamed = [
        _named(f'numpy.{core}.multiarray.{name}', function)
        for core in ('core', '_core')
        for name, function in (('_reconstruct', reconstruct), ('scalar', scalar))
    ]
    getters = [
        _named(f'{builtins}.getattr', _guarded_getattr)
        for builtins in ('builtins', '__builtin__')
    ]
    return [HistoryBuffer, np.ndarray, np.dtype, *dtypes, *renamed, *getters]


@contextmanager
def _safe_globals(objects: list) -> Iterator[None]:
    """``torch.serialization.safe_globals`` (torch >= 2.5) that 2.4 has as well."""
    from torch import serialization

    before = list(serialization.get_safe_globals())  # 2.4 gives its own list
    serialization.add_safe_globals(objects)
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


# --------------------------------------------------------------------------------------
# Several processes without a GPU
# --------------------------------------------------------------------------------------
def init_cpu_process_group(cfg: Config) -> None:
    """Let ``--launcher pytorch`` work on a machine without an accelerator.

    mmengine 0.10.7 calls ``torch.cuda.set_device`` before it makes the process group
    ("Found no NVIDIA driver") and hands the local rank to DDP as a device. The group
    is made here with gloo, before the Runner, which then leaves it alone; DDP is told
    that there are no devices. Does nothing with a GPU or a single process.
    Unnecessary once mmengine's ``init_dist`` knows the CPU.

    Args:
        cfg (Config): Config with ``launcher``; ``model_wrapper_cfg`` is changed.

    Raises:
        ConfigError: If the launcher is another one than 'pytorch'.
    """
    from mmengine.device import get_device
    from mmengine.dist import is_distributed
    from torch import distributed

    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise ConfigError(
            f'--launcher {launcher} needs GPUs; on CPUs use --launcher pytorch '
            'through tools/dist_train.sh.'
        )
    if not is_distributed():
        distributed.init_process_group('gloo')
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)


# --------------------------------------------------------------------------------------
# Models of mmaction2 and mmpretrain
# --------------------------------------------------------------------------------------
class _Watch:
    """An import finder that finds nothing, but sees what is about to be imported."""

    names = ('mmaction.models', 'mmpretrain.models')

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Apply the cures once, just before one of ``names`` is imported."""
        if name in self.names and self in sys.meta_path:
            sys.meta_path.remove(self)
            prepare_openmmlab_models()


def watch_openmmlab_models() -> None:
    """Have the cures applied when mmaction2's or mmpretrain's models are imported.

    In a config of these packages ``custom_imports=dict(imports=['coavt_mm'])`` is all
    that a user writes, and their own tools run it; there is no other moment between
    that line and the import that fails. Who never imports their models gets no cure.
    """
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def prepare_openmmlab_models() -> None:
    """Make the models of mmaction2 and mmpretrain importable, their checkpoints too.

    Called before the first import of either, see :func:`watch_openmmlab_models`.
    Before torch 2.6 checkpoints are read as ever: there mmengine can.
    """
    import torch
    from mmengine.utils import digit_version

    _stub_missing_drn()
    _switch_off_broken_multimodal()
    if digit_version(torch.__version__) >= digit_version('2.6'):
        register_checkpoint_loader()


def _stub_missing_drn() -> None:
    """The wheel of mmaction2 1.2.0 lacks ``localizers/drn``, which it imports.

    A stub stands in, only while the real one is absent. Unnecessary with the first
    mmaction2 wheel after 1.2.0 that ships the folder.
    """
    name = 'mmaction.models.localizers.drn'
    package = find_spec('mmaction')
    if package is None or name in sys.modules:
        return
    folder = package.submodule_search_locations[0]
    if osp.isdir(osp.join(folder, 'models', 'localizers', 'drn')):
        return

    class DRN:
        """Placeholder of a localiser that is not in this wheel of mmaction2."""

        def __init__(self, *args, **kwargs):
            raise CoAVTError(
                'DRN is not part of the installed mmaction2 wheel; install mmaction2 '
                'from its repository to use it.'
            )

    stub, inner = ModuleType(name), ModuleType(f'{name}.drn')
    stub.drn, inner.DRN = inner, DRN
    sys.modules[name], sys.modules[f'{name}.drn'] = stub, inner


def _switch_off_broken_multimodal() -> None:
    """Switch off multimodal models that import names transformers no longer has.

    mmaction2 1.2.0 (vindlu) and mmpretrain 1.2.0 (BLIP, with pycocotools installed)
    import ``apply_chunking_to_forward`` from ``transformers.modeling_utils``, gone
    since 4.5x. Both packages read the switch when their models are first imported.
    Unnecessary once they import it from ``transformers.pytorch_utils``.
    """
    from transformers import modeling_utils

    if hasattr(modeling_utils, 'apply_chunking_to_forward'):
        return
    if find_spec('mmaction') is not None:
        from mmaction.utils import dependency as mmaction_dependency

        mmaction_dependency.WITH_MULTIMODAL = False
    if find_spec('mmpretrain') is not None:
        from mmpretrain.utils import dependency as mmpretrain_dependency

        mmpretrain_dependency.WITH_MULTIMODAL = False
