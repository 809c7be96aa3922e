"""A look at a whole run before it begins: all is built, read, and stepped through once.

Nothing is written into the work dir.
"""

import copy
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import coavt_mm
from coavt_mm import compat
from coavt_mm.cli.checks import check_inputs
from coavt_mm.cli.fit_checks import findings, wrong_picture
from coavt_mm.cli.launch import one_line
from coavt_mm.cli.run_parts import Finding, Parts, metrics_of
from coavt_mm.cli.setting_checks import wrong_settings
from coavt_mm.cli.texts import parts_of
from coavt_mm.datasets.random_states import random_state
from coavt_mm.engine.building import OF_VALUES
from coavt_mm.errors import CoAVTError
from coavt_mm.registry import DATASETS, HOOKS, METRICS, MODELS, PARAM_SCHEDULERS

SPLITS = ('train', 'val', 'test')
CLIPS = 10  # that are read of each split
_SLOW = 10.0  # s; of a shorter step a second one is timed


@dataclass
class Check:
    """What is found, and measured, of a config.

    Attributes:
        cfg: The config, which is changed: metrics write nothing.
        device: Where the step runs.
        found: So far, without repeats.
        left_out: Dotted paths of values that are wrong.
        built: Name of a part -> the part.
        seconds: Name -> time: 'step', 'val' (a clip), 'train' and so on (reading one).
        bytes: Name -> memory: weights, gradients, optimiser, activations, peak.
    """

    cfg: Config
    device: str = field(default_factory=get_device)
    found: list[Finding] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    built: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def add(self, text: str, kind: str = 'error') -> None:
        """Note a finding, once."""
        if text not in [finding.text for finding in self.found]:
            self.found.append(Finding(text, kind))

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Note what a block raises, and go on behind it.

        Args:
            what: It does, for the message of an error that nobody has foreseen.
        """
        try:
            yield
        except torch.cuda.OutOfMemoryError:
            self.add(f'{what}: the GPU has not enough memory; lower batch_size')
        except CoAVTError as error:
            self.add(one_line(error))
        except (OSError, *OF_VALUES) as error:
            if any(path.startswith(what) for path in self.left_out):
                return  # the value may be needed
            reason = ' '.join(f'{type(error).__name__}: {error}'.split())
            self.add(f'{what}: {reason}{_own_place(error)}')

    @property
    def failed(self) -> bool:
        """Whether a run can't go on, or gives less than is asked for."""
        return any(finding.kind != 'note' for finding in self.found)

    @property
    def parts(self) -> Parts:
        """What was built, for :func:`~.fit_checks.findings`."""
        return Parts(
            self.cfg,
            self.built.get('model'),
            self.built.get('train'),
            self.built.get('val'),
            metrics=metrics_of(self.cfg, 'val'),
        )


def _own_place(error: BaseException) -> str:
    """Where in a file of the user's an error came up, behind its message."""
    ours = str(Path(coavt_mm.__file__).parent)
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if 'site-packages' not in frame.filename
        and not frame.filename.startswith((ours, '<', sys.base_prefix))
    ]
    return f' ({own[-1].filename}:{own[-1].lineno})' if own else ''


def check_config(cfg: Config) -> Check:
    """Find all that is wrong with a config, and measure a step if nothing is.

    Args:
        cfg: A complete config with ``work_dir``, which need not be there.
    """
    check = Check(copy.deepcopy(cfg))
    _write_nothing(check.cfg)
    init_default_scope(cfg.get('default_scope', 'coavt_mm'))
    MMLogger.get_instance(f'check_{time.time_ns()}', log_level=logging.ERROR)
    with check.attempt('packages'):
        compat.check_openmmlab()
    _look(check)
    _build(check)
    for split in SPLITS:
        _read(check, split)
    if not check.failed and {'model', 'train', 'wrapper'} <= {*check.built}:
        with check.attempt('a training step'):
            _train(check)
    if not check.failed and {'model', 'val'} <= {*check.built}:
        with check.attempt('a validation batch'):
            _validate(check)
    return check


def _write_nothing(cfg: Config) -> None:
    for split in ('val', 'test'):
        kept = [
            metric
            for metric in metrics_of(cfg, split)
            if str(metric.get('type')).rpartition('.')[2] != 'DumpResults'
        ]
        for metric in kept:
            for key in ('out_dir', 'out_file', 'features_file', 'plots'):
                metric.pop(key, None)
        if cfg.get(f'{split}_evaluator') is not None:
            cfg[f'{split}_evaluator'] = kept


