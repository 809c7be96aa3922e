"""Values that the classes of a config can't take: kinds, sizes, names of arguments."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from torch import nn

from coavt_mm.cli.count_checks import wrong_counts
from coavt_mm.config_options import constructor_arguments, named_class
from coavt_mm.config_variables import TOP_LEVEL, dicts_in

# what mmengine takes out of a part's config before it builds the part
_OF_MMENGINE = {
    '_scope_',
    'constructor',
    'convert_to_iter_based',
    'name',
    'paramwise_cfg',
    'priority',
    'type',
}
#: Arguments of which each number is at least ...
LEAST = {
    1: [
        'batch_size',  # of other things than loaders
        'buffer',
        'context_dims',
        'crop_size',
        'cross_every',
        'depth',
        'embed_dims',
        'epochs',
        'frames',
        'hidden_dims',
        'hidden_size',
        'image_size',
        'img_size',
        'intermediate_size',
        'iters_per_epoch',
        'match_batch_size',
        'max_position_embeddings',
        'max_tokens',
        'num_attention_heads',
        'num_classes',
        'num_frames',
        'num_heads',
        'num_hidden_layers',
        'num_mel_bins',
        'num_queries',
        'patch_size',
        'proj_dims',
        'nested_dims',
        'test_dims',
        'sample_rate',
        'spec_frames',
        'spec_size',
        'text_dims',
        'topk',
        'vocab_size',
    ],
    0: [
        'depths',
        'eps',
        'hardness',
        'init_std',
        'keep_every',
        'lr',
        'seed',
        'start',
        'weight_decay',
    ],
}
#: ... or is above 0.
ABOVE_ZERO = {
    'clip_value',
    'divisor',
    'frame_std',
    'max_norm',
    'mlp_ratio',
    'seconds',
    'spec_divisor',
    'spec_std',
    'std',
    'temperature',
    'timeout',
}
#: From 0 to 1.
SHARES = {
    'drop_path_rate',
    'dropout',
    'label_smoothing',
    'mask_ratio',
    'max_bad_share',
    'min_share',
}
# parts whose sizes are looked at, whatever class they are of
_SIZED = ('model', 'optim_wrapper', 'param_scheduler')
LENGTHS = dict(
    depths=3, frame_mean=3, frame_std=3, mask_ratio=2, scale=2, spec_size=2
)  # fmt: skip
#: Packages whose annotations are what their classes take; mmaction2's are not.
_ANNOTATED = ('coavt_mm', 'mmengine', 'torch')
_NAMES: dict[Any, str] = {
    bool: 'True or False',
    dict: 'a dictionary',
    float: 'a number',
    int: 'a whole number',
    NoneType: 'None',
    str: 'text',
}


def wrong_settings(cfg: Any) -> dict[str, str]:
    """Find values that no class of the config could be built with.

    Args:
        cfg: The config.

    Returns:
        Dotted path of the value -> a line on what is wrong.
    """
    scope = cfg.get('default_scope', 'mmengine')
    parts = {key: cfg[key] for key in sorted(TOP_LEVEL) if key in cfg}
    found = wrong_counts(cfg)
    for path, node in dicts_in(parts):
        kind = node.get('type')
        cls = kind if inspect.isclass(kind) else named_class(kind, scope, path)
        if inspect.isclass(cls):
            kinds = dict(_of_class(path, node, cls))
            found.update({k: v for k, v in kinds.items() if k not in found})
        is_ours = inspect.isclass(cls) and _is_ours(cls)
        if is_ours or path.startswith(_SIZED):
            sizes = dict(_of_sizes(path, node))
            found.update({k: v for k, v in sizes.items() if k not in found})
    return found


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith('coavt_mm.')


def _of_class(path: str, node: Mapping, cls: type) -> Iterator[tuple[str, str]]:
    is_meant = cls.__module__.partition('.')[0] in _ANNOTATED
    hints = _hints(cls) if is_meant else {}
    valid = constructor_arguments(cls)
    for name, value in node.items():
        place = f'{path}.{name}'
        if name in hints and not fits(value, hints[name], _is_ours(cls)):
            wanted = kind_name(hints[name])
            yield place, f'{place}={value!r}: {cls.__name__} takes {wanted} there'
        elif _is_ours(cls) and name not in valid | _OF_MMENGINE:
            near = get_close_matches(name, sorted(valid), n=1)
            hint = f'the nearest is {near[0]!r}' if near else ', '.join(sorted(valid))
            yield place, f'{place}: {cls.__name__} takes no argument {name!r}; {hint}'


def _hints(cls: type) -> dict[str, Any]:
    """Annotations of a class's arguments, those of its bases behind ``**kwargs``."""
    hints: dict[str, Any] = {}
    for base in cls.__mro__:
        own = vars(base).get('__init__')
        if own is None or base is object:
            continue
        try:
            hints = {**get_type_hints(own), **hints}
        except (NameError, TypeError):  # of names that exist for type checkers only
            break
        parameters = inspect.signature(own).parameters.values()
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return hints


