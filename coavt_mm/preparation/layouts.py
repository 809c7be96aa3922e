"""Finding clips in the layouts that people keep them in.

Known names: ``<id>``, ``<id>_<start>``, ``<id>_<start>_<end>``, times in s or ms with
or without leading zeros, perhaps with AudioSet downloaders' Y in front; in any folder
below; sound in the same file, or beside it or elsewhere as wav, flac, ...
"""

import logging
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import print_log

from coavt_mm.datasets.folders import MEDIA_SUFFIXES, VIDEO_SUFFIXES, media_files
from coavt_mm.errors import shown
from coavt_mm.preparation.sources import ListedClip


@dataclass(frozen=True)
class FoundFile:
    """A media file, and the start and end that its name tells, in its own unit."""

    path: str
    start: float | None
    end: float | None = None


class Found(NamedTuple):
    """The files of a clip.

    Args:
        clip, audio: Video file, and separate sound file.
        cut: Whether they hold the clip's span alone. None: their length has to tell.
    """

    clip: str | None
    audio: str | None
    cut: bool | None


def _warn(message: str) -> None:
    print_log(shown(message), logger='current', level=logging.WARNING)


def _named_files(folder: str | Path) -> list[str]:
    """Media files whose names a manifest, which is UTF-8, can hold."""
    files = media_files(folder)
    strange = [path for path in files if not _is_text(path)]
    if strange:
        _warn(
            f'{folder}: {len(strange)} files are left out, whose names are not UTF-8; '
            f'rename them, the first is {strange[0]}'
        )
    return [path for path in files if _is_text(path)]


def _is_text(name: str) -> bool:
    """False where the name on disk has bytes that are no UTF-8."""
    return not any('\udc80' <= letter <= '\udcff' for letter in name)


def _readings(stem: str) -> Iterator[tuple[str, float | None, float | None]]:
    """What a name may mean, (id, start, end), the most literal reading first.

    Ids contain underscores and digits themselves, so 'ab_12' has several readings;
    the list of wanted ids decides.
    """
    for name in (stem, stem[1:]) if stem.startswith('Y') else (stem,):
        yield name, None, None
        head, _, last = name.rpartition('_')
        if head and re.fullmatch(r'\d+(?:\.\d+)?', last):
            yield head, float(last), None
            front, _, first = head.rpartition('_')
            if front and re.fullmatch(r'\d+(?:\.\d+)?', first):
                yield front, float(first), float(last)


class ClipIndex:
    """The files of some folders by the recording that they belong to.

    Args:
        folders: Where to look, in order of preference.
        wanted: Ids of the recordings asked for.
    """

    def __init__(self, folders: Iterable[str | Path], wanted: Iterable[str]):
        wanted = set(wanted)
        self.videos: dict[str, list[FoundFile]] = defaultdict(list)
        self.sounds: dict[str, list[FoundFile]] = defaultdict(list)
        for folder in folders:
            for path in _named_files(folder):
                stem, suffix = os.path.splitext(os.path.basename(path))
                kind = self.videos if suffix.lower() in VIDEO_SUFFIXES else self.sounds
                for source, *span in _readings(stem):
                    if source in wanted:
                        kind[source].append(FoundFile(path, *span))
                        break

    def find(self, clip: ListedClip) -> Found | None:
        """The files of a clip; None when there are none."""
        video, sound = (
            min(
                (file for file in files.get(clip.source, ()) if _fits(file, clip)),
                # a name with the start is surer, and one with the end too
                key=lambda file: (file.start is None, not _ends_with(file, clip)),
                default=None,
            )
            for files in (self.videos, self.sounds)
        )
        if video is None and sound is None:
            return None
        # One span holds for both files: a cut-out sound doesn't fit a whole video.
        if video and sound and (video.start is None) != (sound.start is None):
            sound = None
        cut = any(file and file.start is not None for file in (video, sound))
        clip_path, audio_path = (file.path if file else None for file in (video, sound))
        return Found(clip_path, audio_path, cut or None)


