"""Where the picture and the sound of a row come from.

A row carries its sources under ``picture`` and ``sound``; where it carries none, they
are the files at ``clip_path`` and ``audio_path``. What differs between a file, a sample
of a shard and an array is known here, and to no transform.

Letters: F frames, H height, W width (pixels), S audio samples.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np

from coavt_mm.datasets.decoding import read_audio, read_frames
from coavt_mm.datasets.media import Media, Source, kept_open, probe
from coavt_mm.datasets.media_info import MediaInfo
from coavt_mm.datasets.opening import source_name
from coavt_mm.datasets.shards.archive import SOUND_CODECS, decode_jpeg
from coavt_mm.errors import ClipError

Frames = tuple[list[np.ndarray], list[float]]


class ClipSource(ABC):
    """A picture, a sound, or both. Times are in s of the source's own clock.

    Attributes:
        name: For messages.
        stored_times: Times of the only frames that there are; None where the frame on
            the screen at any time can be had.
        rate: Frames per second.
    """

    name: str
    stored_times: list[float] | None = None
    rate: float = 1.0

    @property
    @abstractmethod
    def info(self) -> MediaInfo:
        """What it holds, and from when to when."""

    @abstractmethod
    def frames(self, times: Sequence[float], backend: str = 'pyav') -> Frames:
        """Read the frames on the screen at some times, ascending.

        Args:
            times: In s; some of ``stored_times`` where these are given.
            backend: Decoder of files, see ``read_frames``.

        Returns:
            F arrays (H, W, 3) uint8 RGB, and the times at which they begin.

        Raises:
            ClipError: They can't be read.
        """

    @abstractmethod
    def audio(self, start: float, end: float | None, rate: int) -> np.ndarray | None:
        """Read the sound in [start, end) as mono.

        Args:
            start: In s.
            end: In s; None means the end of the sound.
            rate: Of the result in Hz.

        Returns:
            (S,) float32, or None where there is none.

        Raises:
            ClipError: It can't be read.
        """

    def opened(self) -> AbstractContextManager['ClipSource']:
        """Open it for several readings."""
        return nullcontext(self)

    def sound_span(self, start: float, end: float | None) -> tuple[float, float | None]:
        """Where the sound of a row's span [start, end) lies."""
        return start, end


class FileSource(ClipSource):
    """A file.

    Args:
        file: Its path, its content, or itself, opened.
    """

    def __init__(self, file: Source):
        self.file, self.name = file, source_name(file)
        if isinstance(file, Media) and file.video:  # files of pictures have no rate
            self.rate = float(file.video.average_rate or 25)

    @contextmanager
    def opened(self):
        """Open it for several readings; only then its ``rate`` is known."""
        with kept_open(self.file) as file:
            yield FileSource(file)

    @property
    def info(self) -> MediaInfo:
        """See ``probe``."""
        return probe(self.file)

    def frames(self, times: Sequence[float], backend: str = 'pyav') -> Frames:
        """See ``read_frames``."""
        return read_frames(self.file, times, backend)

    def audio(self, start: float, end: float | None, rate: int) -> np.ndarray | None:
        """See ``read_audio``."""
        return read_audio(self.file, start, end, rate)


class ArraySource(ClipSource):
    """Frames or a waveform that are there already.

    Args:
        frames: (F, H, W, 3) uint8 RGB.
        rate: Frames per second.
        waveform: (S,) float32.
        sample_rate: Of the waveform in Hz, that of the transform that reads it.
    """

    name = 'an array'

    def __init__(
        self,
        frames: np.ndarray | None = None,
        rate: float = 1.0,
        waveform: np.ndarray | None = None,
        sample_rate: float = 1.0,
    ):
        self.images, self.rate = frames, rate
        self.waveform, self.sample_rate = waveform, sample_rate

    @property
    def info(self) -> MediaInfo:
        """From 0 to where the arrays end."""
        spans: list[float | None] = []
        arrays = (self.images, self.rate), (self.waveform, self.sample_rate)
        for values, rate in arrays:
            spans += [None, None] if values is None else [0.0, len(values) / rate]
        return MediaInfo(*spans)

    def frames(self, times: Sequence[float], backend: str = 'pyav') -> Frames:
        """Pick the frames on the screen at some times."""
        assert self.images is not None
        index = np.floor((np.asarray(times) + 1e-3) * self.rate).astype(int)
        index = index.clip(0, len(self.images) - 1)
        return [self.images[i] for i in index], (index / self.rate).tolist()

    def audio(self, start: float, end: float | None, rate: int) -> np.ndarray | None:
        """Cut [start, end) out."""
        assert self.waveform is not None
        begin, stop = (None if t is None else round(t * rate) for t in (start, end))
        part = self.waveform[begin:stop]
        return part if len(part) else None


class ShardSource(ClipSource):
    """A sample of a shard: what was read of a row's span when the shard was made.

    Args:
        members: Name without key -> content.
        frame_times: Of the frames that it has, in s.
        seconds: How much sound it has, from time 0 on.
    """

    name = 'a sample of a shard'

    def __init__(
        self, members: dict[str, bytes], frame_times: list[float], seconds: float
    ):
        self.members, self.seconds = members, seconds
        self.stored_times: list[float] = frame_times

    @property
    def info(self) -> MediaInfo:
        """Of the sound; where the whole picture lay is not known any more."""
        return MediaInfo(audio_start=0.0, audio_end=self.seconds)

    def sound_span(self, start: float, end: float | None) -> tuple[float, float | None]:
        """All of it, which is the row's span."""
        return 0.0, self.seconds

    def frames(self, times: Sequence[float], backend: str = 'pyav') -> Frames:
        """Decode the JPEGs of some of ``stored_times``."""
        picks = [self.stored_times.index(time) for time in times]
        images = [decode_jpeg(self._member(f'{pick:02d}.jpg')) for pick in picks]
        return images, [self.stored_times[pick] for pick in picks]

    def audio(self, start: float, end: float | None, rate: int) -> np.ndarray | None:
        """Decode the sound."""
        if not self.seconds:
            return None
        return read_audio(self._member(*SOUND_CODECS), start, end, rate)

    def _member(self, *names: str) -> bytes:
        """The first member that has one of the names."""
        for name in names:
            if name in self.members:
                return self.members[name]
        raise ClipError(f'the sample of the shard has no {" or ".join(names)}')


def source_of(row: dict, kind: str, path: str) -> ClipSource | None:
    """Find the source of a row's picture or sound.

    Args:
        row: With the key ``kind``, else with ``path``.
        kind: 'picture' or 'sound'.
        path: The key of the file.

    Returns:
        None where the row has none.
    """
    if kind in row:
        return row[kind]
    return None if row[path] is None else FileSource(row[path])


def is_named(source: ClipSource) -> bool:
    """Whether a source is the file of its name, which stays what it is."""
    return isinstance(source, FileSource) and isinstance(source.file, str | Path)
