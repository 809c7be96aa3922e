"""Which files of a folder are clips: their suffixes, and the walk."""

import logging
import os
from pathlib import Path

from mmengine.logging import print_log

from coavt_mm.errors import DatasetMissingError, shown

VIDEO_SUFFIXES = (
    '.mp4', '.mkv', '.webm', '.mov', '.avi', '.m4v', '.flv', '.f4v', '.ogv', '.wmv',
    '.asf', '.mpg', '.mpeg', '.vob', '.ts', '.mts', '.m2ts', '.3gp', '.3g2',
)  # fmt: skip
AUDIO_SUFFIXES = (
    '.flac', '.wav', '.ogg', '.oga', '.opus', '.m4a', '.mp3', '.aac', '.ac3', '.mka',
    '.wma', '.aiff', '.aif', '.weba', '.amr', '.caf',
)  # fmt: skip
MEDIA_SUFFIXES = VIDEO_SUFFIXES + AUDIO_SUFFIXES
# A picture that is handed in by its name is a clip; in a folder of clips it is what
# downloaders leave beside them.
PICTURE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp')


def is_media_name(path: str) -> bool:
    """Whether a file in a folder is a clip by its name, which hidden ones are not.

    macOS leaves ``._clip.mp4`` beside each ``clip.mp4`` that it copies.
    """
    name = path.rpartition('/')[2]
    return not name.startswith('.') and name.lower().endswith(MEDIA_SUFFIXES)


def media_files(folder: str | Path) -> list[str]:
    """Paths of all media files below a folder, sorted.

    Hidden files and folders are passed over. Links are followed, but no folder is
    entered twice: of several ways to it the one without a link gives the name.

    Raises:
        DatasetMissingError: The folder isn't there.
    """
    if not os.path.isdir(folder):
        raise DatasetMissingError(
            f'the folder of clips {folder} is missing (looked in {Path.cwd()})'
        )
    found, links = [], [os.fspath(folder)]
    seen: set = set()
    while links:
        files, more = _below(links.pop(0), seen)
        found += files
        links += sorted(more)
    return sorted(found)


def _below(top: str, seen: set[tuple[int, int]]) -> tuple[list[str], list[str]]:
    """Media files below a folder, and the links to folders met there, not followed."""
    files, links = [], []
    for root, folders, names in os.walk(top, onerror=_say_unreadable):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        files += [os.path.join(root, name) for name in names if is_media_name(name)]
        shown = [name for name in folders if not name.startswith('.')]
        paths = [os.path.join(root, name) for name in shown]
        links += [path for path in paths if os.path.islink(path)]
        folders[:] = sorted(shown)
    return files, links


def _say_unreadable(error: OSError) -> None:
    message = f'{error.filename}: {error.strerror}; the clips below it are left out'
    print_log(shown(message), logger='current', level=logging.WARNING)
