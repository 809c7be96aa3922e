"""What a file says of its own size: are bytes missing, is it several files?

Players show what is there of a file that breaks off; FFmpeg says nothing.
"""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

Source = str | Path | bytes

# The boxes that an mp4 or mov is a row of.
BOXES = (
    b'ftyp', b'styp', b'moov', b'moof', b'mdat', b'mfra', b'sidx', b'ssix', b'emsg',
    b'prft', b'free', b'skip', b'wide', b'uuid', b'meta', b'udta', b'pnot', b'pdin',
)  # fmt: skip

# Some writers count a mp3 with its tags, others without its first frame.
TAGS = 2048

# How frames of FLAC begin; how long (bytes) one may be that is looked for.
FRAMES, LONGEST_FRAME = (b'\xf8', b'\xf9'), 1 << 16

# A size of 2 GB and more is that of a writer which couldn't go back.
LARGEST_RIFF = 0x7FFF0000


def _raw(source: Source) -> BinaryIO:
    """The file to read a few bytes here and there."""
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, 'rb', 0)


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def file_size(source: Source) -> int:
    """In bytes."""
    return len(source) if isinstance(source, bytes) else os.stat(source).st_size


def _riff(file: BinaryIO, size: int) -> int:
    stated = int.from_bytes(_at(file, 4, 4), 'little') + 8
    return 0 if stated > LARGEST_RIFF else stated


def _w64(file: BinaryIO, size: int) -> int:
    stated = int.from_bytes(_at(file, 16, 8), 'little')
    return 0 if stated >= 1 << 62 else stated


def _aiff(file: BinaryIO, size: int) -> int:
    return int.from_bytes(_at(file, 4, 4), 'big') + 8


def _au(file: BinaryIO, size: int) -> int:
    begin = int.from_bytes(_at(file, 4, 4), 'big')
    length = int.from_bytes(_at(file, 8, 4), 'big')
    return 0 if length == 0xFFFFFFFF else begin + length


def _caf(file: BinaryIO, size: int) -> int:
    """End of the last chunk; one of length -1 goes to the end."""
    place = 8
    while place + 12 <= size:
        length = int.from_bytes(_at(file, place + 4, 8), 'big', signed=True)
        if length < 0:
            return 0
        place += 12 + length
    return place


