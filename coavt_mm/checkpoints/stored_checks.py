"""What a stored config may ask for: somebody else wrote the file that it lies in.

Classes of this package's registries and a short list of other transforms, each with
arguments of its kinds; no module, file or address; no more memory than goes with the
weights beside it.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from mmengine.registry import Registry
from torch import nn

from coavt_mm.errors import CheckpointError

DEEPEST = 32  # dicts and lists in one another
LARGEST = 2**53
OTHERS = '**'  # the arguments of a class that takes any

Pair = tuple[int, int]
Range = tuple[float, float]
#: Transforms of the packages that ours go with, and the arguments that they may get.
#: Not whole registries: some of their transforms evaluate an argument as code.
FRIENDS: dict[str, dict[str, Any]] = {
    'mmaction.Resize': dict(
        scale=Pair,
        keep_ratio=bool,
        interpolation=Literal['nearest', 'bilinear', 'bicubic', 'area', 'lanczos'],
    ),
    'mmaction.CenterCrop': dict(crop_size=int | Pair),
    'mmaction.RandomCrop': dict(size=int),
    'mmaction.RandomResizedCrop': dict(area_range=Range, aspect_ratio_range=Range),
    'mmaction.Flip': dict(
        flip_ratio=float, direction=Literal['horizontal', 'vertical']
    ),
    'mmaction.SampleFrames': dict(
        clip_len=int,
        frame_interval=int,
        num_clips=int,
        temporal_jitter=bool,
        twice_sample=bool,
        out_of_bound_opt=Literal['loop', 'repeat_last'],
        test_mode=bool,
    ),
    'mmpretrain.RandomCrop': dict(crop_size=int | Pair, padding=int | Pair | None),
    'mmpretrain.ColorJitter': dict(
        brightness=float, contrast=float, saturation=float, hue=float
    ),
    'TransformBroadcaster': dict(
        transforms=list[dict],
        mapping=dict[str, str],
        auto_remap=bool,
        share_random_params=bool,
    ),
}
#: Name of an argument of a model -> least and largest number. Other sizes are those of
#: tensors, and compared with the weights.
MODEL_LIMITS = {
    'depth': (1, 100),  # layers
    'depths': (0, 100),
    'num_hidden_layers': (0, 100),
}
#: The same of a transform.
LIMITS = {
    'num_frames': (1, 1000),
    'clip_len': (1, 1000),
    'num_clips': (1, 1000),
    'frame_interval': (1, 1000),
    'seconds': (0.001, 3600),  # s
    'sample_rate': (1, 384_000),  # Hz
    'spec_frames': (1, 360_000),
    'num_mel_bins': (1, 1000),
    'frame_length': (1, 1000),  # ms
    'frame_shift': (1, 1000),  # ms
    'scale': (1, 4096),  # pixels
    'size': (1, 4096),
    'crop_size': (1, 4096),
    'padding': (0, 4096),
}
FRAMES = 1000  # that a reader may ask for of a clip
STEPS = 100  # of a pipeline, those within others too
#: Arguments that say where something lies.
SOURCES = ('init_cfg', 'pretrained', 'features_file', 'path')


class UnknownTypeError(CheckpointError):
    """A class that no package has registered, which is imported so far."""


def check_form(stored: Any, where: str) -> None:
    """Dicts and lists, not too deep, and no name that means something to mmengine.

    Args:
        stored: What was read from JSON.
        where: Name of the checkpoint, for the message.

    Raises:
        CheckpointError: If it is of another form.
    """
    level = [stored]
    for _ in range(DEEPEST):
        for node in level:
            for key in node if isinstance(node, dict) else ():
                if str(key).startswith('_'):
                    raise CheckpointError(
                        f'{where}: its stored config sets {key!r:.60}; names that '
                        'begin with _ are commands to mmengine, and refused'
                    )
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise CheckpointError(
        f'{where}: its stored config is nested deeper than {DEEPEST} times'
    )


def check_types(
    node: Any, own: Registry, friends: Mapping[str, dict] | Sequence, where: str
) -> None:
    """Refuse classes that are not registered, and arguments that they don't take.

    mmengine would import whatever module a dotted ``type`` names, and call it.

    Args:
        node: A part of a config.
        own: The registry of this package that builds it.
        friends: Classes of other packages that may be mixed in.
        where: Name of the checkpoint, for the message.

    Raises:
        CheckpointError: If one is unknown.
    """
    for found in dicts(node):
        if 'type' not in found:
            continue
        name = found['type']
        kinds, needed = _arguments(name, own, friends, where)
        given = {key: value for key, value in found.items() if key != 'type'}
        missing = needed - given.keys()
        if missing:
            raise CheckpointError(
                f'{where}: {name} of its stored config lacks {min(missing)}'
            )
        for key, value in given.items():
            if not _fits(value, kinds.get(key, kinds.get(OTHERS, NoReturn))):
                raise CheckpointError(
                    f'{where}: {name} of its stored config takes no {key!r:.60} of '
                    f'{value!r:.60}'
                )


def check_sources(stored: Any, tokenizers: Mapping[str, str], where: str) -> None:
    """Refuse whatever would read a file or ask an address.

    Args:
        stored: Model and pipeline.
        tokenizers: The tokenizers that lie beside them.
        where: Name of the checkpoint, for the message.

    Raises:
        CheckpointError: If there is such a thing.
    """
    for node in dicts(stored):
        for key in SOURCES:
            if node.get(key) is not None:
                raise CheckpointError(
                    f'{where}: its stored config sets {key}={node[key]!r:.60}; weights '
                    'come from the checkpoint, and from nowhere else'
                )
        name = node.get('tokenizer')
        if name is not None and not (isinstance(name, str) and name in tokenizers):
            raise CheckpointError(
                f'{where}: its stored config names the tokenizer {name!r:.60}, which '
                'does not lie beside it'
            )


def check_limits(
    node: Any, limits: Mapping[str, tuple[float, float]], where: str
) -> None:
    """Refuse numbers that nobody needs and no memory holds.

    Args:
        node: A part of a config.
        limits: Least and largest by name.
        where: Name of the checkpoint, for the message.

    Raises:
        CheckpointError: If there is one.
    """
    for found in dicts(node):
        for key, (least, most) in limits.items():
            value = found.get(key)
            numbers = list(value) if isinstance(value, list | tuple) else [value]
            if key == 'scale' and found.get('keep_ratio', True) and -1 in numbers:
                numbers.remove(-1)  # as long as the other side makes it
            for number in numbers:
                if isinstance(number, int | float) and not least <= number <= most:
                    raise CheckpointError(
                        f'{where}: {key}={number!r:.60} of its stored config is not '
                        f'from {least} to {most}'
                    )


def check_work(pipeline: Any, where: str) -> None:
    """Refuse a pipeline that would be at one clip for hours.

    Args:
        pipeline: The transforms, their limits checked.
        where: Name of the checkpoint, for the message.

    Raises:
        CheckpointError: It has too many steps, or one asks for too many frames.
    """
    steps = [node for node in dicts(pipeline) if 'type' in node]
    frames = max(
        (x.get('clip_len', 1) * x.get('num_clips', 1) for x in steps), default=0
    )
    for number, most, what in (
        (len(steps), STEPS, 'steps'),
        (frames, FRAMES, 'frames of a clip'),
    ):
        if number > most:
            raise CheckpointError(
                f'{where}: the pipeline of its stored config has {number} {what}; '
                f'{most} are the most'
            )


def dicts(node: Any) -> Iterator[dict]:
    """All dictionaries in a config, outer ones first."""
    if isinstance(node, dict):
        yield node
    for child in _children(node):
        yield from dicts(child)


def _children(node: Any) -> list:
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, list | tuple) else []


def _arguments(
    name: Any, own: Registry, friends: Mapping | Sequence, where: str
) -> tuple[dict[str, Any], set[str]]:
    """Kinds of a class's arguments, and the names of those that it needs."""
    if isinstance(name, str) and isinstance(friends, Mapping) and name in friends:
        return friends[name], set()
    own.import_from_location()
    scope, _, short = name.rpartition('.') if isinstance(name, str) else ('?', '', '')
    if scope not in ('', own.scope) or short not in own.module_dict:
        raise UnknownTypeError(
            f'{where}: its stored config asks for {name!r:.60}, which is not '
            'registered here for stored configs; import the package that has it first '
            '(in Python), or give the config (--config)'
        )
    parameters = inspect.signature(own.module_dict[short]).parameters.values()
    named = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    kinds = {p.name: p.annotation for p in named}
    if len(named) < len(parameters):
        kinds[OTHERS] = Any
    return kinds, {p.name for p in named if p.default is p.empty}


def _fits(value: Any, kind: Any) -> bool:
    """Is a value from JSON of the annotated kind?"""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        built = any(p in (nn.Module, Callable) for p in parts)
        if built and isinstance(value, dict) and 'type' not in value:
            return False
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if (origin or kind) in (dict, Mapping):
        inner = parts[1] if parts else Any
        return isinstance(value, dict) and all(_fits(v, inner) for v in value.values())
    if origin is tuple and Ellipsis not in parts:
        return (
            isinstance(value, list | tuple)
            and len(value) == len(parts)
            and all(map(_fits, value, parts))
        )
    if (origin or kind) in (list, tuple, Sequence):
        inner = parts[0] if parts else Any
        return isinstance(value, list | tuple) and all(_fits(v, inner) for v in value)
    return _is_plain(value, kind)


def _is_plain(value: Any, kind: Any) -> bool:
    if kind in (Any, inspect.Parameter.empty) or isinstance(kind, str):
        return True
    if kind in (int, float):
        whole = isinstance(value, int) and not isinstance(value, bool)
        number = whole or (kind is float and isinstance(value, float))
        return number and abs(value) <= LARGEST  # which NaN is not either
    return kind in (str, bool, None, NoneType) and isinstance(value, kind or NoneType)