class FolderIndex:
    """A user's own files by their paths, with and without suffix.

    Two files that differ in their suffixes alone are one clip where the one is a video
    and the other a sound, else two.

    Args:
        folders: Where to look; an earlier one wins.
    """

    def __init__(self, folders: Iterable[str | Path]):
        self.folders = [os.fspath(folder) for folder in folders]
        self.videos: dict[str, list[str]] = defaultdict(list)
        self.sounds: dict[str, list[str]] = defaultdict(list)
        for folder in self.folders:
            for path in _named_files(folder):
                name, suffix = os.path.splitext(os.path.relpath(path, folder))
                is_video = suffix.lower() in VIDEO_SUFFIXES
                (self.videos if is_video else self.sounds)[_composed(name)].append(path)

    def names(self) -> list[str]:
        """Names of all clips: paths below the folder, without suffix; of files whose
        names differ in it alone, all but the first keep theirs."""
        found = {**self.videos, **self.sounds}
        alone = {n: files for n, files in self.sounds.items() if n not in self.videos}
        for kind in (self.videos, alone):
            for name, (first, *others) in kind.items():
                found.update(
                    (name + os.path.splitext(other)[1], [])
                    for other in others
                    if os.path.dirname(other) == os.path.dirname(first)
                )
        spare = [f[1] for n, f in self.sounds.items() if n in self.videos and f[1:]]
        if spare:
            _warn(
                f'{len(spare)} videos have more than one sound of their name, of which '
                f'the first is taken; left out is {spare[0]}'
            )
        return sorted(found)

    def find(self, clip: ListedClip) -> Found | None:
        """The files of a clip; its span is one of the file.

        Its path may start from a folder, from the working directory or from the root,
        and may differ from that on disk in the way that accents are composed.
        """
        for source in self._spellings(clip.source):
            name, suffix = os.path.splitext(source)
            name = name if suffix.lower() in MEDIA_SUFFIXES else source
            video, sound = (
                _preferred(files.get(name, ()), suffix)
                for files in (self.videos, self.sounds)
            )
            if video or sound:
                return Found(video, sound, False)
        return None

    def _spellings(self, source: str) -> Iterator[str]:
        """Paths below a folder that a path in a list may mean, the plainest first."""
        if '\0' in source:
            return
        yield _composed(source)
        yield _composed(os.path.normpath(source))  # ./x, a//b, a/../b
        yield _composed(os.path.normpath(source.replace('\\', '/')))  # of Windows
        for folder in self.folders:
            for whole in (os.path.abspath, os.path.realpath):
                path = os.path.relpath(whole(source), whole(folder))
                yield _composed(path)
            # a link within the folder to another one there
            inside = os.path.realpath(os.path.join(folder, source))
            yield _composed(os.path.relpath(inside, os.path.realpath(folder)))


def _composed(name: str) -> str:
    """Accents as one letter: macOS splits them, lists seldom do."""
    return unicodedata.normalize('NFC', name)


def _preferred(paths: Sequence[str], suffix: str) -> str | None:
    """The first file of that suffix, else the first."""
    same = (path for path in paths if path.lower().endswith(suffix.lower()))
    return next(same, paths[0]) if paths else None


def _fits(file: FoundFile, clip: ListedClip) -> bool:
    if file.start is None or clip.start is None:
        return file.start is None
    if clip.names_end and file.end is not None and not _ends_with(file, clip):
        return False  # it is the other clip with this start
    return _same_time(file.start, clip.start)


def _ends_with(file: FoundFile, clip: ListedClip) -> bool:
    if file.end is None or clip.end is None:
        return False
    return _same_time(file.end, clip.end)


def _same_time(named: float, seconds: float) -> bool:
    # whole seconds are often cut off; and 30 may be written as 30000 ms
    times = (seconds, int(seconds), round(seconds * 1000))
    return any(abs(named - time) < 1e-3 for time in times)
