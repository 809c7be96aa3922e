"""How containers count time; times of packets and frames, in s of their clock."""

from collections import deque
from collections.abc import Iterator
from typing import Any

# Streams without a container: their length is guessed from the bit rate.
GUESSED_LENGTH = (
    'mp3', 'aac', 'loas', 'mpeg', 'ac3', 'eac3', 'dts', 'dtshd', 'truehd', 'mlp', 'amr',
    'h261', 'h263', 'h264', 'hevc', 'vvc', 'av1', 'obu', 'm4v', 'mpegvideo', 'mjpeg',
    'vc1', 'cavsvideo',
)  # fmt: skip

# Packets of these have no times of their own: sound follows on sound.
UNSTAMPED = tuple(name for name in GUESSED_LENGTH if name != 'mpeg')

# Of these not even the time of a packet is known: it is counted with the first rate.
UNTIMED = ('aac', 'loas')

# Streams that are joined anywhere: they begin and end in the middle of something, and
# state no length but one that is reckoned from the beginnings of packets.
BROADCAST = ('mpegts', 'mpeg')

# What is there of these FFmpeg takes for all.
RECKONED = ('wav', 'w64', 'avi')

# Files that begin late: some writers state the length, others the time of the end. So
# it is with fragments of mp4 whose first ones are left out.
LENGTH_OR_END = ('matroska', 'asf', 'nut')


def packet_length(packet) -> float:
    """How long a packet lasts, in s; a picture that does not say so by the rate of its
    stream."""
    length = packet.duration or 0
    if length or packet.stream.type != 'video':
        return length * packet.time_base.numerator / packet.time_base.denominator
    return 1 / float(packet.stream.average_rate or 25)


def timed_pictures(
    packets, stream, begin: float, delay: int | None = None
) -> Iterator[tuple[float, Any]]:
    """Times of the pictures in the order in which they are shown.

    AVI knows no time but that of decoding, and raw streams know none: there the k-th
    picture gets the time of the k-th packet.

    Args:
        packets: (packet, the frames that it brings).
        stream: Theirs.
        begin: Time (s) of a first packet that has none.
        delay: Packets of an AVI that are read before the first picture comes. Behind a
            seek the decoder leaves out pictures that need some before, and more wait.
    """
    ordered, base = stream.container.format.name == 'avi', float(stream.time_base)
    waiting: deque[float] = deque()
    clock = begin
    for packet, frames in packets:
        if packet.size:
            clock = clock if packet.dts is None else packet.dts * base
            waiting.append(clock)
            clock += packet_length(packet)
        if delay is not None and frames:
            to_come = len(frames) + (delay if packet.size else 0)  # none behind the end
            while len(waiting) > to_come:
                waiting.popleft()
        for frame in frames:
            time = waiting.popleft() if waiting else clock
            if frame.pts is not None and not ordered:
                time = frame.pts * base
            yield time, frame


def timed_sounds(packets, stream, begin: float) -> Iterator[tuple[float, Any]]:
    """Times of the pieces of sound; one without a time follows on the last."""
    clock, base = begin, float(stream.time_base)
    for _, frames in packets:
        for frame in frames:
            time = clock if frame.pts is None else frame.pts * base
            yield time, frame
            clock = time + frame.samples / frame.sample_rate
