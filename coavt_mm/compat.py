"""Cures for what is broken between the versions of the libraries we stand on.

Every cure is a function that says what fails without it and which release makes it
unnecessary. Importing this module, or ``coavt_mm``, changes nothing in other libraries;
tools call what they need, and what mmaction2 and mmpretrain need is done when their
models are first imported. Nothing here replaces a method of another library's class,
and two functions of another library (:func:`register_checkpoint_loader`).
"""

import functools
import inspect
import os.path as osp
import sys
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from coavt_mm.checkpoint_files import load_from_http, load_from_local
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.training_log import plain_log

if TYPE_CHECKING:
    from mmengine.config import Config


# Packages of each group install the same module: the last has overwritten the others.
SAME_MODULE = (
    ('mmengine', 'onedl-mmengine'),
    ('mmpretrain', 'onedl-mmpretrain'),
    ('mmcv', 'mmcv-lite', 'onedl-mmcv'),
    ('decord', 'decord2'),
)


def version_of(package: str) -> str | None:
    """The version of an installed package, by the name that pip knows."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def conflicts() -> list[str]:
    """Say which packages are installed and overwrite each other, a line each."""
    groups = [[name for name in names if version_of(name)] for names in SAME_MODULE]
    return [
        f'{" and ".join(both)} are installed and overwrite each other: pip uninstall '
        f'{" ".join(both)}, then install one of them'
        for both in groups
        if len(both) > 1
    ]


def check_openmmlab() -> None:
    """Make sure that there is one MMEngine, one mmcv, one mmpretrain.

    The fork (``onedl-...``) has the same modules; over the original it leaves files of
    two releases side by side. Unnecessary once pip knows that packages exclude each
    other.

    Raises:
        CoAVTError: If the fork and the original are both installed, or no mmcv is.
    """
    for line in conflicts():
        if 'onedl-' in line:
            raise CoAVTError(line)
    check_mmcv()


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
# Options of this package by the names that they had in the release before
# --------------------------------------------------------------------------------------
def current_names(
    where: str, options: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    """Give options the names that they have now, and warn of old ones.

    Args:
        where: What takes them, for the message.
        options: Name -> value; None under an old name counts as not given.
        names: Old name -> new name.

    Returns:
        The options by their new names.

    Raises:
        ConfigError: If an option is given by both names.
    """
    found = {k: v for k, v in options.items() if k not in names}
    for old, new in names.items():
        if options.get(old) is None:
            continue
        if found.get(new) is not None:
            raise ConfigError(f'{where}: {old} is called {new} now; give {new} alone')
        warnings.warn(
            f'{where}: {old} is called {new} now, and {old} will go with the next '
            'release',
            FutureWarning,
            stacklevel=4,
        )
        found[new] = options[old]
    return found


def renamed(**names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a constructor take options by their old names, too, for one release.

    Args:
        names: Old name -> new name.
    """

    def decorate(init: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(init)
        def wrapper(self: Any, *args: Any, **options: Any) -> None:
            init(self, *args, **current_names(type(self).__name__, options, names))

        signature = inspect.signature(init)
        old = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Any
            )
            for name in names
        ]
        found = signature.replace(parameters=[*signature.parameters.values(), *old])
        vars(wrapper)['__signature__'] = found
        return wrapper

    return decorate


# --------------------------------------------------------------------------------------
# Checkpoints
# --------------------------------------------------------------------------------------
def register_checkpoint_loader() -> None:
    """Let mmengine read its own checkpoints, and no unsafe ones.

    mmengine 0.10.7 calls ``torch.load`` without ``weights_only``; torch 2.6 made True
    the default, which refuses the training log (``HistoryBuffer``) in every checkpoint
    that mmengine writes. Older torch, and downloads, would run whatever code a file
    holds. The loaders registered here keep ``weights_only=True`` and allow tensors,
    arrays, numbers and text; the log is written as such from now on, whichever hook
    saves. Unnecessary once mmengine stores its log as plain tensors and lists, passes
    ``weights_only`` itself, and no longer executes ``meta['config']`` when it resumes.

    The fork onedl-mmengine reads a file that is refused once more, with
    ``weights_only=False``, in the loaders that are not replaced here (s3, petrel,
    pavi). Its function for that is replaced by one that doesn't. Unnecessary once the
    fork has dropped it, as it says that it will.
    """
    from mmengine.runner import CheckpointLoader, checkpoint, runner

    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(
        ('http://', 'https://'), load_from_http, force=True
    )
    if hasattr(checkpoint, '_safe_torch_load'):
        vars(checkpoint)['_safe_torch_load'] = _load_weights_only
    vars(runner)['save_checkpoint'] = _save_plain_log


