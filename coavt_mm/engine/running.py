"""From a config to a Runner: its work dir, where it goes on from, what it may read."""

import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from operator import attrgetter
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from coavt_mm import compat
from coavt_mm.config import check_writable
from coavt_mm.engine.building import built_of, naming_settings
from coavt_mm.engine.choosing import last_checkpoint
from coavt_mm.engine.dead_workers import leave_out_noted, naming_what_was_read
from coavt_mm.engine.deepspeed import follow_recipe
from coavt_mm.engine.ranks import agree_on_start, check_shared_folder
from coavt_mm.engine.screen import quieten
from coavt_mm.engine.sharding import add_hooks, is_sharded, sharded_model
from coavt_mm.engine.stopping import shield_worker
from coavt_mm.engine.weights import bare_model
from coavt_mm.errors import ConfigError

# what torch refuses in a DataLoader that has no worker processes
_OF_WORKERS = (
    'persistent_workers',
    'prefetch_factor',
    'timeout',
    'multiprocessing_context',
)

#: Of ``default_hooks``, those that mmengine has unless they are None.
_MMENGINE_HOOKS = {
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
}


def set_resume(cfg: Config, resume: str | None) -> None:
    """Say which checkpoint the Runner goes on from.

    With 'auto' and no checkpoint in the work dir the run starts anew and the config's
    ``load_from`` stays in force, so that a job may be started with ``--resume`` always.

    Args:
        cfg: The config, with ``work_dir``; ``resume`` and ``load_from`` are
            set.
        resume: None (change nothing), 'auto' or a path.

    Raises:
        CheckpointError: If there are checkpoints in the work dir, and none can be read.
    """
    if resume is None:
        return
    if resume == 'auto':
        resume = last_checkpoint(cfg.work_dir)
    if resume is not None:
        cfg.resume, cfg.load_from = True, resume


class DataFirst:
    """A Runner's, for which data are opened before the model is built.

    So a fault of theirs is said before anything heavy is done.
    """

    opens: Sequence[str] = ()

    def build_logger(self: Any, *args, **kwargs) -> MMLogger:
        """mmengine's, with a quiet screen."""
        logger = super().build_logger(*args, **kwargs)  # type: ignore[misc]
        quieten(logger)
        return logger

    def build_visualizer(self: Any, visualizer: Any = None) -> Visualizer:
        """mmengine's; the curves of a training lie in its work dir, once.

        In the work dir a resumed run goes on with them.
        """
        if 'train_dataloader' in self.opens and isinstance(visualizer, dict | None):
            given = visualizer or dict(
                type='mmengine.Visualizer', vis_backends=[dict(type='LocalVisBackend')]
            )
            # mmengine would take the one of a run that this process began in the same
            # second
            own = dict(name=f'{self.experiment_name}_{time.time_ns()}')
            visualizer = {**own, 'save_dir': self.work_dir, **given}
        return super().build_visualizer(visualizer)  # type: ignore[misc]

    def build_model(self: Any, model: Any) -> Any:
        """Build the loaders that ``opens`` names, then the model."""
        diff_rank_seed = self._randomness_cfg.get('diff_rank_seed', False)
        for name in self.opens:
            loader = getattr(self, f'_{name}')
            if isinstance(loader, dict):
                with built_of(name):
                    built = self.build_dataloader(loader, self.seed, diff_rank_seed)
                built.worker_init_fn = partial(shield_worker, built.worker_init_fn)
                setattr(self, f'_{name}', built)
        return super().build_model(model)  # type: ignore[misc]

    def wrap_model(self: Any, model_wrapper_cfg: dict | None, model: Any) -> Any:
        """mmengine's, which knows FSDP2, too."""
        options = {**(model_wrapper_cfg or {})}
        kind = str(options.pop('type', 'MMDistributedDataParallel')).split('.')[-1]
        if kind == 'FSDP2':
            return sharded_model(self, options, model)
        if model_wrapper_cfg and kind in ('DDP', 'MMDistributedDataParallel'):
            if kind == 'DDP':
                model_wrapper_cfg['type'] = 'coavt_mm.DDP'
            unused = self.cfg.get('find_unused_parameters', False)  # as without one
            model_wrapper_cfg.setdefault('find_unused_parameters', unused)
        return super().wrap_model(model_wrapper_cfg, model)  # type: ignore[misc]

    def _init_model_weights(self: Any) -> None:
        """mmengine's; a sharded model has its weights already."""
        if not is_sharded(self.model):
            super()._init_model_weights()  # type: ignore[misc]

    def train(self: Any) -> Any:
        """mmengine's; clips over which a worker dies are said, and left out then on."""
        leave_out_noted(self)
        with naming_what_was_read(self):
            return super().train()  # type: ignore[misc]

    def test(self: Any) -> Any:
        """mmengine's; clips over which a worker dies are said, and left out then on."""
        leave_out_noted(self)
        with naming_what_was_read(self):
            return super().test()  # type: ignore[misc]

    def load_or_resume(self: Any) -> None:
        """mmengine's, which prints on every process what the log says, too."""
        with redirect_stdout(StringIO()) as said:
            super().load_or_resume()  # type: ignore[misc]
        for line in said.getvalue().splitlines():
            if not line.startswith('Loads checkpoint by'):
                print(line)


