"""What changes during a run by plan: learning rates, and the stages of a curriculum.

Nothing is trained: schedulers step over an optimiser of a model without memory.
"""

import warnings
from collections.abc import Iterator
from itertools import product

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope

from coavt_mm.datasets.curriculum import Curriculum
from coavt_mm.errors import ConfigError
from coavt_mm.registry import DATASETS, MODELS, PARAM_SCHEDULERS
from coavt_mm.visualization.curves import Panel

_GROUP_KEYS = {'lr': 'lr', 'wd': 'weight_decay', 'momentum': 'momentum'}
_POINTS = 2000  # of a curve


def run_length(cfg: Config, size: int | None, processes: int = 1) -> tuple[int, int]:
    """Count iterations.

    Args:
        cfg: The config.
        size: Clips in the training set; None builds the data set and counts.
        processes: GPUs of the run.

    Returns:
        Iterations of the run, and those of an epoch of the data.

    Raises:
        ConfigError: If the config trains nothing.
    """
    loop, loader = cfg.get('train_cfg'), cfg.get('train_dataloader')
    if not loop or not loader:
        raise ConfigError('the config has no train_cfg or no train_dataloader')
    if size is None:
        size = len(DATASETS.build(loader.dataset))
    epoch = max(-(-size // (loader.batch_size * processes)), 1)
    epochs = loop.get('max_epochs')
    return (loop.max_iters if epochs is None else epochs * epoch), epoch


def planned_panels(
    cfg: Config, parameter: str = 'lr', size: int | None = None, processes: int = 1
) -> list[Panel]:
    """Find all that the config changes by plan.

    Args:
        cfg: The config.
        parameter: Of the optimiser: 'lr', 'wd' or 'momentum'.
        size: Clips in the training set; None builds the data set and counts.
        processes: GPUs of the run.

    Returns:
        The parameter, one curve for each course that groups of tensors take; then
        caption weights, loss weights, group sizes and hardness of the curriculum.
    """
    init_default_scope(cfg.get('default_scope', 'coavt_mm'))
    iters, epoch = run_length(cfg, size, processes)
    lines = _optimiser_lines(cfg, parameter, iters, epoch, processes)
    return [Panel(parameter, lines), *_curriculum_panels(cfg, iters, epoch)]


def _optimiser_lines(
    cfg: Config, parameter: str, iters: int, epoch: int, processes: int
) -> dict[str, tuple[list[int], list[float]]]:
    wrapper = _optimiser(cfg, processes)
    groups = _distinct_groups(wrapper)
    schedulers = _schedulers(cfg, wrapper, epoch)
    step = max(iters // _POINTS, 1)
    places: list[int] = []
    values: list[list[float]] = [[] for _ in groups]
    for i in range(iters):
        if i % step == 0 or i == iters - 1:
            places.append(i)
            for group, course in zip(
                wrapper.optimizer.param_groups, values, strict=True
            ):
                course.append(_value(group, parameter))
        _step(schedulers, ends_epoch=(i + 1) % epoch == 0)
    named: dict[str, tuple[list[int], list[float]]] = {}
    for tensors, course in zip(groups, values, strict=True):
        label = f'{tensors} tensors, {course[0]:.3g} to {course[-1]:.3g}'
        named.setdefault(label, (places, course))
    return named


def _step(schedulers: list, ends_epoch: bool) -> None:
    with warnings.catch_warnings():  # that the optimiser has not stepped
        warnings.filterwarnings('ignore', 'Detected call of `scheduler.step')
        for scheduler in schedulers:
            if not scheduler.by_epoch or ends_epoch:
                scheduler.step()


def _optimiser(cfg: Config, processes: int) -> OptimWrapper:
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    wrapper_cfg = {k: v for k, v in cfg.optim_wrapper.items() if k != 'loss_scale'}
    wrapper = build_optim_wrapper(model, Config(wrapper_cfg)._cfg_dict)
    scaling = cfg.get('auto_scale_lr') or {}
    if scaling.get('enable'):
        batch = cfg.train_dataloader.batch_size * processes
        for group in wrapper.param_groups:
            group['lr'] *= batch / scaling['base_batch_size']
    return wrapper


def _distinct_groups(wrapper: OptimWrapper) -> list[int]:
    """Keep one group of those with equal settings; returns their tensors' counts."""
    distinct: dict[tuple, list] = {}
    for group in wrapper.optimizer.param_groups:
        settings = tuple(_value(group, name) for name in _GROUP_KEYS)
        found = distinct.setdefault(settings, [group, 0])
        found[1] += len(group['params'])
    wrapper.optimizer.param_groups[:] = [group for group, _ in distinct.values()]
    return [count for _, count in distinct.values()]


def _value(group: dict, parameter: str) -> float:
    if parameter == 'momentum' and 'momentum' not in group:
        return float(group.get('betas', (0.0,))[0])
    return float(group[_GROUP_KEYS[parameter]])


def _schedulers(cfg: Config, wrapper: OptimWrapper, epoch: int) -> list:
    planned = cfg.get('param_scheduler') or []
    built = []
    for plan in [planned] if isinstance(planned, dict) else planned:
        plan = dict(plan)
        if plan.pop('convert_to_iter_based', False):
            cls = PARAM_SCHEDULERS.get(plan.pop('type'))
            built.append(
                cls.build_iter_from_epoch(optimizer=wrapper, epoch_length=epoch, **plan)
            )
        else:
            built.append(PARAM_SCHEDULERS.build(dict(plan, optimizer=wrapper)))
    return built


def _curriculum_panels(cfg: Config, iters: int, epoch: int) -> list[Panel]:
    """Panels of what the stages set; empty without a curriculum."""
    sampler = cfg.train_dataloader.get('sampler') or {}
    curriculum = Curriculum(sampler.get('curriculum') or ())
    if not curriculum.stages:
        return []
    places = [*range(0, iters, max(iters // _POINTS, 1))]
    courses: dict[str, dict[str, list[float]]] = {}
    for count, place in enumerate(places):
        for panel, label, value in _settings(curriculum, place / epoch):
            lines = courses.setdefault(panel, {})
            course = lines.setdefault(label, [])
            course += [float('nan')] * (count - len(course)) + [value]
    return [
        Panel(
            name,
            {
                label: (places, course + [float('nan')] * (len(places) - len(course)))
                for label, course in lines.items()
            },
        )
        for name, lines in courses.items()
    ]


def _settings(curriculum: Curriculum, epoch: float) -> Iterator[tuple[str, str, float]]:
    """Panel, label and value of what is set at a time in epochs."""
    stage = curriculum.stage(epoch)
    yield 'stage', 'number', curriculum.index(epoch)
    for field, weight in stage.get('captions', {}).items():
        yield 'weight of captions', field, weight
    for head, stream in product(stage.get('weights', {}), stage.get('streams', ())):
        yield 'weight of losses', f'{head}, {stream}', stage['weights'][head]
    if 'group_size' in stage:
        yield 'group size', 'clips', stage['group_size']
    hardness = curriculum.hardness(epoch)
    if hardness is not None:
        yield 'hardness', 'of negatives', hardness
