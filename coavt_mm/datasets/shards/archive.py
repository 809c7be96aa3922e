"""The bytes of a sample in a shard: a piece of a tar file.

Written are plain WebDataset archives: ``<key>.00.jpg``, ``<key>.01.jpg``, ...,
``<key>.flac`` (or ``.opus``) and ``<key>.json`` behind each other. A sample's piece
is a tar file of its own but for the end mark, so it can be read alone.

Letters: F frames, H height, W width (pixels), S audio samples.
"""

import io
import json
import tarfile
from collections.abc import Sequence
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

from coavt_mm.datasets.resizing import fitted_size, resize
from coavt_mm.errors import ClipError

END_OF_TAR = bytes(1024)
MAX_PIXELS = 2**26  # of a frame in a shard; 8192 x 8192
MODEL_SIDE = 224  # pixels, in all configs of the paper's size
SOUND_CODECS = {'flac': ('flac', 'flac', 's16'), 'opus': ('ogg', 'libopus', 'flt')}


def shrink(image: np.ndarray, short_side: int) -> np.ndarray:
    """Scale an (H, W, 3) image down to a short side in pixels; never up.

    Of the two whole numbers that the long side may have it gets the one that is scaled
    on to the model's size as the original is: a pixel more or less moves the picture.
    """
    height, width = image.shape[:2]
    short, long = sorted((height, width))
    if short <= short_side:
        return image
    cut = fitted_size(short, long, short_side)[1]
    wanted = fitted_size(short, long, MODEL_SIDE)
    sides = (cut, cut + 1)
    fit = (n for n in sides if fitted_size(short_side, n, MODEL_SIDE) == wanted)
    long_side = next(fit, cut)
    size = (short_side, long_side) if height <= width else (long_side, short_side)
    return resize(image, size)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """JPEG of an (H, W, 3) uint8 RGB image, colours in full resolution; quality 1 to
    100."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    options.append(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    return cv2.imencode('.jpg', image[..., ::-1], options)[1].tobytes()


def decode_jpeg(content: bytes) -> np.ndarray:
    """The (H, W, 3) uint8 RGB image of a JPEG.

    Raises:
        ClipError: It can't be decoded, or is no JPEG of at most ``MAX_PIXELS``.
    """
    try:  # the head tells the size, before memory is asked for
        with Image.open(io.BytesIO(content), formats=['JPEG']) as head:
            width, height = head.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ClipError(f'a JPEG of the shard cannot be decoded ({error})') from error
    if width * height > MAX_PIXELS:
        raise ClipError(f'a JPEG of the shard has {width} x {height} pixels')
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ClipError('a JPEG of the shard cannot be decoded')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def encode_sound(waveform: np.ndarray, rate: int, codec: str) -> bytes:
    """Encode a mono waveform.

    Args:
        waveform: (S,) float32; what lies outside of [-1, 1] is clipped.
        rate: Sample rate in Hz; Opus takes 8, 12, 16, 24 or 48 kHz.
        codec: 'flac' (lossless, 16 bit) or 'opus'.
    """
    container_format, encoder, sample_format = SOUND_CODECS[codec]
    # decoders give nothing for less than one Opus packet; readers know the length
    spare = max(round(0.02 * rate) - len(waveform), 0)
    waveform = np.pad(waveform, (0, spare)).clip(-1, 1)
    if sample_format == 's16':
        waveform = (waveform * 32767).round().astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, 'w', format=container_format) as container:
        stream: Any = container.add_stream(encoder, rate=rate, layout='mono')
        stream.codec_context.format = sample_format
        frame = av.AudioFrame.from_ndarray(waveform[None], sample_format, 'mono')
        frame.sample_rate, frame.pts = rate, 0
        for part in (frame, None):
            container.mux(stream.encode(part))
    return buffer.getvalue()


def pack_piece(key: str, members: dict[str, bytes]) -> bytes:
    """The piece of a tar file with a sample's members, name without key -> content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w', format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f'{key}.{name}')
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
        end = tar.offset
    return buffer.getvalue()[:end]


def unpack_piece(piece: bytes) -> dict[str, bytes]:
    """The members of a sample's piece, name without key -> content.

    Raises:
        tarfile.TarError, ValueError: It is damaged.
    """
    members = {}
    with tarfile.open(fileobj=io.BytesIO(piece + END_OF_TAR), mode='r:') as tar:
        for info in tar:
            # a sparse member claims a size that its piece does not have
            plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
            plain = plain and not info.issparse() and 0 <= info.size <= len(piece)
            file = tar.extractfile(info) if plain else None
            if file is None:
                raise tarfile.TarError(f'member {info.name!r} is no plain file')
            members[info.name.partition('.')[2]] = file.read()
    return members


def pack_sample(
    key: str,
    about: dict,
    images: Sequence[np.ndarray],
    waveform: np.ndarray | None,
    *,
    sample_rate: int,
    quality: int,
    codec: str,
) -> bytes:
    """The piece of a tar file for a clip.

    Args:
        key: Name of the members in front of the first dot.
        about: What goes into the JSON.
        images: F arrays (H, W, 3) uint8 RGB.
        waveform: (S,) float32.
        sample_rate: Rate of the waveform in Hz.
        quality: JPEG quality, 1 to 100.
        codec: 'flac' or 'opus'.
    """
    members = {
        f'{index:02d}.jpg': encode_jpeg(image, quality)
        for index, image in enumerate(images)
    }
    if waveform is not None:
        members[codec] = encode_sound(waveform, sample_rate, codec)
    members['json'] = json.dumps(about, ensure_ascii=False).encode()
    return pack_piece(key, members)
