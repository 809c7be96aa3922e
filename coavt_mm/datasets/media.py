"""Media files: what do they hold, and where in time?

Time 0 of a file is the start of its container, for picture, sound and spans alike:
files cut by stream copy, transport streams and broadcasts count from anywhere.
"""

import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from coavt_mm.datasets.ends import broadcast_ends, packet_ends
from coavt_mm.datasets.media_info import MediaInfo
from coavt_mm.datasets.opening import (
    DECODER_ERRORS,
    MOST_PIXELS,
    check_regular_file,
    head,
    open_container,
    source_name,
)
from coavt_mm.datasets.sizes import (
    has_fragments,
    is_chained,
    missing_share,
    states_nothing,
)
from coavt_mm.datasets.stills import is_still, still_span
from coavt_mm.datasets.timing import (
    BROADCAST,
    GUESSED_LENGTH,
    LENGTH_OR_END,
    RECKONED,
    UNSTAMPED,
    UNTIMED,
    packet_length,
    timed_pictures,
    timed_sounds,
)
from coavt_mm.errors import ClipError

# A length that FFmpeg reckons from what is there differs from that by less (s).
SETTLED = 0.1
# A stream may end this much (s) before the length that its container states:
# encoders round up to whole packets, and the last frame stays on the screen.
LENGTH_TOLERANCE = 0.5


def _chosen(streams, kind: str):
    """The first stream that can be decoded, of those that the file says are played by
    default, if it does; the cover picture of a song is none."""
    is_cover, is_default = Disposition.attached_pic, Disposition.default
    there = [stream for stream in streams if not stream.disposition & is_cover]
    for stream in sorted(there, key=lambda stream: not stream.disposition & is_default):
        if stream.codec_context is not None:
            stream.codec_context.thread_count = 1  # workers are the parallelism
            stream.codec_context.options = dict(max_pixels=str(MOST_PIXELS))
            return stream
    if there:
        raise ValueError(f'there is no decoder for the codec of its {kind}')
    return None