def build_runner(cfg: Config, opens: Sequence[str] = ()) -> Runner:
    """Build the Runner of a config, with the cures that the versions here need.

    Args:
        cfg: A complete config, with ``work_dir`` and ``launcher``.
        opens: Loaders that are built before the model, such as 'test_dataloader'.

    Returns:
        The runner.

    Raises:
        CoAVTError: If packages are installed that overwrite each other, or no mmcv is.
        ConfigError: If ``load_from`` is an address of a kind that is not read safely,
            or nothing can be written to the work dir.
    """
    compat.check_openmmlab()
    compat.register_checkpoint_loader()
    if cfg.get('resume') and not cfg.get('load_from'):
        set_resume(cfg, 'auto')  # mmengine would open whatever the note names
    _check_source(cfg.get('load_from'))
    follow_recipe(cfg)
    check_writable(cfg.work_dir)
    _take_own(cfg)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if isinstance(loader, dict) and not loader.get('num_workers'):
            for key in _OF_WORKERS:
                loader.pop(key, None)
        if isinstance(loader, dict) and get_device() == 'cpu':
            loader.pop('pin_memory', None)  # torch would warn: nothing needs it
    compat.init_cpu_process_group(cfg)
    compiled = cfg.pop('compile', False)
    kind: Any = cfg.get('runner_type', 'Runner')
    kind = RUNNERS.get(kind) if isinstance(kind, str) else kind
    if kind is None:
        raise ConfigError(f'runner_type={cfg.runner_type!r}: there is no such Runner')
    if issubclass(kind, Runner):
        bases = (DataFirst, naming_settings(kind))
        kind = type(kind.__name__, bases, dict(opens=opens))
    with built_of('config'):
        runner = kind.from_cfg(cfg)
    for key in ('activation_checkpointing', 'efficient_conv_bn_eval'):
        for name in cfg.get(key) or ():
            with built_of(key):
                attrgetter(name)(bare_model(runner))
    if compiled:
        _compile(runner, compiled if isinstance(compiled, dict) else {})
    agree_on_start(runner)
    check_shared_folder()
    add_hooks(runner)
    return runner


def _take_own(cfg: Config) -> None:
    """Put our variants of mmengine's parts into configs of other scopes, too."""
    hooks = cfg.get('default_hooks') or {}
    for name in {n for n, hook in hooks.items() if hook is None} - _MMENGINE_HOOKS:
        del hooks[name]  # mmengine leaves out its own only
    saving = hooks.get('checkpoint') or {}
    for part, name in (
        (saving, 'CheckpointHook'),
        (cfg.get('optim_wrapper') or {}, 'OptimWrapper'),
    ):
        if part.get('type') in (name, f'mmengine.{name}'):
            part['type'] = f'coavt_mm.{name}'
    for key, name in (('val_cfg', 'ValLoop'), ('test_cfg', 'TestLoop')):
        loop = cfg.get(key)
        names = (name, f'mmengine.{name}')
        if isinstance(loop, dict) and loop.get('type', name) in names:
            loop['type'] = f'coavt_mm.{name}'


def _compile(runner: Runner, options: dict) -> None:
    """Compile the losses; mmengine would the whole step, with copies and optimiser."""
    model: Any = bare_model(runner)
    if not hasattr(model, 'compile_losses'):
        raise ConfigError(
            f'compile: {type(model).__name__} has no compile_losses; leave it out'
        )
    model.compile_losses(**options)
    runner.logger.info('the first step compiles the losses, which takes minutes')


def _check_source(load_from: str | None) -> None:
    """mmengine's own readers of other addresses would trust the file."""
    load_from = load_from or ''
    if '://' in load_from and not load_from.startswith(('http://', 'https://')):
        raise ConfigError(
            f'{load_from}: checkpoints are read from disk, http:// and https://; copy '
            'it here first'
        )
