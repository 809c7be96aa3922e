"""Files of pictures (JPEG, PNG, WebP, GIF, ...), still or moving, read by Pillow.

Letters: F frames, H height, W width (pixels).
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features

from coavt_mm.datasets.opening import check_pixels, head

# What files of pictures begin with; WebP has its name behind the length of the file.
MARKS = (
    b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'GIF87a', b'GIF89a', b'BM', b'II*\x00',
    b'MM\x00*',
)  # fmt: skip

# Its readers raise these, beside OSError and ValueError.
DAMAGE = (Image.DecompressionBombError, SyntaxError, struct.error, zlib.error, EOFError,
          LookupError, ArithmeticError, TypeError, AttributeError)  # fmt: skip

# How long (s) a picture of a film stays that does not say so, or says so little (ms)
# that no browser follows.
UNSTATED, SHORTEST = 0.1, 10

# Pictures of these follow on one another; those of others lie side by side, as the
# preview that a camera puts behind its JPEG, or pages.
MOVING = ('GIF', 'WEBP', 'PNG', 'AVIF')

# Names that pictures in the manner of mp4 go by: of any codec, of AV1, of HEVC.
HEIF, AVIF = {b'mif1', b'msf1'}, {b'avif', b'avis'}
HEIC = {b'heic', b'heix', b'heim', b'heis'}


def _names(start: bytes) -> set[bytes]:
    """What an mp4 says that it is, if it is a picture above all."""
    size = min(int.from_bytes(start[:4], 'big'), len(start))
    names = {start[8:12], *(start[i : i + 4] for i in range(16, size, 4))}
    is_picture = start[4:8] == b'ftyp' and start[8:12] in HEIF | AVIF | HEIC
    return names if is_picture else set()


def is_still(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a picture, or of several."""
    webp, names = (start[:4], start[8:12]) == (b'RIFF', b'WEBP'), _names(start)
    avif = names & AVIF and features.check('avif')  # Pillow from 11.3 on
    return bool(start.startswith(MARKS) or webp or avif or names & HEIC)


def _learn_heic(start: bytes) -> None:
    """Let Pillow read what telephones write, if there is who can."""
    if not _names(start) & HEIC:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ValueError(
            'a HEIC picture: install pillow-heif, which reads it, or save it as JPEG'
        ) from error
    register_heif_opener()


@contextmanager
def _opened(source: str | Path | bytes) -> Iterator[Image.Image]:
    """A file of pictures; what Pillow raises for a damaged one is a ValueError."""
    _learn_heic(head(source))
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file) as image:
            yield image
    except DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _begins(image: Image.Image) -> tuple[list[float], float]:
    """When (s) each picture of a moving file begins, and when the last one ends."""
    times = [0.0]
    count = getattr(image, 'n_frames', 1) if image.format in MOVING else 1
    for index in range(count):
        if count > 1:
            image.seek(index)
            image.load()  # a WebP tells the time of a picture only then
        stay = image.info.get('duration') or 0  # ms
        times.append(times[-1] + (stay / 1000 if stay > SHORTEST else UNSTATED))
    return times[:-1], times[-1]


def still_span(source: str | Path | bytes) -> tuple[float, float]:
    """Begin and end in s of a file of pictures: one picture stays for ever.

    Raises:
        OSError, ValueError: It can't be read, or is too large.
    """
    with _opened(source) as image:
        begins, end = _begins(image)
    return 0.0, end if len(begins) > 1 else math.inf


def _pixels(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8, upright; transparency is left out."""
    if image.mode.startswith('I;16'):
        grey = np.asarray(image, np.uint16) >> 8
        image = Image.fromarray(grey.astype(np.uint8))
    return np.array(ImageOps.exif_transpose(image).convert('RGB'))


def read_stills(
    source: str | Path | bytes, times: Sequence[float]
) -> tuple[list[np.ndarray], list[float]]:
    """The pictures on the screen at the given times.

    Args:
        source: The file, or its content.
        times: Times in s, ascending.

    Returns:
        F arrays (H, W, 3) uint8 RGB, and the times in s at which they begin.

    Raises:
        OSError, ValueError: It can't be read, or is too large.
    """
    with _opened(source) as image:
        begins, _ = _begins(image)
        found = np.searchsorted(begins, np.asarray(times) + 1e-3, side='right') - 1
        picks = [max(int(pick), 0) for pick in found]
        pictures = {}
        for index in sorted(set(picks)):
            if len(begins) > 1:  # where Pillow opens another, it is the main one
                image.seek(index)
            check_pixels(*image.size, len(picks), most=1 << 28)  # Pillow has its own
            pictures[index] = _pixels(image)
    # each its own array, since transforms work in place
    return [pictures[pick].copy() for pick in picks], [begins[pick] for pick in picks]
