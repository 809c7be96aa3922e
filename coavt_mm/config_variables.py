"""Variables of a config file that are settings of several of its parts.

A config says its tokenizer, the folder of its data and its sizes once, in variables,
which the pipelines and the model take. mmengine reads the files of a config one after
the other, so that a later value of a variable, in a config that inherits this one or on
the command line, would reach none of them.
"""

import ast
import copy
import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config

#: What mmengine's Runner reads of a config; its signature would have to be imported.
TOP_LEVEL = frozenset(
    (
        'activation_checkpointing',
        'auto_scale_lr',
        'compile',
        'custom_hooks',
        'custom_imports',
        'data_preprocessor',
        'default_hooks',
        'default_scope',
        'efficient_conv_bn_eval',
        'env_cfg',
        'experiment_name',
        'find_unused_parameters',
        'launcher',
        'load_from',
        'log_level',
        'log_processor',
        'model',
        'model_wrapper_cfg',
        'optim_wrapper',
        'param_scheduler',
        'randomness',
        'resume',
        'runner_type',
        'sync_bn',
        'test_cfg',
        'test_dataloader',
        'test_evaluator',
        'train_cfg',
        'train_dataloader',
        'val_cfg',
        'val_dataloader',
        'val_evaluator',
        'visualizer',
        'work_dir',
    )
)
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


