"""Options of ``tools/train.py`` and ``tools/test.py`` that change a config."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from coavt_mm.checkpoint_files import names_peer
from coavt_mm.errors import ConfigError

_AMP = ('AmpOptimWrapper', 'BF16OptimWrapper')
_PICKLES = ('.pkl', '.pickle')


def use_amp(cfg: Config) -> None:
    """Train in bf16 mixed precision, unless the config has a mixed precision already.

    Args:
        cfg: The config; ``optim_wrapper.type`` is set.

    Raises:
        ConfigError: If the config has another kind of wrapper.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    name = wrapper.get('type', 'OptimWrapper')
    name = name if isinstance(name, str) else name.__name__
    name = name.rpartition('.')[2]
    if name in _AMP:
        return
    if name != 'OptimWrapper':
        raise ConfigError(
            f'--amp: the config has optim_wrapper.type={name}; mixed precision takes '
            f"OptimWrapper's place, or name one of {', '.join(_AMP)} in the config"
        )
    cfg.merge_from_dict({'optim_wrapper.type': 'coavt_mm.BF16OptimWrapper'})


def skip_validation(cfg: Config) -> None:
    """Train without validation; no checkpoint is then the best one.

    Args:
        cfg: The config; loader, loop and metrics of the validation are taken out.
    """
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    saving: Any = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if saving.get('save_best'):
        saving.save_best = None


def scale_lr(cfg: Config) -> None:
    """Scale the learning rate by the batch of all processes over the config's own.

    Args:
        cfg: The config; ``auto_scale_lr.enable`` is set.

    Raises:
        ConfigError: If the config doesn't say what batch its rate is for.
    """
    scaling = cfg.get('auto_scale_lr') or {}
    if not scaling.get('base_batch_size'):
        raise ConfigError(
            '--auto-scale-lr: the config does not say for how many clips of all '
            'processes its learning rate is; add e.g. '
            '--cfg-options auto_scale_lr.base_batch_size=256'
        )
    cfg.auto_scale_lr = ConfigDict(scaling, enable=True)


def make_deterministic(cfg: Config) -> None:
    """Allow deterministic kernels only; an operation without one is an error.

    Args:
        cfg: The config; ``randomness.deterministic`` is set.
    """
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # as cuBLAS asks
    cfg.randomness = ConfigDict(cfg.get('randomness') or {}, deterministic=True)


def dump_results(cfg: Config, path: str) -> None:
    """Write what the model predicts for each clip to a pickle file, beside the metrics.

    Args:
        cfg: The config; ``test_evaluator`` gets one entry more.
        path: The file to write.

    Raises:
        ConfigError: If its name is not that of a pickle file.
    """
    if Path(path).suffix not in _PICKLES:
        raise ConfigError(
            f'--dump {path}: the name must end with {" or ".join(_PICKLES)}'
        )
    metrics = _metrics(cfg)
    dump = ConfigDict(type='mmengine.DumpResults', out_file_path=path)
    cfg.test_evaluator = [*metrics, dump]


def _metrics(cfg: Config) -> list[dict]:
    metrics = cfg.get('test_evaluator') or []
    return [metrics] if isinstance(metrics, dict) else [*metrics]


def write_results_to(cfg: Config, work_dir: str, settings: Collection[str]) -> None:
    """Let tables and plots go where ``--work-dir`` says, not where the config does.

    Tests of several checkpoints by one config would write over each other's.

    Args:
        cfg: The config; ``out_dir`` and ``out_file`` of ``test_evaluator`` are set.
        work_dir: The folder.
        settings: Keys of ``--cfg-options``; what they name stays.
    """
    said = {key.rpartition('.')[2] for key in settings}
    folders = {metric['out_dir'] for metric in _metrics(cfg) if metric.get('out_dir')}
    for metric in _metrics(cfg):
        if metric.get('out_dir') and 'out_dir' not in said:
            own = Path(metric['out_dir']).name if len(folders) > 1 else ''
            metric['out_dir'] = str(Path(work_dir) / own)
        if metric.get('out_file') and not said & {'out_dir', 'out_file'}:
            metric['out_file'] = str(Path(work_dir) / Path(metric['out_file']).name)


def set_tested(cfg: Config, checkpoint: str) -> None:
    """Say whose weights are tested.

    Args:
        cfg: The config; ``load_from`` is set, or ``model.path`` of a peer.
        checkpoint: A file or an address; of a peer its folder or hub id.

    Raises:
        ConfigError: The config is for the other kind.
    """
    kind = str((cfg.get('model') or {}).get('type')).rpartition('.')[2]
    is_peer = names_peer(checkpoint)
    if is_peer != (kind == 'PeerEncoder'):
        what = 'a folder or hub id' if is_peer else 'a checkpoint file'
        raise ConfigError(
            f'{checkpoint} is {what}, and the model of this config a {kind}: models of '
            'others are tested with configs/peers, and with no other'
        )
    cfg.load_from, cfg.resume = None if is_peer else checkpoint, False
    if is_peer:
        cfg.model.path = checkpoint
