"""Configs: their files, settings from a command line merged into them, work dirs.

Nothing heavy is imported before it is known that the config is there.
"""

import errno
import os
import os.path as osp
from collections.abc import Iterator
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from coavt_mm.config_variables import (
    TOP_LEVEL,
    follow_variables,
    read_with,
    set_variables,
    unread_variables,
    variables_of,
    walk,
)
from coavt_mm.errors import CoAVTError, ConfigError


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config and merge checked options into it.

    Args:
        path: Path of the config, or its name, see :func:`config_file`.
        options: Dotted key -> value, see
            :func:`~coavt_mm.config_options.check_cfg_options`. A variable of the
            config's files is set before they make their settings of it.

    Returns:
        The config.

    Raises:
        ConfigError: If the file is missing or broken, or an option is not valid.
    """
    file = config_file(path)
    read = partial(_read, path, file)
    cfg = made = read()

    if options:
        from coavt_mm.config_options import check_cfg_options, chosen_variables

        names = variables_of(file) if any('.' not in key for key in options) else set()
        values = chosen_variables(read, cfg, names, options)
        made = read(values) if values else cfg
    before = follow_variables(cfg, TOP_LEVEL)
    after = follow_variables(made, TOP_LEVEL)
    if options:
        options = number_steps(after, options)
        was = dict(walk(cfg))
        changed = {key for key, held in walk(made) if was.get(key) != held}
        options = set_variables(before, TOP_LEVEL, options, changed)
        options = {k: v for k, v in options.items() if k not in values}
        check_cfg_options(after, options)
        after.merge_from_dict(options)
    return after


def idle_settings(path: str, cfg: Config) -> list[str]:
    """Lines on what a config sets in vain.

    Args:
        path: Of the config, or its name.
        cfg: What was read from it.
    """
    found = unread_variables(config_file(path), cfg)
    return [f'{path}: {line}' for line in found.values()]


def _read(path: str, file: str, values: dict[str, Any] | None = None) -> Config:
    try:
        return read_with(file, values) if values else Config.fromfile(file)
    except CoAVTError:  # of a config that looks at what its variables name
        raise
    except Exception as error:  # a config is code and may raise anything
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise ConfigError(f'{path}: cannot be read ({reason}).') from error


def config_file(name: str) -> str:
    """Find the file of a config.

    Args:
        name: A path, or ``package::folder/name.py``: what an OpenMMLab package was
            installed with, such as ``coavt_mm::coavt/pretrain_demo.py``.

    Returns:
        Its path.

    Raises:
        ConfigError: If there is none.
    """
    package, colons, path = name.partition('::')
    if not colons:
        path = name
    else:
        spec = find_spec(package) if package.isidentifier() else None
        folders = (spec and spec.submodule_search_locations) or ()
        if not folders:
            raise ConfigError(f'{name}: there is no package {package!r} here')
        path = osp.join(folders[0], '.mim', 'configs', path)
    if not osp.isfile(path):
        raise ConfigError(f'{name}: there is no such config{_similar_configs(name)}.')
    return path


def _similar_configs(path: str) -> str:
    """Name the nearest config of those that are shipped and those in ``configs/``."""
    shipped, here = Path(__file__).parent / '.mim/configs', Path('configs')
    files = {
        f.stem: f'coavt_mm::{f.relative_to(shipped)}' for f in shipped.rglob('*.py')
    }
    files |= {f.stem: str(f) for f in here.rglob('*.py')}
    close = get_close_matches(Path(path).stem, sorted(files), n=1, cutoff=0.5)
    return f'; the nearest is {files[close[0]]}' if close else ''


def number_steps(cfg: Config, options: dict[str, Any]) -> dict[str, Any]:
    """Replace names in keys by the list indices that mmengine takes.

    The entry of a list may be named by its ``type``, where no other one of the list has
    the same: ``pipeline.LoadFrames.pick`` is ``pipeline.0.pick``.

    Args:
        cfg: The config that the options are to be merged into.
        options: Dotted key -> value.

    Returns:
        The options, with indices in their keys.

    Raises:
        ConfigError: If several entries have a type, or two keys mean the same.
    """
    numbered = {}
    for key, value in options.items():
        new = '.'.join(_numbered_parts(cfg, key))
        if new in numbered:
            raise ConfigError(f'--cfg-options {key}: {new!r} is set twice')
        numbered[new] = value
    return numbered


def _numbered_parts(cfg: Config, key: str) -> Iterator[str]:
    node: Any = cfg
    for part in key.split('.'):
        if isinstance(node, list | tuple) and not part.isdigit():
            types = [entry.get('type') if isinstance(entry, dict) else None
                     for entry in node]  # fmt: skip
            found = [i for i, name in enumerate(types) if _is_named(name, part)]
            if len(found) > 1:
                raise ConfigError(
                    f'--cfg-options {key}: {len(found)} entries have the type {part}; '
                    f'name one by its number: {", ".join(map(str, found))}'
                )
            part = str(found[0]) if found else part
        yield part
        node = _entry(node, part)


def _is_named(type_name: Any, part: str) -> bool:
    return isinstance(type_name, str) and type_name.rpartition('.')[2] == part


def _entry(node: Any, part: str) -> Any:
    """What a part of a key names, None where there is nothing."""
    if isinstance(node, list | tuple):
        return node[int(part)] if part.isdigit() and int(part) < len(node) else None
    return node.get(part) if isinstance(node, dict | Config) else None


def set_work_dir(cfg: Config, work_dir: str | None = None) -> None:
    """Choose the work dir: the option, else the config's, else by the config's name.

    Args:
        cfg: The config; ``work_dir`` is set.
        work_dir: The command line's.
    """
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        name = Path(cfg.filename).stem if cfg.filename else 'run'
        cfg.work_dir = osp.join('work_dirs', name)


def check_writable(work_dir: str) -> None:
    """Make a work dir.

    Args:
        work_dir: Its path.

    Raises:
        ConfigError: If it can't be made, or nothing can be written there.
    """
    try:
        os.makedirs(work_dir, exist_ok=True)
        if not os.access(work_dir, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(
            f'{osp.abspath(work_dir)}: nothing can be written there '
            f'({error.strerror}); name another folder with --work-dir'
        ) from error