def _look(check: Check) -> None:
    """Settings and files, before anything is built."""
    cfg = check.cfg
    for path, text in wrong_settings(cfg).items():
        check.add(text)
        check.left_out.add(path)
        _leave_out(cfg, path)
    for split in SPLITS:
        name = f'{split}_dataloader'
        if isinstance(cfg.get(name), dict):
            part = Config({**cfg, 'load_from': None})
            with check.attempt(name):
                check_inputs(part, [name], None)
    with check.attempt('load_from'):
        check_inputs(cfg, [], None)


def _leave_out(cfg: Any, path: str) -> None:
    """Let a wrong value be its class's default, to see what else is wrong."""
    *places, last = path.split('.')
    node = cfg
    for place in places:
        node = node[int(place)] if isinstance(node, list | tuple) else node[place]
    if last in node:  # it may lack what it needs
        del node[last]


# --------------------------------------------------------------------------------------
# Parts
# --------------------------------------------------------------------------------------
def _build(check: Check) -> None:
    """Each part by itself, so that one that fails hides none of the others."""
    cfg = check.cfg
    if cfg.get('model') is not None:
        with check.attempt('model'):
            model = MODELS.build(cfg.model)
            model.init_weights()
            check.built['model'] = model.to(check.device)
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        if isinstance(loader, dict):
            with check.attempt(f'{split}_dataloader.dataset'):
                dataset = DATASETS.build(loader['dataset'])
                if hasattr(dataset, 'full_init'):
                    dataset.full_init()
                check.built[split] = dataset
        for metric in metrics_of(cfg, split) if split != 'train' else ():
            with check.attempt(f'{split}_evaluator'):
                METRICS.build(metric)
    _build_training(check)
    for finding in findings(check.parts):
        check.add(*finding)


def _build_training(check: Check) -> None:
    cfg, model = check.cfg, check.built.get('model')
    default = cfg.get('default_hooks') or {}
    for hook in (*default.values(), *(cfg.get('custom_hooks') or ())):
        if isinstance(hook, dict):
            with check.attempt(f'hook {hook.get("type")}'):
                given = {k: v for k, v in hook.items() if k != 'priority'}
                HOOKS.build(given)
    if model is None or not cfg.get('optim_wrapper'):
        return
    with check.attempt('optim_wrapper'):
        wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
        check.built['wrapper'] = wrapper
        plans = cfg.get('param_scheduler') or []
        for plan in [plans] if isinstance(plans, dict) else plans:
            with check.attempt('param_scheduler'):
                if not plan.get('convert_to_iter_based'):
                    copied = build_optim_wrapper(
                        model, copy.deepcopy(cfg.optim_wrapper)
                    )
                    PARAM_SCHEDULERS.build(dict(plan, optimizer=copied))


