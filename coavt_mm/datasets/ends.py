"""Where the streams of a file end, by its packets; and whether they have one clock.

Recordings put one behind the other (``cat a.ts b.ts``) have each a clock of its own,
perhaps streams of its own too: a time names several pictures of them, or none.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import av

from coavt_mm.datasets.opening import open_container, source_name
from coavt_mm.datasets.timing import packet_length
from coavt_mm.errors import ClipError

# A clock that goes back by more than this (s) is another one.
SETBACK = 0.2

# So is that of a broadcast which goes on by more than this (s) while no stream has a
# packet; players take a shorter leap for a loss of reception.
LEAP = 10.0


@dataclass
class Track:
    """What the packets of a stream say.

    Args:
        kind: 'video', 'audio', ...
        begin: Time of its first packet in s of the file's clock.
        place: Position of its first packet in the file, in bytes.
        end: End of its last packet in s.
        last_place: Position of its last packet that has one.
        clock: Time (s) at which the last packet is decoded: it never goes back.
    """

    kind: str
    begin: float
    place: int
    end: float
    last_place: int
    clock: float = -math.inf


def read_tracks(
    container, chosen: tuple[int, ...], name: str, leap: float = math.inf
) -> dict[int, Track]:
    """Read the packets from here on, until they end or can't be read.

    Args:
        container: PyAV's.
        chosen: Indices of the streams whose clock counts.
        name: That of the file, for the error.
        leap: How far (s) the clock may go on without a packet.

    Returns:
        Index of a stream -> what its packets say, for those that have any.

    Raises:
        ClipError: The clock starts anew; says where.
    """
    tracks: dict[int, Track] = {}
    bases = {s.index: float(s.time_base or 0) for s in container.streams}
    for packet in _readable(container.demux()):
        index, track = packet.stream.index, tracks.get(packet.stream.index)
        time = track.end if track else 0.0  # of a raw stream
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is not None:
            time = stamp * bases[index]
        if track is None:
            kind, place = packet.stream.type, packet.pos or 0
            tracks[index] = track = Track(kind, time, place, time, place)
        if index in chosen and packet.dts is not None:
            clock, reached = packet.dts * bases[index], _end(tracks, chosen)
            if clock < track.clock - SETBACK or max(clock, time) > reached + leap:
                raise _several(container, name, reached, 'its clock starts anew')
            track.clock = clock
        track.end = max(track.end, time + packet_length(packet))
        track.last_place = max(track.last_place, packet.pos or 0)
    return tracks


def _end(tracks: dict[int, Track], chosen: tuple[int, ...]) -> float:
    return max(track.end for index, track in tracks.items() if index in chosen)


def _readable(packets: Iterator) -> Iterator:
    """Packets that are shown, as far as a damaged file can be read."""
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, ValueError):
            return
        if packet is None:
            return
        if packet.size and not packet.is_discard:
            yield packet


def _several(container, name: str, time: float, what: str) -> ClipError:
    at = time - (container.start_time or 0) / av.time_base
    return ClipError(
        f'{name}: {what} at {at:.2f} s, as in recordings put one behind the other; '
        "take each as a clip of its own, or join them with ffmpeg's concat demuxer"
    )


def packet_ends(container, chosen: tuple[int, ...], name: str) -> dict[int, float]:
    """Read the end (s) of each stream off the packets from here on, see
    ``read_tracks``.

    Raises:
        ClipError: The clock starts anew.
    """
    tracks = read_tracks(container, chosen, name)
    return {index: track.end for index, track in tracks.items()}


def broadcast_ends(
    source: 'str | os.PathLike | bytes', chosen: tuple[int, ...]
) -> dict[int, float]:
    """Read the whole of a transport or program stream, see ``packet_ends``.

    Its beginning and end don't tell whether the clock is one. A file is read once for
    all that is taken of it.

    Raises:
        ClipError: The clock starts anew, or picture or sound go on in other streams.
    """
    if isinstance(source, bytes):
        return _whole(source, chosen)
    path, status = os.path.abspath(source), os.stat(source)
    return dict(_known(path, chosen, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=10_000)
def _known(path: str, chosen: tuple[int, ...], *_state: int) -> dict[int, float]:
    return _whole(path, chosen)


def _whole(source: str | bytes, chosen: tuple[int, ...]) -> dict[int, float]:
    name = source_name(source)
    with open_container(source) as container:
        tracks = read_tracks(container, chosen, name, LEAP)
        for index, track in tracks.items():
            read = [tracks[i] for i in chosen if i in tracks]
            same = [t.last_place for t in read if t.kind == track.kind]
            if index not in chosen and same and track.place > max(same):
                what = {'video': 'its picture', 'audio': 'its sound'}[track.kind]
                where = _end(tracks, chosen)
                raise _several(container, name, where, f'{what} goes on elsewhere')
    return {index: track.end for index, track in tracks.items()}