class Media:
    """An opened file. Its times are those of the file itself; ``info`` and the readers
    of ``decoding.py`` count from ``start``.

    Args:
        source: The file, or its content; no still picture.

    Attributes:
        start: Time in s of the file's own clock that is called 0.
        video, audio: PyAV's streams, or None.

    Raises:
        ClipError: It isn't there, or can't be opened.
    """

    def __init__(self, source: 'str | Path | bytes'):
        check_regular_file(source)
        self.source, self.name = source, source_name(source)
        self.waveforms: dict[int, Any] = {}  # of an untimed file, by rate
        self._busy = threading.RLock()
        try:
            self._open()
            if self.container.format.name in BROADCAST:
                self._ends = broadcast_ends(source, self._chosen)
        except DECODER_ERRORS as error:
            raise ClipError(f'{self.name}: {error}') from error

    def __str__(self) -> str:
        return self.name

    def _open(self) -> None:
        self.container = open_container(self.source)
        self.video = _chosen(self.container.streams.video, 'picture')
        self.audio = _chosen(self.container.streams.audio, 'sound')
        start = self.container.start_time
        self.start = 0.0 if start is None else start / av.time_base
        self._fresh = True  # nothing has been read yet

    @property
    def _chosen(self) -> tuple[int, ...]:
        return tuple(stream.index for stream in (self.video, self.audio) if stream)

    def rewind(self) -> None:
        """Open anew: sought back, Matroska loses the first sound, AAC alters it."""
        if not self._fresh:
            self._open()  # the old container stays open for who holds its streams
        self._fresh = False  # who rewinds reads

    def close(self) -> None:
        """Closes the file, unless a reader that hangs still has it."""
        if self._busy.acquire(blocking=False):
            self.video = self.audio = None
            self.container.close()
            self._busy.release()

    @contextmanager
    def reading(self) -> Iterator['Media']:
        """One reader at a time."""
        with self._busy:
            yield self

    @cached_property
    def is_untimed(self) -> bool:
        """Whether the times of its sound are known only by decoding all of it."""
        name = self.container.format.name
        if name == 'wav' and self.audio:  # FFmpeg guesses at times of these
            return self.audio.codec_context.name.startswith('adpcm')
        chained = name == 'ogg' and not self.video and is_chained(self.source)
        return name in UNTIMED or chained

    @cached_property
    def missing(self) -> float:
        """How much of it (0 to 1) isn't there, by what it says itself."""
        return missing_share(self.source)

    @property
    def _stretch(self) -> float:
        """By what FFmpeg's length is to be multiplied."""
        return 1 / (1 - self.missing * (self.container.format.name in RECKONED))

    @cached_property
    def _is_unstated(self) -> bool:
        """Whether its header gives no length."""
        part = self.container.format.name == 'flac' and self.start > 0
        guessed = self.container.format.name in GUESSED_LENGTH or self.is_untimed
        return guessed or part or states_nothing(self.source)

    @property
    def file_end(self) -> float | None:
        """The end in s that the container states; None where it states none."""
        if self._is_unstated or self.container.duration is None:
            return None
        length = self.container.duration / av.time_base
        if self.container.format.name == 'asf':  # states one for all streams
            streams = self.container.streams
            length = float(max((s.duration or 0) * (s.time_base or 0) for s in streams))
        return self._after(self.start, self._stretch * length)

    @cached_property
    def info(self) -> MediaInfo:
        """What the file holds, by its header and by its last packets."""
        with self.reading():
            return MediaInfo(*self._span(self.video), *self._span(self.audio))

    def _span(self, stream) -> tuple[float, float] | tuple[None, None]:
        """Begin and end in s; (None, None) for a stream that holds nothing."""
        if stream is None:
            return None, None
        begin = self.begin(stream)
        stated, found = self.stated_end(stream), self._ends.get(stream.index)
        if found is None and stated is None:
            return None, None
        if self.missing or not self.is_whole:
            return max(begin - self.start, 0.0), self._lost_end(stated, found)
        # a header may tell less than there is, where frames come in uneven time
        slack = 0 if self.container.format.name in BROADCAST else LENGTH_TOLERANCE
        end = (found or 0.0) if stated is None else stated
        end = found if found and found > end + slack else end
        return max(begin - self.start, 0.0), max(end - self.start, 0.0)

    def _lost_end(self, stated: float | None, found: float | None) -> float:
        """Where a stream ends of whose file a part is missing."""
        end, reached = stated or self.file_end or 0.0, found or self.start
        if self.missing and end < reached + SETTLED:
            at = f'{reached - self.start:.2f} s, {self.missing:.1%} of it is missing'
            raise ValueError(f'the file breaks off at {at}')
        return max(end, reached) - self.start

    @staticmethod
    def begin(stream) -> float:
        """The time in s of a stream's first packet that is shown."""
        return float((stream.start_time or 0) * stream.time_base)

    def _after(self, begin: float, length: float) -> float:
        """Where a stated length ends; of ``LENGTH_OR_END`` the sooner is taken."""
        name = self.container.format.name
        either = name.startswith(LENGTH_OR_END) or self._is_fragmented
        return length if either and length > begin else begin + length

    @cached_property
    def _is_fragmented(self) -> bool:
        name = self.container.format.name
        return name.startswith('mov') and has_fragments(self.source)

    def stated_end(self, stream) -> float | None:
        """The end in s that the header gives a stream; None where it gives none."""
        if self._is_unstated:
            return None
        begin, asf = self.begin(stream), self.container.format.name == 'asf'
        if stream.duration is not None and not asf:  # there it is the file's
            length = self._stretch * float(stream.duration * stream.time_base)
            return self._after(begin, length)
        # Matroska: '00:00:10.016000000'
        tag = re.fullmatch(
            r'(\d+):(\d+):(\d+(?:\.\d+)?)', stream.metadata.get('DURATION', '')
        )
        if tag:
            hours, minutes, seconds = map(float, tag.groups())
            return self._after(begin, 3600 * hours + 60 * minutes + seconds)
        # The container's length is that of its longest stream: no bound for others.
        if len(self.container.streams) == 1 and self.container.duration is not None:
            return self._after(begin, self.container.duration / av.time_base)
        return None

    @cached_property
    def is_whole(self) -> bool:
        """Whether any stream reaches the length that the container states."""
        end, found = self.file_end, max(self._ends.values(), default=0.0)
        return end is None or found >= end - LENGTH_TOLERANCE

    @cached_property
    def _ends(self) -> dict[int, float]:
        """Index of a stream -> end in s of its last packet, for all streams that have
        packets near the end of the file."""
        if self.is_untimed:
            self.rewind()
            return self._decoded_ends()
        streams = [stream for stream in (self.video, self.audio) if stream]
        ends: dict[int, float] = {}
        if self.file_end is not None and self._try_seek(
            round((self.start + self.file_end) * av.time_base)
        ):
            ends = self._demuxed_ends()
        unknown = [s for s in streams if s.index not in ends and not self.stated_end(s)]
        if unknown or not ends:
            self.rewind()
            ends = self._demuxed_ends()
        return ends

    def _decoded_ends(self) -> dict[int, float]:
        sounds = (frame for _, frame in self._decoded(self.audio))
        seconds = sum(frame.samples / frame.sample_rate for frame in sounds)
        return {self.audio.index: self.start + seconds}

    def _demuxed_ends(self) -> dict[int, float]:
        self._fresh = False
        return packet_ends(self.container, self._chosen, self.name)

    def _try_seek(self, offset: int, stream=None) -> bool:
        self._fresh = False
        try:
            self.container.seek(offset, stream=stream)
        except (av.FFmpegError, OSError):
            return False
        return True

    def frames_from(self, stream, time: float) -> Iterator[tuple[float, Any]]:
        """Decode from a time on.

        Args:
            stream: ``video`` or ``audio``.
            time: In s of the file's own clock.

        Returns:
            (time in s of the file's clock, PyAV's frame), the first of which isn't
            later than ``time``, unless the stream begins later.
        """
        # a seek may land behind what it was asked for: streams are sought by the order
        # of decoding, and a broadcast has pictures that can't be decoded first
        backs = (0.0, 1.0, 4.0, 16.0)
        for back in backs if self._stretch == 1 else ():  # the index is at the end
            aim = time - back
            if aim <= self.begin(stream) or not self._try_seek(
                math.floor(aim / stream.time_base), stream
            ):
                break
            frames = self._decoded(stream, sought=True)
            first = next(frames, None)
            if first and first[0] <= time + 1e-3:
                return chain([first], frames)
        self.rewind()
        fresh = self.video if stream.type == 'video' else self.audio
        return self._decoded(fresh)

    def _decoded(self, stream, sought: bool = False) -> Iterator[tuple[float, Any]]:
        """(time in s, frame) from here on."""
        packets, begin = self._packets(stream, sought), self.begin(stream)
        if stream.type != 'video':
            return timed_sounds(packets, stream, begin)
        ordered = sought and self.container.format.name == 'avi'
        return timed_pictures(packets, stream, begin, self._delay if ordered else None)

    @cached_property
    def _delay(self) -> int:
        """Packets that the decoder takes at the begin before it gives a picture."""
        with open_container(self.source) as container:
            stream = _chosen(container.streams.video, 'picture')
            packets = (packet for packet in container.demux(stream) if packet.size)
            for taken, packet in enumerate(packets):
                with suppress(av.InvalidDataError):
                    if packet.decode():
                        return taken
        return 0

    def _packets(self, stream, sought: bool) -> Iterator[tuple[object, list]]:
        """(packet, the frames that it brings) from here on.

        After a seek, what can't be decoded before the first frame is the rest of
        something that began earlier; so it is where a broadcast was cut. A raw stream
        may hold the tags of the files that it was put together from.
        """
        self._fresh, lost = False, 0.0
        name = self.container.format.name
        raw, sought = name in (*UNSTAMPED, *BROADCAST), sought or name in BROADCAST
        for packet in self.container.demux(stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                lost += packet_length(packet) if raw else math.inf
                if not sought and lost > LENGTH_TOLERANCE:
                    raise
                continue
            sought = sought and not frames
            yield packet, frames


Source = str | Path | bytes | Media


@contextmanager
def opened(source: Source) -> Iterator[Media]:
    """The opened file of a source: one that is open stays so, another is closed again.

    Raises:
        ClipError: See ``Media``.
    """
    if isinstance(source, Media):
        with source.reading():
            yield source
        return
    media = Media(source)
    try:
        yield media
    finally:
        media.close()


@contextmanager
def kept_open(source: Source) -> Iterator[Source]:
    """A source for several readings, opened once if it is a file with streams.

    Raises:
        ClipError: See ``Media``.
    """
    check_regular_file(source)
    if isinstance(source, Media) or is_still(head(source)):
        yield source
        return
    with opened(source) as media:
        yield media


def probe(source: Source) -> MediaInfo:
    """Read which streams a file has and what they span.

    Args:
        source: The file, or its content.

    Raises:
        ClipError: The file can't be opened.
    """
    check_regular_file(source)
    try:
        if not isinstance(source, Media) and is_still(head(source)):
            return MediaInfo(*still_span(source))
        with opened(source) as media:
            return media.info
    except DECODER_ERRORS as error:
        raise ClipError(f'{source_name(source)}: {error}') from error