def dicts_in(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """All dictionaries of a node, itself included, with the keys that lead to them."""
    if isinstance(node, dict):
        yield path, node
    if isinstance(node, dict | list | tuple):
        for name, value in walk(node, f'{path}.' if path else ''):
            if isinstance(value, dict):
                yield name, value


def follow_variables(cfg: Config, parts: Collection[str]) -> Config:
    """Give the parts what a config sets anew of the variables that it inherits.

    Settings that a config takes from somewhere else, a second data set or a tokenizer
    of the text encoder's own, hold another value and stay.

    Args:
        cfg: As read from its files.
        parts: Top-level keys that are read, no variables.

    Returns:
        A copy in which they have them.
    """
    cfg = copy.deepcopy(cfg)
    for name in SHARED:
        earlier = {*_values(cfg.text, name)} - {cfg.get(name)}
        places = _places(cfg, parts, name, earlier) if earlier else []
        cfg.merge_from_dict(dict.fromkeys(places, cfg.get(name)))
    return cfg


def variables_of(file: str) -> set[str]:
    """Names that a config file, or one that it inherits, sets, and makes something of.

    Args:
        file: Its path.
    """
    chain = [*_chain(Path(file))]
    used = set().union(*map(_used, chain))
    return used & set().union(*map(_assignments, chain))


def unread_variables(file: str, cfg: Config) -> dict[str, str]:
    """Variables of a config that inherits others which change nothing.

    A file that inherits nothing is one that was written down whole, with what is left
    of the variables.

    Args:
        file: Its path.
        cfg: What was read from it.

    Returns:
        Variable -> a line on what reads it not, and what is meant perhaps.
    """
    if not file.endswith('.py'):
        return {}
    text = Path(file).read_text('utf-8')
    inherited = _bases(Path(file)).values()
    bases = [part for base in inherited for part in _chain(base)]
    known, made = {*TOP_LEVEL, *SHARED}, set().union(*map(_used, bases))
    set_before = set().union(*map(_assignments, bases))
    found = {}
    for name, assigned in _assignments(text).items() if inherited else ():
        if name in known or name.startswith('_') or name in _used(text):
            continue
        parts = ((path, path.rpartition('.')) for path, _ in walk(cfg))
        places = [p for p, (above, _, last) in parts if last == name and above]
        inside = [place for place in places if place.split('.')[0] in TOP_LEVEL]
        close = get_close_matches(name, TOP_LEVEL, n=1, cutoff=0.75)
        if name in made & set_before:
            line = f'{name}: what the config that is inherited made of it stays'
            if not isinstance(assigned.value, ast.List | ast.Dict | ast.Call):
                line += f'; `--cfg-options {name}=...` sets all of that'
        else:
            line = f'{name}: nothing reads it'
        meant = close or sorted(inside, key=lambda place: place.count('.'))[:1]
        found[name] = line + (f', is {meant[0]} meant?' if meant else '')
    return found


def _chain(file: Path) -> Iterator[str]:
    """The text of a config, and of all that it inherits."""
    if file.suffix == '.py':  # others have no variables
        yield file.read_text('utf-8')
    for base in _bases(file).values():
        yield from _chain(base)


def _used(text: str) -> set[str]:
    """Names that a config file reads, its own and ``_base_.name``."""
    nodes = [*ast.walk(ast.parse(text))]
    read = (n for n in nodes if isinstance(n, ast.Name))
    names = {n.id for n in read if isinstance(n.ctx, ast.Load)}
    return names | {*re.findall(r'_base_\.(\w+)', text)}


def read_with(file: str, values: Mapping[str, Any]) -> Config:
    """Read a config whose variables have other values, in all its files.

    Args:
        file: Its path.
        values: Variable -> value. Lists and dictionaries that a file makes of them
            follow.

    Returns:
        The config.
    """
    with TemporaryDirectory() as folder:
        cfg = Config.fromfile(_copy(Path(file), values, Path(folder)))
        return Config(cfg._cfg_dict, cfg_text=cfg.text, filename=file)


def _copy(file: Path, values: Mapping[str, Any], folder: Path) -> Path:
    """A config file and those that it inherits, with other values of variables."""
    copy = folder / f'{len([*folder.iterdir()])}_{file.name}'
    Config._substitute_predefined_vars(str(file), str(copy))
    text = copy.read_text('utf-8')
    bases = {b: str(_copy(p, values, folder)) for b, p in _bases(file).items()}
    lines = text.splitlines(keepends=True)
    for name, node in reversed([*_assignments(text).items()]):
        if name == '_base_':
            named = Config._get_base_files(str(file))
            new: Any = [bases.get(base, base) for base in named]
        elif name in values:
            new = values[name]
        else:
            continue
        lines[node.lineno - 1 : node.end_lineno] = [f'{name} = {new!r}\n']
    copy.write_text(''.join(lines), 'utf-8')
    return copy


def _assignments(text: str) -> dict[str, ast.Assign]:
    """Variable -> the last line that sets it, in the order of the file."""
    found: dict[str, ast.Assign] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            found.pop(name, None)
            found[name] = node
    return found


def _bases(file: Path) -> dict[str, Path]:
    """How a config names those that it inherits -> their files.

    Those of other packages are left out: what their variables mean is theirs.
    """
    return {
        base: Path(Config._get_cfg_path(base, str(file))[0])
        for base in Config._get_base_files(str(file))
        if '::' not in base or base.startswith('coavt_mm::')
    }


def set_variables(
    cfg: Config, parts: Collection[str], options: dict[str, Any], made: Collection[str]
) -> dict[str, Any]:
    """Replace options of a shared variable by those that set what holds its value.

    ``data_root`` is also the beginning of what lies in the folder, such as the demo's
    ``data_root/vocab.txt``.

    Args:
        cfg: The config, before the variables are set.
        parts: Top-level keys that are read, no variables.
        options: Dotted key -> value.
        made: Keys that the files have made of the variables themselves.

    Returns:
        The options with the keys of the settings in the place of the variables';
        options for one of these settings come behind, and so count.
    """
    spread: dict[str, Any] = {}
    for name in reversed(SHARED):
        old, new = cfg.get(name), options.get(name)
        if not isinstance(old, str) or not isinstance(new, str):
            continue
        if name == 'data_root':
            inside = ((p, v) for p, v in walk(cfg) if p.split('.')[0] in parts)
            spread |= {
                path: new + value[len(old) :]
                for path, value in inside
                if isinstance(value, str) and value.startswith(f'{old}/')
            }
        places = _places(cfg, parts, name, {old})
        spread |= dict.fromkeys(places, new)
        options = {k: v for k, v in options.items() if k != name or not places}
    return {path: value for path, value in spread.items() if path not in made} | options


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
