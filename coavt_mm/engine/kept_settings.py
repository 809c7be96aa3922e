"""Settings that a resumed run has from its checkpoint, whatever its config says."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.runner import Runner

# what moves while a run goes on, and how torch computes
_OF_GROUPS = {
    'params', 'lr', 'initial_lr', 'momentum', 'betas', 'capturable', 'differentiable',
    'foreach', 'fused', 'maximize', 'param_names',
}  # fmt: skip
_OF_SCHEDULES = {'last_step', '_global_step', '_last_value', 'verbose', 'param_name'}


def settings_of(optimizer: Any, schedules: Any) -> dict[str, list]:
    """Settings of an optimiser and its schedules, from their states.

    Args:
        optimizer: State of an optimiser, or of several by name.
        schedules: States of the schedules, or lists of them by optimiser.

    Returns:
        Dotted name -> values, of each group of parameters or of the schedule.
    """
    found: dict[str, list] = {}
    several = isinstance(schedules, Mapping)
    for name, states in schedules.items() if several else [('', schedules)]:
        for number, state in enumerate(states or ()):
            place = '.'.join(filter(None, ('param_scheduler', name, str(number))))
            for key, value in state.items():
                if key not in _OF_SCHEDULES:
                    found[f'{place}.{key}'] = value if type(value) is list else [value]
    for group in _groups(optimizer):
        for key in group.keys() - _OF_GROUPS:
            found.setdefault(f'optimizer.{key}', []).append(group[key])
    return found


def _groups(optimizer: Any) -> Iterator[Mapping]:
    if 'param_groups' in optimizer:
        yield from optimizer['param_groups']
    else:
        for state in optimizer.values():
            yield from state.get('param_groups', ())


def states_of(runner: Runner) -> tuple[Any, Any]:
    """States of a runner's optimiser and schedules, as a checkpoint has them.

    Args:
        runner: Its parts built.
    """
    plans: Any = runner.param_schedulers or []
    if isinstance(plans, dict):
        states: Any = {k: [x.state_dict() for x in v] for k, v in plans.items()}
    else:
        states = [plan.state_dict() for plan in plans]
    return runner.optim_wrapper.state_dict(), states


def say_kept(runner: Runner, asked: dict[str, list], kept: dict[str, list]) -> None:
    """Warn of settings that the checkpoint decides and the config has otherwise.

    Args:
        runner: That is resumed.
        asked: :func:`settings_of` the config.
        kept: Those of the checkpoint.
    """
    others = [
        f'{name} is {_told(kept[name])} (config: {_told(value)})'
        for name, value in asked.items()
        if name in kept and kept[name] != value
    ]
    if not others:
        return
    lasts = any(
        name.endswith('.end') for name in asked if kept.get(name) != asked[name]
    )
    runner.logger.warning(
        f'resumed with settings of the checkpoint, not of the config: '
        f'{", ".join(others)}. '
        + 'Behind the end of its schedules a rate stays as it is. '
        * lasts
        + 'To train on with those of the config, start anew from the weights: leave '
        'out --resume, and set load_from=CHECKPOINT'
    )


def _told(values: list) -> str:
    return '/'.join(dict.fromkeys(f'{value!r:.60}' for value in values))
