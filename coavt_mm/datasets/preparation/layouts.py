"""Finding clips in the layouts that people keep them in.

Known names: ``<id>``, ``<id>_<start>``, ``<id>_<start>_<end>``, times in s or ms with
or without leading zeros, perhaps with AudioSet downloaders' Y in front; in any folder
below; sound in the same file, or beside it or elsewhere as wav, flac, ...
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from coavt_mm.datasets.preparation.sources import ListedClip
from coavt_mm.errors import DatasetMissingError

VIDEO_SUFFIXES = ('.mp4', '.mkv', '.webm', '.mov', '.avi', '.m4v', '.flv', '.ogv')
AUDIO_SUFFIXES = ('.flac', '.wav', '.ogg', '.opus', '.m4a', '.mp3', '.aac')


@dataclass(frozen=True)
class FoundFile:
    """A media file and the start that its name tells, in the name's own unit."""

    path: str
    start: float | None


class Found(NamedTuple):
    """The files of a clip.

    Args:
        clip, audio (str, optional): Video file, and separate sound file.
        cut (bool, optional): Whether they hold the clip's span alone. None: their
            length has to tell.
    """

    clip: str | None
    audio: str | None
    cut: bool | None


def media_files(folder: str | Path) -> Iterator[str]:
    """Paths of all media files below a folder, in order of their names.

    Raises:
        DatasetMissingError: The folder isn't there.
    """
    if not os.path.isdir(folder):
        raise DatasetMissingError(
            f'the folder of clips {folder} is missing (looked in {Path.cwd()})'
        )
    for root, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(VIDEO_SUFFIXES + AUDIO_SUFFIXES):
                yield os.path.join(root, name)


def _readings(stem: str) -> Iterator[tuple[str, float | None]]:
    """What a name may mean, (id, start), the most literal reading first.

    Ids contain underscores and digits themselves, so 'ab_12' has several readings;
    the list of wanted ids decides.
    """
    for name in (stem, stem[1:]) if stem.startswith('Y') else (stem,):
        yield name, None
        head, _, last = name.rpartition('_')
        if head and re.fullmatch(r'\d+(?:\.\d+)?', last):
            yield head, float(last)
            front, _, first = head.rpartition('_')
            if front and re.fullmatch(r'\d+(?:\.\d+)?', first):
                yield front, float(first)


class ClipIndex:
    """The files of some folders by the recording that they belong to.

    Args:
        folders (Iterable[str | Path]): Where to look, in order of preference.
        wanted (Iterable[str]): Ids of the recordings asked for.
    """

    def __init__(self, folders: Iterable[str | Path], wanted: Iterable[str]):
        wanted = set(wanted)
        self.videos: dict[str, list[FoundFile]] = defaultdict(list)
        self.sounds: dict[str, list[FoundFile]] = defaultdict(list)
        for folder in folders:
            for path in media_files(folder):
                stem, suffix = os.path.splitext(os.path.basename(path))
                kind = self.videos if suffix.lower() in VIDEO_SUFFIXES else self.sounds
                for source, start in _readings(stem):
                    if source in wanted:
                        kind[source].append(FoundFile(path, start))
                        break

    def find(self, clip: ListedClip) -> Found | None:
        """The files of a clip; None when there are none."""
        video, sound = (
            min(
                (file for file in files.get(clip.source, ()) if _fits(file, clip)),
                key=lambda file: file.start is None,  # a name with the start is surer
                default=None,
            )
            for files in (self.videos, self.sounds)
        )
        if video is None and sound is None:
            return None
        # One span holds for both files: a cut-out sound doesn't fit a whole video.
        if video and sound and (video.start is None) != (sound.start is None):
            sound = None
        cut = (video or sound).start is not None
        return Found(video and video.path, sound and sound.path, cut or None)


class FolderIndex:
    """A user's own files by their paths, with and without suffix.

    Two files that differ in their suffixes alone, a video and a sound, are one clip.

    Args:
        folders (Iterable[str | Path]): Where to look; an earlier one wins.
    """

    def __init__(self, folders: Iterable[str | Path]):
        self.videos: dict[str, str] = {}
        self.sounds: dict[str, str] = {}
        for folder in folders:
            for path in media_files(folder):
                name, suffix = os.path.splitext(os.path.relpath(path, folder))
                is_video = suffix.lower() in VIDEO_SUFFIXES
                kind = self.videos if is_video else self.sounds
                kind.setdefault(Path(name).as_posix(), path)

    def names(self) -> list[str]:
        """Names of all clips: paths below the folder, without suffix."""
        return sorted({**self.videos, **self.sounds})

    def find(self, clip: ListedClip) -> Found | None:
        """The files of a clip; its span is one of the file."""
        name, suffix = os.path.splitext(clip.source)
        known = suffix.lower() in VIDEO_SUFFIXES + AUDIO_SUFFIXES
        name = name if known else clip.source
        video, sound = self.videos.get(name), self.sounds.get(name)
        return Found(video, sound, False) if video or sound else None


def _fits(file: FoundFile, clip: ListedClip) -> bool:
    if file.start is None or clip.start is None:
        return file.start is None
    # whole seconds are often cut off; and 30 may be written as 30000 ms
    starts = (clip.start, int(clip.start), round(clip.start * 1000))
    return any(abs(file.start - start) < 1e-3 for start in starts)