# --------------------------------------------------------------------------------------
# Clips
# --------------------------------------------------------------------------------------
def _read(check: Check, split: str) -> None:
    """Ten clips of a data set, or of each that it is made of, evenly spread."""
    for part in parts_of(check.built.get(split)):
        if part is None or not len(part):
            continue
        number = min(CLIPS, len(part))
        places = [i * (len(part) - 1) // max(number - 1, 1) for i in range(number)]
        skips = split == 'train' and getattr(part, 'on_error', 'raise') == 'skip'
        since, failed = time.perf_counter(), 0
        for place in places:
            before, sample = len(check.found), None
            with check.attempt(f'{split}, clip {place}'), random_state(0):
                read = getattr(part, 'prepare_data', part.__getitem__)
                sample = read(place)
            if len(check.found) > before:
                failed += 1
                if skips:
                    text = check.found.pop().text
                    check.add(f'{text}; in training another is drawn', 'note')
            _look_at_picture(check, split, sample)
        check.seconds[split] = (time.perf_counter() - since) / number
        if not failed and _keeps(part):
            since = time.perf_counter()
            with random_state(0):
                for place in places:
                    part.prepare_data(place)
            check.seconds[f'{split}_kept'] = (time.perf_counter() - since) / number
        if skips and 2 * failed > number:
            check.add(
                f'{split}: {failed} of {number} clips can not be read; training ends '
                f'at more than max_bad_share={part.max_bad_share:g}'
            )


def _keeps(dataset: Any) -> bool:
    """Whether what it decodes stays in memory."""
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    return any(getattr(step, 'kept', None) for step in steps)


def _look_at_picture(check: Check, split: str, sample: Any) -> None:
    encoder = getattr(check.built.get('model'), 'av_encoder', None)
    side = getattr(encoder, 'img_size', None)
    inputs = sample.get('inputs') if isinstance(sample, dict) else None
    frames = inputs.get('frames') if isinstance(inputs, dict) else None
    if side and torch.is_tensor(frames) and {*frames.shape[-2:]} != {side}:
        height, width = frames.shape[-2:]
        check.add(wrong_picture(split, (height, width), side))


def _loader(check: Check, split: str) -> Any:
    """A loader as a run has it, that loads here, the data set as it is."""
    given = {
        key: value
        for key, value in check.cfg[f'{split}_dataloader'].items()
        if key not in ('persistent_workers', 'prefetch_factor', 'timeout', 'pin_memory',
                       'multiprocessing_context', 'num_batch_per_epoch')
    }  # fmt: skip
    given |= dict(dataset=check.built[split], num_workers=0)
    sampler = dict(given.get('sampler') or {})
    sampler.pop('curriculum', None)  # a stage may leave losses out
    given['sampler'] = sampler
    return Runner.build_dataloader(copy.copy(given), seed=0)


# --------------------------------------------------------------------------------------
# Steps
# --------------------------------------------------------------------------------------
def _train(check: Check) -> None:
    """A training step, and a second one for the time if the first was short."""
    model, wrapper = check.built['model'].train(), check.built['wrapper']
    batch = next(iter(_loader(check, 'train')))
    saved: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        check.seconds['step'] = _timed_step(check, model, batch, wrapper)
    if check.seconds['step'] < _SLOW:
        check.seconds['step'] = _timed_step(check, model, batch, wrapper)
    trained = [p for p in model.parameters() if p.requires_grad]
    states = [
        value
        for state in wrapper.optimizer.state.values()
        for value in state.values()
        if torch.is_tensor(value)
    ]
    check.bytes = {
        'weights': _size([*model.parameters(), *model.buffers()]),
        'gradients': _size(trained),
        'optimiser': _size(states),
        'activations': sum(saved.values()),
    }
    if check.device == 'cuda':
        check.bytes['peak'] = torch.cuda.max_memory_reserved()


def _timed_step(check: Check, model: Any, batch: Any, wrapper: Any) -> float:
    since = time.perf_counter()
    values = model.train_step(copy.copy(batch), wrapper)
    for name, value in values.items():
        if not torch.as_tensor(value).isfinite().all():
            check.add(f'a training step: {name} is {float(value)}')
    return time.perf_counter() - since  # reading the values waited for the device


def _size(tensors: Sequence[torch.Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)


def _validate(check: Check) -> None:
    """A batch through the model and all metrics."""
    model, dataset = check.built['model'].eval(), check.built['val']
    batch = next(iter(_loader(check, 'val')))
    metrics = [METRICS.build(metric) for metric in metrics_of(check.cfg, 'val')]
    for metric in metrics:
        metric.dataset_meta = getattr(dataset, 'metainfo', None)
        if hasattr(metric, 'model'):
            metric.model = model
        if getattr(metric, 'needs_tokens', False) and hasattr(model, 'test_cfg'):
            model.test_cfg['keep_tokens'] = True
    since = time.perf_counter()
    with torch.no_grad():
        outputs = model.val_step(copy.copy(batch))
    check.seconds['val_step'] = (time.perf_counter() - since) / max(len(outputs), 1)
    samples = [x.to_dict() if hasattr(x, 'to_dict') else x for x in outputs]
    numbers: dict[str, float] = {}
    for metric in metrics:
        metric.process(batch, samples)
        numbers |= metric.evaluate(len(samples))
    _compare_best(check, numbers)


def _compare_best(check: Check, numbers: dict[str, float]) -> None:
    saving = (check.cfg.get('default_hooks') or {}).get('checkpoint') or {}
    wanted = saving.get('save_best')
    known = any('checkpoint.save_best' in finding.text for finding in check.found)
    for name in [wanted] if isinstance(wanted, str) else wanted or ():
        if name not in (*numbers, 'auto') and not known:
            check.add(
                f'default_hooks.checkpoint.save_best={name!r} is no number of the '
                f'validation; there are {", ".join(numbers)}',
                'loss',
            )