def _asf(file: BinaryIO, size: int) -> int:
    """The file properties of the header; none of a live stream."""
    header = _at(file, 0, 4096)
    place = header.find(bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365'))
    about = header[place : place + 104]
    if place < 0 or len(about) < 104 or about[88] & 1:
        return 0
    return int.from_bytes(about[40:48], 'little')


def _row_of_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Name and end of each box of an mp4. The end is 0, and it is the last, of one that
    goes to the end, and of something that was put behind."""
    place = 0
    while place + 8 <= size:
        head = _at(file, place, 16)
        length = int.from_bytes(head[:4], 'big')
        if length == 1:
            length = int.from_bytes(head[8:], 'big')
        if length < 8 or head[4:8] not in BOXES:
            yield head[4:8], 0
            return
        place += length
        yield head[4:8], place


def _boxes(file: BinaryIO, size: int) -> int:
    """End of the last box of an mp4; 0 where nothing says."""
    return [0, *(end for _, end in _row_of_boxes(file, size))][-1]


def has_fragments(source: Source) -> bool:
    """Whether an mp4 lies in pieces, each with an index of its own."""
    with _raw(source) as file:
        size = file_size(source)
        return any(name == b'moof' for name, _ in _row_of_boxes(file, size))


def _flv(file: BinaryIO, size: int) -> int:
    """End of the last tag. Each is followed by its length."""
    last = int.from_bytes(_at(file, size - 4, 4), 'big')
    tag = _at(file, size - 4 - last, 11) if 11 <= last <= size - 17 else b''
    if tag and int.from_bytes(tag[1:4], 'big') == last - 11:
        return size
    place = int.from_bytes(_at(file, 5, 4), 'big') + 4
    while place + 11 <= size:
        tag = _at(file, place, 11)
        if tag[0] & 0x1F not in (8, 9, 18):
            return 0
        place += 11 + int.from_bytes(tag[1:4], 'big') + 4
    return place - 4  # the last length may be left out


def ogg_pages(file: BinaryIO, size: int) -> Iterator[tuple[int, bool]]:
    """End of each page, and whether it is the first one of a stream."""
    place = 0
    while place + 27 <= size:
        head = _at(file, place, 27 + 255)
        if head[:4] != b'OggS':  # something else in between
            found = _at(file, place, 1 << 20).find(b'OggS')
            if found < 0:
                return
            place += found
            continue
        segments = head[26]
        first, place = bool(head[5] & 2), place + 27 + segments
        place += sum(head[27 : 27 + segments])
        yield place, first


def _ogg(file: BinaryIO, size: int) -> int:
    return max((end for end, _ in ogg_pages(file, size)), default=0)


def _number(data: bytes) -> tuple[int, int, bool]:
    """Value, length and whether it is unknown, of a number of Matroska."""
    length = 9 - data[0].bit_length() if data and data[0] else 9
    bits = int.from_bytes(data[:length], 'big') & ((1 << 7 * length) - 1)
    return bits, length, bits == (1 << 7 * length) - 1


def _matroska(file: BinaryIO, size: int) -> int:
    """End of the last element; what states no size is entered."""
    place = 0
    while place + 2 <= size:
        head = _at(file, place, 12)
        _, mark, _ = _number(head)
        length, digits, unknown = _number(head[mark:])
        if mark > 4 or digits > 8:
            return 0
        place += mark + digits + (0 if unknown else length)
    return place


def _mp3(file: BinaryIO, size: int) -> int:
    """The note of LAME and others in the first frame: flags, frames, bytes."""
    tag = _at(file, 0, 10)
    begin = 0
    if tag[:3] == b'ID3':
        begin = 10
        for byte in tag[6:]:
            begin = 10 + ((begin - 10) << 7 | byte & 0x7F)
    head = _at(file, begin, 200)
    place = max(head.find(b'Xing'), head.find(b'Info')) + 4
    if place < 4 or head[place + 3] & 3 != 3:
        return 0
    return begin + int.from_bytes(head[place + 8 : place + 12], 'big') - TAGS


def counts_frames(source: Source) -> bool:
    """Whether a mp3 has the note that says of how many frames it is."""
    with _raw(source) as file:
        start = file.read(3)
        return start.startswith((b'ID3', b'\xff')) and _mp3(file, 0) > 0


# What a file begins with, and from which byte on; who reads the size that it states.
READERS: tuple[tuple[int, bytes | tuple, Callable[[BinaryIO, int], int]], ...] = (
    (0, b'RIFF', _riff),
    (0, b'riff\x2e\x91\xcf\x11', _w64),
    (0, b'FORM', _aiff),
    (0, bytes.fromhex('3026b2758e66cf11'), _asf),
    (0, b'FLV\x01', _flv),
    (0, b'OggS', _ogg),
    (0, b'\x1aE\xdf\xa3', _matroska),
    (0, b'ID3', _mp3),
    (0, b'\xff', _mp3),
    (0, b'.snd', _au),
    (0, b'caff', _caf),
    (4, BOXES, _boxes),
)


def missing_share(source: Source) -> float:
    """How much of a file (0 to 1) isn't there by the size that it states itself, or by
    that of its last part; 0 where nothing says."""
    size = file_size(source)
    with _raw(source) as file:
        start = file.read(16)
        for place, mark, read in READERS:
            if start[place:].startswith(mark):
                stated = read(file, size)
                exact = read not in (_riff, _w64, _aiff)  # these are off by a header
                share = 1 - size / stated if stated > 0 else 0.0
                return share if share > (0 if exact else 1e-3) else 0.0
    return 0.0


def _checksums() -> list[int]:
    """CRC-16 of each byte, of the polynomial 0x8005."""
    table = [byte << 8 for byte in range(256)]
    for _ in range(8):
        table = [(value << 1 & 0xFFFF) ^ (0x8005 * (value >> 15)) for value in table]
    return table


CHECKSUMS = _checksums()


def _checksum(data: bytes) -> int:
    """CRC-16 of FLAC; 0 for a whole frame, which ends in its own."""
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFF) ^ CHECKSUMS[value >> 8 ^ byte]
    return value


def _last_frame(data: bytes) -> bytes:
    """The frame of FLAC that the data end with; nothing where they end within one."""
    place = data.rfind(b'\xff')
    while place >= 0:
        if data[place + 1 : place + 2] in FRAMES and not _checksum(data[place:]):
            return data[place:]
        place = data.rfind(b'\xff', 0, place)
    return b''


def _frame_end(frame: bytes, size: int) -> int:
    """Number of the sample behind a frame; ``size`` is that of the frames in
    samples."""
    more = max(8 - (frame[4] ^ 0xFF).bit_length() - 1, 0)  # as in UTF-8
    number = frame[4] & (0x7F >> more + (more > 0))
    for byte in frame[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    begin = number if frame[1:2] == FRAMES[1] else number * size
    code, rest = frame[2] >> 4, frame[5 + more :]
    if code in (6, 7):
        return begin + int.from_bytes(rest[: code - 5], 'big') + 1
    return begin + ((192, 576)[code > 1] << max(code - 2, 0) if code < 8 else 1 << code)


def _is_part(file: BinaryIO, size: int) -> bool:
    """Whether a FLAC ends with a whole frame, before or behind the end that it states:
    it is cut by stream copy; a download breaks off within a frame."""
    header = _at(file, 8, 18)
    frame = _last_frame(_at(file, max(size - LONGEST_FRAME, 0), LONGEST_FRAME))
    length = int.from_bytes(header[10:], 'big') & ((1 << 36) - 1)
    samples = int.from_bytes(header[2:4], 'big')
    return bool(frame) and _frame_end(frame, samples) != length


def states_nothing(source: Source) -> bool:
    """Whether the length in the header of a file is not its own: of an AVI whose writer
    could not go back, and of a FLAC that was cut out of a longer one."""
    size = file_size(source)
    with _raw(source) as file:
        start = file.read(12)
        if start[:4] == b'fLaC':
            return _is_part(file, size)
        unfinished = start[:4] == b'RIFF' and _riff(file, size) <= 8
    return start[8:] == b'AVI ' and unfinished


def is_chained(source: Source) -> bool:
    """Whether an Ogg file is several, one behind the other, each with its own clock."""
    begun = False
    with _raw(source) as file:
        for _, first in ogg_pages(file, file_size(source)):
            if first and begun:
                return True
            begun = begun or not first
    return False
