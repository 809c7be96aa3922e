"""Folders, manifests and lists -> single clips; nothing is read of the clips yet."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import fsspec
import numpy as np

from coavt_mm.datasets.folders import (
    MEDIA_SUFFIXES,
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    is_media_name,
    media_files,
)
from coavt_mm.datasets.manifest import find_manifest, iter_manifest
from coavt_mm.errors import ClipError, InputError

SUFFIXES = (*MEDIA_SUFFIXES, *PICTURE_SUFFIXES)
MANIFEST_SUFFIX = '.jsonl'


def is_array(value: Any) -> bool:
    """Whether a value is an array of numpy or a tensor."""
    torch = sys.modules.get('torch')  # without it there are no tensors
    return isinstance(value, np.ndarray) or bool(
        torch and isinstance(value, torch.Tensor)
    )


def is_address(value: Any) -> TypeGuard[str]:
    """Whether a value is an address that fsspec opens."""
    return isinstance(value, str) and '://' in value


def is_manifest(value: Any) -> bool:
    """Whether a path is that of a manifest (.jsonl) on this machine."""
    if not isinstance(value, str | os.PathLike) or is_address(value):
        return False
    return os.fspath(value).lower().endswith(MANIFEST_SUFFIX)


def has_media_suffix(path: str) -> bool:
    """Whether a name ends as films, sounds and pictures do."""
    return path.lower().endswith(SUFFIXES)


def is_list(value: Any) -> bool:
    """Whether something is a list of clips; (waveform, rate) is one sound."""
    if isinstance(value, tuple) and len(value) == 2 and is_array(value[0]):
        return False
    return isinstance(value, list | tuple)


def is_strict(on_error: str | None, *given: Any) -> bool:
    """Whether a clip that can't be read ends the call.

    Args:
        on_error: 'raise' or 'keep'; None leaves it to what is given.
        *given: What was handed in: a single clip ends it, a list, a folder and a
            manifest don't, however many clips they hold.

    Raises:
        InputError: ``on_error`` is something else.
    """
    if on_error not in (None, 'raise', 'keep'):
        raise InputError(f"on_error must be 'raise' or 'keep', not {on_error!r}")
    if on_error is None:
        return not any(is_list(x) or is_manifest(x) or _is_folder(x) for x in given)
    return on_error == 'raise'


def listed(value: Any, what: str = 'video') -> list:
    """List single inputs: a folder's media files, in depth; a manifest's rows.

    Raises:
        InputError: A list, folder or manifest is empty.
        ClipError: An address can't be looked up.
        DatasetMissingError: A manifest is missing.
        ManifestError: A manifest's row is wrong.
    """
    if not is_list(value):
        return _expanded(value)
    if not value:
        raise InputError(f'{what}: the list is empty')
    return [single for part in value for single in _expanded(part)]


def _expanded(value: Any) -> list:
    if is_manifest(value):
        return read_clips(value)
    return in_folder(value) if _is_folder(value) else [value]


def read_clips(manifest: str | Path, data_root: str | Path | None = None) -> list[dict]:
    """List the clips of a manifest, in the form that all functions take.

    Args:
        manifest: JSON lines, as the preparation tools write them.
        data_root: Folder that its relative paths start from.
            Default: the one that it lies in.

    Returns:
        A dict per row: ``name`` (its id), ``video``, ``audio`` (paths), ``start``,
        ``end`` (s), as far as the row has them.

    Raises:
        DatasetMissingError: The manifest is missing.
        ManifestError: A row is wrong; the message names file and line.
        InputError: It has no rows.
    """
    path = find_manifest(os.fspath(manifest))
    clips = []
    for row in iter_manifest(path, path.parent if data_root is None else data_root):
        sound = row['audio_path'] if row['audio_path'] != row['clip_path'] else None
        span = dict(start=row['start'], end=row['end'])
        clips.append(
            dict(name=row['sample_id'], video=row['clip_path'], audio=sound, **span)
        )
    if not clips:
        raise InputError(f'{path}: the manifest has no rows')
    return clips


def in_folder(place: str | Path) -> list[str]:
    """List the paths or addresses of all media files below a folder, sorted.

    Raises:
        InputError: There is none.
    """
    if is_address(place):
        system, root = fsspec.core.url_to_fs(place)
        below = from_store(lambda: system.find(root), place)
        inside = {name: os.path.relpath(name, root) for name in below}
        found = [
            system.unstrip_protocol(name)
            for name, path in sorted(inside.items())
            if is_media_name(path) and '/.' not in f'/{path}'
        ]
    else:
        found = media_files(os.path.expanduser(place))
    if not found:
        raise InputError(
            f'{place}: the folder has no media file ({", ".join(MEDIA_SUFFIXES)}); '
            'still pictures are taken when they are named one by one'
        )
    return found


def both_folders(video: Any, audio: Any) -> list[tuple[str, str]] | None:
    """Pair films and sounds of two folders by name; None where not both are.

    Raises:
        InputError: A name is in one folder only, or twice.
    """
    if not (_is_folder(video) and _is_folder(audio)):
        return None
    shown = [path for path in in_folder(video) if path.lower().endswith(VIDEO_SUFFIXES)]
    films, sounds = _by_name(shown, video), _by_name(in_folder(audio), audio)
    for name in sorted(films.keys() ^ sounds.keys()):
        raise InputError(
            f'{video} and {audio}: the folders hold different names, {name} is in one '
            'of them only'
        )
    return [(films[name], sounds[name]) for name in films]


def _by_name(paths: list[str], folder: str | Path) -> dict[str, str]:
    """Files by their paths below the folder, without suffix."""
    found: dict[str, str] = {}
    for path in paths:
        name = os.path.splitext(os.path.relpath(path, os.path.expanduser(folder)))[0]
        if name in found:
            raise InputError(f'{path} and {found[name]} bear one name')
        found[name] = path
    return found


def _is_folder(place: Any) -> bool:
    if not isinstance(place, str | os.PathLike):
        return False
    if not is_address(place):
        return os.path.isdir(os.path.expanduser(place))
    if place.startswith(('http://', 'https://')) or has_media_suffix(place):
        return False  # of a page fsspec would look for links
    return from_store(lambda: fsspec.core.url_to_fs(place)[0].isdir(place), place)


def from_store(call: Callable[[], Any], place: Any) -> Any:
    """Return what an address gives, or raise one error that names it.

    Raises:
        ClipError: The store can't be reached, or has no such file.
    """
    try:
        return call()
    except Exception as error:  # every store raises its own kinds
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise ClipError(f'{place}: can not be read ({reason})') from error


def make_folder(path: str | Path) -> Path:
    """Make a folder, if it is not there.

    Raises:
        InputError: It can't be made.
    """
    path = Path(path).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'{path}: is no folder ({error.strerror})') from error
    return path