def fits(value: Any, kind: Any, exact: bool = True) -> bool:
    """Whether a value of a config may be given for an annotated argument.

    Args:
        value: The value.
        kind: The annotation; of those that are not understood all values fit.
        exact: Whether 5.0 is no whole number.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, one, exact) for one in inner)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return is_number and (isinstance(value, int) or not exact and value % 1 == 0)
    if kind is float:
        return is_number
    if kind in (bool, str, NoneType):
        return isinstance(value, kind)
    if _is_a(kind, origin, Mapping):
        of_values = inner[1] if len(inner) == 2 else Any
        return isinstance(value, Mapping) and all(
            fits(x, of_values, exact) for x in value.values()
        )
    if _is_a(kind, origin, Sequence):
        of_items = inner[0] if inner and origin is not tuple else Any
        return isinstance(value, list | tuple) and all(
            fits(x, of_items, exact) for x in value
        )
    if inspect.isclass(kind) and issubclass(kind, nn.Module):
        return isinstance(value, nn.Module)
    return True


def _is_a(kind: Any, origin: Any, of: type) -> bool:
    cls = origin or kind
    return inspect.isclass(cls) and issubclass(cls, of) and cls is not str


def kind_name(kind: Any) -> str:
    """What an annotation says, in words.

    Args:
        kind: The annotation.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return ' or '.join(dict.fromkeys(map(kind_name, inner)))
    if kind in _NAMES:
        return _NAMES[kind]
    if _is_a(kind, origin, Mapping):
        return 'a dictionary'
    if _is_a(kind, origin, Sequence):
        items: dict[Any, str] = {
            int: ' of whole numbers',
            float: ' of numbers',
            str: ' of texts',
        }
        return f'a list{items.get(inner[0] if inner else None, "")}'
    if kind is Callable or origin is Callable:
        return 'a function'
    return getattr(kind, '__name__', str(kind))


def _of_sizes(path: str, node: Mapping) -> Iterator[tuple[str, str]]:
    for name, value in node.items():
        place = f'{path}.{name}={value!r}'
        numbers = value if isinstance(value, list | tuple) else [value]
        if not numbers or not all(_is_number(x) for x in numbers):
            continue
        least = next((n for n, names in LEAST.items() if name in names), None)
        if least is not None and min(numbers) < least:
            yield f'{path}.{name}', f'{place}: must be {least} or more'
        elif name in ABOVE_ZERO and min(numbers) <= 0:
            yield f'{path}.{name}', f'{place}: must be above 0'
        elif name in SHARES and not 0 <= min(numbers) <= max(numbers) <= 1:
            yield f'{path}.{name}', f'{place}: is a share, from 0 to 1'
        elif isinstance(value, list | tuple) and len(value) != LENGTHS.get(
            name, len(value)
        ):
            yield f'{path}.{name}', f'{place}: must be {LENGTHS[name]} numbers'


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