def _save_plain_log(checkpoint: dict, *args, **kwargs) -> None:
    """mmengine's ``save_checkpoint``, for whose ``Runner`` this stands in."""
    from mmengine.runner.checkpoint import save_checkpoint

    if 'message_hub' in checkpoint:
        hub = plain_log(checkpoint['message_hub'])
        checkpoint = {**checkpoint, 'message_hub': hub}
    save_checkpoint(checkpoint, *args, **kwargs)


def _load_weights_only(
    file: Any, map_location: Any = None, weights_only: bool | None = None
) -> Any:
    """What the fork's own loaders call, without its way round a refusal."""
    import torch

    return torch.load(file, map_location=map_location, weights_only=True)


# --------------------------------------------------------------------------------------
# Several processes without a GPU
# --------------------------------------------------------------------------------------
def init_cpu_process_group(cfg: 'Config') -> None:
    """Let ``--launcher pytorch`` work on a machine without an accelerator.

    mmengine 0.10.7 calls ``torch.cuda.set_device`` before it makes the process group
    ("Found no NVIDIA driver") and hands the local rank to DDP as a device. The group
    is made here with gloo, before the Runner, which then leaves it alone; DDP is told
    that there are no devices. Does nothing with a GPU or a single process.
    Unnecessary once mmengine's ``init_dist`` knows the CPU.

    Args:
        cfg: Config with ``launcher``; ``model_wrapper_cfg`` is changed.

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
            'under torchrun.'
        )
    if not is_distributed():
        limit = (cfg.get('env_cfg') or {}).get('dist_cfg', {}).get('timeout')
        wait = timedelta(seconds=limit) if limit else None
        distributed.init_process_group('gloo', timeout=wait)
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    if not wrapper.get('type', '').endswith('FSDP2'):
        wrapper = dict(wrapper, device_ids=None)
    cfg.model_wrapper_cfg = wrapper


# --------------------------------------------------------------------------------------
# Models of mmaction2 and mmpretrain
# --------------------------------------------------------------------------------------
def prepare_openmmlab_models() -> None:
    """Make the models of mmaction2 and mmpretrain importable, their checkpoints too.

    Called before the first import of either, see :mod:`coavt_mm.imports`.
    """
    _stub_missing_drn()
    _switch_off_broken_multimodal()
    register_checkpoint_loader()


def mmaction_beside_the_fork() -> ModuleSpec | None:
    """mmaction2 1.2.0 refuses mmcv 2.2 and later, which onedl-mmcv is.

    Its ``__init__`` asserts it, and has nothing else but a version, so it is not run
    where the fork is installed. Unnecessary once an mmaction2 takes that mmcv.

    Returns:
        How to import it; None leaves that to Python.
    """
    spec = find_spec('mmaction')
    if version_of('onedl-mmcv') is None or spec is None or spec.loader is None:
        return None

    def set_version(module: ModuleType) -> None:
        vars(module)['__version__'] = version_of('mmaction2')

    vars(spec.loader)['exec_module'] = set_version
    return spec


def _stub_missing_drn() -> None:
    """The wheel of mmaction2 1.2.0 lacks ``localizers/drn``, which it imports.

    A stub stands in, only while the real one is absent. Unnecessary with the first
    mmaction2 wheel after 1.2.0 that ships the folder.
    """
    name = 'mmaction.models.localizers.drn'
    package = find_spec('mmaction')
    if package is None or name in sys.modules:
        return
    folder = (package.submodule_search_locations or [''])[0]
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
    vars(stub)['drn'], vars(inner)['DRN'] = inner, DRN
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
