"""Checks of ``--cfg-options``: mmengine accepts any key silently."""

import inspect
from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry, root

from coavt_mm import compat
from coavt_mm.class_sources import (
    arguments_of,
    may_be_registered,
    method_arguments,
    registered_names,
)
from coavt_mm.config_variables import SHARED, TOP_LEVEL, walk
from coavt_mm.errors import ConfigError


def _arguments(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters) - {'self', 'args', 'kwargs'}


@cache
def _known(path: str) -> set[str]:
    """What dictionaries without a `type`, or with more than their class takes, hold."""
    if path.endswith('_dataloader'):
        file, more = 'utils/data/dataloader.py', {'num_batch_per_epoch'}
        more |= {'disable_subprocess_warning'}
        return method_arguments('torch', file, 'DataLoader', '__init__') | more
    if path == 'randomness':
        file = 'runner/runner.py'
        return method_arguments('mmengine', file, 'Runner', 'set_randomness')
    return _KNOWN_BY_PATH.get(path, set())


_KNOWN_BY_PATH: dict[str, set[str]] = {
    '': {*TOP_LEVEL},
    'optim_wrapper': {'constructor', 'paramwise_cfg'},
    'optim_wrapper.paramwise_cfg': {
        'bias_decay_mult',
        'bias_lr_mult',
        'bypass_duplicate',
        'custom_keys',
        'flat_decay_mult',
        'norm_decay_mult',
    },
    'optim_wrapper.clip_grad': {'clip_value', 'max_norm', 'norm_type', 'type'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
}
# Arguments that are dictionaries, or lists of such: what takes them refuses keys that
# it doesn't know, so that one may be given which the config leaves out.
_CHECKED_BY_OWNER = {
    'captions',
    'config',
    'curriculum',
    'custom_keys',
    'fields',
    'rename',
    'streams',
    'test_cfg',
    'weights',
}
_SEARCH_ORDER = ('TRANSFORMS', 'DATASETS', 'DATA_SAMPLERS', 'HOOKS', 'LOOPS', 'METRICS')
#: Where a class is looked for first, by the place in the config: filling all the others
#: takes seconds.
_OF_PLACE = {
    'model': 'MODELS',
    'train_cfg': 'LOOPS',
    'val_evaluator': 'METRICS',
    'test_evaluator': 'METRICS',
    'optim_wrapper': 'OPTIM_WRAPPERS',
    'optimizer': 'OPTIMIZERS',
    'param_scheduler': 'PARAM_SCHEDULERS',
    'default_hooks': 'HOOKS',
    'custom_hooks': 'HOOKS',
}


def chosen_variables(
    read: Callable[..., Config],
    cfg: Config,
    names: Collection[str],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Those options that are variables, from which the files make a setting.

    Args:
        read: Reads the config's files, with values of variables.
        cfg: What it gives without.
        names: Of the variables.
        options: Dotted key -> value.

    Raises:
        ConfigError: A value is of another kind.
    """
    values = {
        key: value
        for key, value in options.items()
        if key in names and key in cfg and not isinstance(cfg[key], dict)
    }
    for key, value in values.items():
        _check_kind(key, cfg[key], value)
    for key in values.keys() & {*SHARED}:  # may be taken by a part that is replaced
        other = {**values, key: cfg[key]}
        if values[key] != cfg[key] and _settings(read(values)) == _settings(
            read(other)
        ):
            values = other
    return {key: value for key, value in values.items() if value is options[key]}


def _settings(cfg: Config) -> dict[str, Any]:
    """What the Runner reads."""
    return {key: cfg[key] for key in TOP_LEVEL if key in cfg}


def check_cfg_options(cfg: Config, options: dict[str, Any]) -> None:
    """Refuse settings that the config, and the classes it names, do not have.

    A key must exist in the config. A new one is taken only as an argument of the class
    that its parent's ``type`` names, or of mmengine's Runner. Variables of the config
    file that nothing reads any more are refused as well: setting them has no effect.

    Args:
        cfg: The config that the options are to be merged into.
        options: Dotted key -> value, as :class:`mmengine.DictAction` gives them;
            numbers in a key are list indices.

    Raises:
        ConfigError: If a key is unknown or its value of another kind; the message
            names the nearest valid key.
    """
    for key, value in options.items():
        _check_option(cfg, options, key, value)


def _check_option(cfg: Config, options: dict, key: str, value: Any) -> None:
    node: Any = cfg
    path: list[str] = []
    for part in key.split('.'):
        if isinstance(node, list):
            _check_index(key, path, part, node)
            node = node[int(part)]
        elif not isinstance(node, dict | Config):
            raise ConfigError(
                f'--cfg-options {key}: {".".join(path)!r} is {node!r} and has no '
                f'entry {part!r}.'
            )
        elif part in node and (path or part in TOP_LEVEL):
            node = node[part]
        else:
            _check_new_key(cfg, options, key, path, part, node)
            return
        path.append(part)
    if path[-1] == 'type':
        _check_type(cfg, key, value)
    else:
        _check_kind(key, node, value)


def _check_index(key: str, path: list[str], part: str, node: list) -> None:
    if not part.isdigit() or int(part) >= len(node):
        raise ConfigError(
            f'--cfg-options {key}: {".".join(path)!r} is a list of {len(node)} '
            f'entries, {part!r} is none of 0 to {len(node) - 1}'
            f'{_types_of(node)}.'
        )


def _types_of(node: list) -> str:
    types = [
        entry['type'] for entry in node if isinstance(entry, dict) and 'type' in entry
    ]
    return f' and no type of {", ".join(map(str, types))}' if types else ''


def _check_new_key(
    cfg: Config, options: dict, key: str, path: list[str], part: str, node: Any
) -> None:
    """Accept a new key only where something takes it."""
    parent = '.'.join(path)
    owners = [name for name in path if not name.isdigit()]
    if owners[1:] and owners[-1] in _CHECKED_BY_OWNER and 'type' not in node:
        return
    valid = {*_known(parent)}
    if path:
        valid |= set(node)
        valid |= _taken_by_class(
            cfg, path, options.get(f'{parent}.type', node.get('type'))
        )
    if part in valid:
        return
    if part in node:
        hint = _where_it_went(cfg, part, key) or _nearest(cfg, path, part, valid)
        raise ConfigError(
            f'--cfg-options {key}: {part!r} is a variable of the config file that '
            f'nothing reads after it is loaded, setting it has no effect; {hint}.'
        )
    raise ConfigError(
        f'--cfg-options {key}: unknown key {".".join([*path, part])!r}; '
        f'{_nearest(cfg, path, part, valid)}.'
    )


def _taken_by_class(cfg: Config, path: list[str], type_name: Any) -> AbstractSet[str]:
    scope = cfg.get('default_scope', 'mmengine')
    if isinstance(type_name, str) and not cfg.get('custom_imports'):
        known = arguments_of(type_name, scope)
        if known is not None:
            return known
    place = path[-1] if path[-1] in _OF_PLACE else path[0]
    return constructor_arguments(_find_class(type_name, scope, _OF_PLACE.get(place)))


def _where_it_went(cfg: Config, variable: str, key: str) -> str:
    """Places that hold the same list or dictionary as a variable."""
    value, rest = cfg[variable], key[len(variable) :]
    if not isinstance(value, dict | list) or not value:
        return ''
    places = [
        path
        for path, held in walk(cfg)
        if held == value and path.split('.')[0] in TOP_LEVEL
    ]
    return 'set ' + ' or '.join(repr(path + rest) for path in places) if places else ''


def _nearest(cfg: Config, path: list[str], part: str, valid: set[str]) -> str:
    """Name the nearest valid key: a neighbour first, else one of the whole config."""
    prefix = ''.join(f'{name}.' for name in path)
    close = get_close_matches(part, sorted(valid - {part}), n=1, cutoff=0.6)
    if close:
        return f'the nearest valid key is {prefix + close[0]!r}'
    everywhere: dict[str, str] = {}
    for name, _ in walk(cfg):
        if name.split('.')[0] in TOP_LEVEL:
            everywhere.setdefault(name.rpartition('.')[2], name)
    # far off only a name that is nearly the same is meant
    close = get_close_matches(part, sorted(everywhere), n=1, cutoff=0.8)
    if close and close[0] != part:
        return f'the nearest valid key is {everywhere[close[0]]!r}'
    if close:
        return f'there is one of this name at {everywhere[part]!r}'
    return f'valid here: {", ".join(sorted(valid)) or "nothing"}'


# --------------------------------------------------------------------------------------
# Values
# --------------------------------------------------------------------------------------
def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return 'true or false'
    if isinstance(value, int | float):
        return 'a number'
    if isinstance(value, dict):
        return 'a dictionary'
    if isinstance(value, list | tuple):
        return 'a list'
    return 'text'


def _fits(old: Any, new: Any) -> bool:
    """Whether a value may take another's place; None and text are replaced freely."""
    if old is None or new is None or _kind(old) == _kind(new):
        return True
    if isinstance(old, str):
        return not isinstance(new, dict)
    if isinstance(old, list | tuple) and not isinstance(new, list | tuple):
        return bool(old) and not isinstance(old[0], dict) and _fits(old[0], new)
    return isinstance(new, list | tuple) and all(
        _kind(old) == _kind(item) == 'a number' for item in new
    )


def _check_kind(key: str, old: Any, new: Any) -> None:
    if not _fits(old, new):
        raise ConfigError(
            f'--cfg-options {key}={new!r}: the config has {_kind(old)} there, this is '
            f'{_kind(new)}.'
        )


# --------------------------------------------------------------------------------------
# Classes
# --------------------------------------------------------------------------------------
def _check_type(cfg: Config, key: str, value: Any) -> None:
    scope = cfg.get('default_scope', 'mmengine')
    is_plain = isinstance(value, str) and '.' not in value and scope == 'coavt_mm'
    is_plain = is_plain and not cfg.get('custom_imports')
    names = registered_names()
    if is_plain and value in names:
        return
    if not is_plain or may_be_registered(value):
        if _find_class(value, scope) is not None:
            return
        names = {name for node in _registries(scope) for name in node.module_dict}
    close = get_close_matches(str(value), sorted(names), n=1, cutoff=0.6)
    hint = f'; the nearest is {close[0]!r}' if close else ''
    raise ConfigError(
        f'--cfg-options {key}={value}: no class of this name is registered{hint}.'
    )


def _registries(scope: str, first: str | None = None) -> list[Registry]:
    """The nodes of a scope in all registries, those that are cheap to fill first."""
    if scope in ('mmaction', 'mmpretrain'):
        compat.prepare_openmmlab_models()
    if scope != 'mmengine':
        import_module(f'{scope}.registry')
    trees = {name: v for name, v in vars(root).items() if isinstance(v, Registry)}
    names = dict.fromkeys([*([first] if first else []), *_SEARCH_ORDER, *trees])
    return [
        trees[name].children.get(scope, trees[name])
        for name in names
        if scope == 'mmengine' or scope in trees[name].children or name in trees
    ]


def _fill(registry: Registry) -> None:
    """Import what registers itself there, as far as it exists: mmaction2 names a module
    of its own that it hasn't."""
    try:
        registry.import_from_location()
    except ModuleNotFoundError as error:
        if error.name not in registry._locations:
            raise


def _find_class(type_name: Any, default_scope: str, first: str | None = None) -> Any:
    """The class or function that a ``type`` names, None if there is none."""
    if not isinstance(type_name, str):
        return type_name
    scope, name = Registry.split_scope_key(type_name)
    try:
        nodes = _registries(scope or default_scope, first)
    except ModuleNotFoundError:
        return None
    for node in nodes:
        _fill(node)
        chain = [node] if scope else [node, node.root]
        for registry in chain:
            if name in registry.module_dict:
                return registry.module_dict[name]
    return None


def named_class(type_name: Any, scope: str, path: str) -> Any:
    """The class that a ``type`` names.

    Args:
        type_name: Its value.
        scope: The config's default scope.
        path: Dotted keys of the dictionary that it is in.

    Returns:
        The class or function; None if there is none.
    """
    names = path.split('.')
    if type_name is None:
        return None
    place = _OF_PLACE.get(names[-1]) or _OF_PLACE.get(names[0])
    return _find_class(type_name, scope, place)


def constructor_arguments(target: Any) -> set[str]:
    """Names that a class's constructor, or a function, takes.

    Where a constructor passes ``**kwargs`` on, those of its base classes count too.
    """
    if target is None:
        return set()
    if not inspect.isclass(target):
        return _arguments(target)
    names: set[str] = set()
    for base in target.__mro__:
        if '__init__' not in vars(base) or base is object:
            continue
        parameters = inspect.signature(vars(base)['__init__']).parameters.values()
        names |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD,)}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return names - {'self', 'args', 'kwargs'}
