"""Variables of a config file that are settings of several of its parts.

A config says its tokenizer and the folder of its data once, in a variable, which the
pipelines and the model take. mmengine reads the files of a config one after the other,
so that a later value of the variable, in a config that inherits this one or on the
command line, would reach none of them.
"""

import ast
import re
from collections.abc import Collection, Iterator
from typing import Any

from mmengine.config import Config

#: Variable -> what it is; a setting of its name that holds its value follows it.
SHARED = ('tokenizer', 'data_root')


def walk(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """All dotted keys below a node, with what they hold."""
    pairs = enumerate(node) if isinstance(node, list | tuple) else node.items()
    for name, value in pairs:
        path = f'{prefix}{name}'
        yield path, value
        if isinstance(value, dict | list | tuple):
            yield from walk(value, f'{path}.')


def follow_variables(cfg: Config, parts: Collection[str]) -> None:
    """Give the parts what a config sets anew of the variables that it inherits.

    Settings that a config takes from somewhere else, a second data set or a tokenizer
    of the text encoder's own, hold another value and stay.

    Args:
        cfg: As read from its files; changed in place.
        parts: Top-level keys that are read, no variables.
    """
    for name in SHARED:
        earlier = {*_values(cfg.text, name)} - {cfg.get(name)}
        places = _places(cfg, parts, name, earlier) if earlier else []
        cfg.merge_from_dict(dict.fromkeys(places, cfg.get(name)))


def set_variables(
    cfg: Config, parts: Collection[str], options: dict[str, Any]
) -> dict[str, Any]:
    """Replace options that set a variable by those that set what holds its value.

    ``data_root`` is also the beginning of what lies in the folder, such as the demo's
    ``data_root/vocab.txt``.

    Args:
        cfg: The config; the variables themselves are set.
        parts: Top-level keys that are read, no variables.
        options: Dotted key -> value.

    Returns:
        The options with the keys of the settings in the place of the variables';
        options for one of these settings come behind, and so count.
    """
    spread: dict[str, Any] = {}
    rest = dict(options)
    for name in reversed(SHARED):
        old, new = cfg.get(name), options.get(name)
        if not isinstance(old, str) or not isinstance(new, str):
            continue
        places = _places(cfg, parts, name, {old})
        if name == 'data_root':
            inside = ((p, v) for p, v in walk(cfg) if p.split('.')[0] in parts)
            spread |= {
                path: new + value[len(old) :]
                for path, value in inside
                if isinstance(value, str) and value.startswith(f'{old}/')
            }
        spread |= dict.fromkeys(places, new)
        if places:
            cfg.merge_from_dict({name: rest.pop(name)})
    return spread | rest


def _places(
    cfg: Config, parts: Collection[str], name: str, values: Collection[str]
) -> list[str]:
    """Keys of a name, below the parts, that hold one of some values."""
    return [
        path
        for path, held in walk(cfg)
        if path.rpartition('.')[2] == name
        and path.split('.')[0] in parts
        and isinstance(held, str)
        and held in values
    ]


def _values(text: str, name: str) -> Iterator[str]:
    """Texts that the files of a config, read one after the other, give a variable."""
    for written in re.findall(rf'^{name} *= *(.+)$', text, re.MULTILINE):
        try:
            value = ast.literal_eval(written)
        except (SyntaxError, ValueError):  # made of other variables
            continue
        if isinstance(value, str):
            yield value
