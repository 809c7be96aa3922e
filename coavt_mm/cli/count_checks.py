"""Counts of a run that make no sense: steps, intervals, batches, schedules."""

from collections.abc import Iterator, Mapping
from typing import Any

from coavt_mm.class_sources import arguments_of
from coavt_mm.config_variables import dicts_in

#: Place of a dictionary, or the begin of it -> its counts, and the least of each.
LEAST_OF_PLACE: dict[str, dict[str, int]] = {
    'auto_scale_lr': dict(base_batch_size=1),
    'custom_hooks': dict(interval=1, interval_exp_name=1),
    'default_hooks': dict(interval=1, interval_exp_name=1, save_begin=0),
    'log_processor': dict(window_size=1),
    'optim_wrapper': dict(accumulative_counts=1),
    'param_scheduler': dict(
        begin=0, cooldown=0, end=1, milestones=0, patience=0, periods=1, step_size=1,
        T_max=1, total_steps=1,
    ),
    'train_cfg': dict(max_epochs=1, max_iters=1, val_begin=0, val_interval=1),
}  # fmt: skip
_LOADER = dict(batch_size=1, num_workers=0, prefetch_factor=1, num_batch_per_epoch=1)
LEAST_OF_PLACE |= {f'{split}_dataloader': _LOADER for split in ('train', 'val', 'test')}
#: How deep below their place the dictionaries lie that have them.
DEPTHS = dict(custom_hooks=1, default_hooks=1, param_scheduler=2)
#: Counts of checkpoints -> what -1 means.
_NEVER = {'interval': 'never', 'max_keep_ckpts': 'all'}
_LISTS = ('milestones', 'periods')
_BEGINNINGS = ('warmup_iters', 'decay_from')  # a config's variables
#: Schedule -> what tells its length; without it it is a billion steps long.
_LENGTHS = {
    'CosineAnnealing': ('T_max', 'end'),
    'Linear': ('end',),
    'OneCycle': ('total_steps', 'end'),
    'Poly': ('end',),
}
_KINDS = ('LR', 'Momentum', 'ParamScheduler')


def wrong_counts(cfg: Any) -> dict[str, str]:
    """Find counts that are too small, and schedules that end before they begin.

    Args:
        cfg: The config.

    Returns:
        Dotted path of the value -> a line on what is wrong.
    """
    found: dict[str, str] = {}
    scope = cfg.get('default_scope', 'mmengine')
    for place, least in LEAST_OF_PLACE.items():
        depth = DEPTHS.get(place, 0)
        for path, node in dicts_in(cfg.get(place), place):
            if path.count('.') <= depth:
                found.update(_of_counts(path, node, least, scope))
            if place == 'param_scheduler' and isinstance(node.get('type'), str):
                found.update(_of_schedule(path, node, cfg))
    loop = cfg.get('train_cfg') or {}
    for pair in loop.get('dynamic_intervals') or ():
        found.update(_of_pair('train_cfg.dynamic_intervals', pair))
    return found


def _of_counts(
    path: str, node: Mapping, least: Mapping[str, int], scope: str
) -> Iterator[tuple[str, str]]:
    kind = str(node.get('type'))
    saves = kind.endswith('CheckpointHook')
    is_foreign = 'hooks.' in path and arguments_of(kind, scope) is None
    for name, value in node.items():
        place = f'{path}.{name}'
        if is_foreign and value == -1:  # never, perhaps
            continue
        if saves and name in _NEVER:
            if value != -1 and not _is_count(value, 1):
                yield (
                    place,
                    f'{place}={value!r}: must be a whole number, 1 or more, or -1 '
                    f'({_NEVER[name]})',
                )
        elif name in least and value is not None:
            several = name in _LISTS and isinstance(value, list | tuple)
            numbers = value if several else [value]
            if not all(_is_count(x, least[name]) for x in numbers):
                yield place, _told(place, value, least[name])


def _of_pair(path: str, pair: Any) -> Iterator[tuple[str, str]]:
    """When an interval of validation begins, and the interval."""
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        yield path, f'{path}={pair!r}: must be (step, interval from there on)'
    elif not (_is_count(pair[0], 0) and _is_count(pair[1], 1)):
        yield path, _told(path, pair, 1)


def _told(place: str, value: Any, least: int) -> str:
    return f'{place}={value!r}: must be a whole number, {least} or more'


def _is_count(value: Any, least: int) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and value % 1 == 0 and value >= least


def _of_schedule(path: str, node: Mapping, cfg: Mapping) -> Iterator[tuple[str, str]]:
    begin: Any = node.get('begin') or 0
    end: Any = node.get('end')
    if _is_count(begin, 0) and _is_count(end, 1) and begin >= end:
        named = (x for x in _BEGINNINGS if cfg.get(x) == begin)
        what = next(named, 'begin')
        yield (
            f'{path}.begin',
            f'{path}: {node["type"]} would begin at {begin:,} and end at {end:,}; '
            f'set {what} to less',
        )
    plain = node['type'].rpartition('.')[2]
    for start, keys in _LENGTHS.items():
        is_this = plain in [start + kind for kind in _KINDS]
        if is_this and all(node.get(key) is None for key in keys):
            yield (
                f'{path}.{keys[0]}',
                f'{path}: {plain} has no {" and no ".join(keys)}, so that it would '
                'stay where it begins; say how many steps it takes',
            )
