"""Frames by each of the decoders: those on the screen at given times.

A decoder takes a source and times in s from the start of the container (see
``media.py``), ascending; it gives F arrays (H, W, 3) uint8 RGB and the times in s at
which they begin. Letters: F frames, H height, W width (pixels).
"""

import io
import math
import os
from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from coavt_mm.datasets.media import LENGTH_TOLERANCE, Media, Source, opened
from coavt_mm.datasets.opening import check_pixels, head
from coavt_mm.datasets.orientation import is_mirrored, upright

# A gap (s) between two wanted frames from which seeking anew is cheaper than
# decoding on. Clips of the field have their key frames 1 to 10 s apart.
SEEK_GAP = 10.0

# decord's seeking goes wrong by some pictures in others (HEVC, MPEG-4).
DECORD_CODECS = ('h264', 'vp8', 'libvpx', 'vp9', 'libvpx-vp9')

# A pixel may be this many times as wide as it is high, or as high as it is wide.
LONGEST_PIXEL = 10


def _shown_size(width: int, height: int, pixel: float | None) -> tuple[int, int]:
    """Width and height on a screen of a picture whose pixels have this width over
    height: the shorter side of a pixel grows to the longer one."""
    pixel = float(pixel or 1)
    if not 1 / LONGEST_PIXEL <= pixel <= LONGEST_PIXEL:
        raise ValueError(f'its pixels are said to be {pixel:g} times as wide as high')
    if pixel >= 1:
        return round(width * pixel), height
    return width, round(height / pixel)


def _image(
    frame: av.VideoFrame, pixel: float | None, converter: VideoReformatter
) -> np.ndarray:
    """(H, W, 3) uint8 RGB as a player shows it: square pixels, upright."""
    width, height = _shown_size(frame.width, frame.height, pixel)
    check_pixels(width, height, 1)
    # a converter of its own for each frame, and threads that it starts, take several
    # times as long as the picture
    shown = converter.reformat(
        frame, width, height, 'rgb24', interpolation='BICUBIC', threads=1
    )
    image = upright(shown.to_ndarray(), frame)
    # a frame that was RGB is itself what is shown, and may be so twice
    return image.copy() if shown is frame else np.ascontiguousarray(image)


def _pixel_ratio(stream) -> float | None:
    return stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio


def _check_reached(media: Media, wanted: float, time: float, stay: float) -> None:
    """Refuse to show the last frame of a picture (at ``time``, for ``stay`` s) long
    after it, where a part of the file is missing. All times are in s of the file's
    clock."""
    indexed = media.container.format.name.startswith('mov')  # states each duration
    late = wanted - time - stay
    if (media.missing and late > 0) or (
        (indexed or not media.is_whole) and late > LENGTH_TOLERANCE
    ):
        raise ValueError(
            f'the picture breaks off at {time + stay - media.start:.2f} s, a frame at '
            f'{wanted - media.start:.2f} s was asked for'
        )


def _picks(media: Media, times: Sequence[float]) -> list[tuple[float, av.VideoFrame]]:
    """(time, frame) on the screen at times of the file's own clock, ascending; before
    the first frame of the file it is that one."""
    picks: list[tuple[float, av.VideoFrame]] = []
    ahead: Iterator[tuple[float, av.VideoFrame]] = iter(())
    # the newest frame not later than the wanted time, and next
    shown: tuple[float, av.VideoFrame] | None = None
    pending: tuple[float, av.VideoFrame] | None = None
    stay = 0.0
    for wanted in times:
        position = pending[0] if pending else math.inf if shown else -math.inf
        if wanted - position > SEEK_GAP:
            ahead = media.frames_from(media.video, wanted)
            shown, pending = None, next(ahead, None)
        while pending and pending[0] <= wanted + 1e-3:
            stay = pending[0] - shown[0] if shown else 0.0
            shown, pending = pending, next(ahead, None)
        pick = shown or pending
        if pick is None:
            raise ValueError('not one frame can be decoded')
        picks.append(pick)
    if pending is None and shown is not None:
        time, frame = shown
        stated = float((frame.duration or 0) * (frame.time_base or 0))
        _check_reached(media, times[-1], time, max(stated, stay))
    return picks


def _check_header(media: Media, count: int) -> None:
    if media.video is not None:
        code = media.video.codec_context
        check_pixels(code.width, code.height, count)


def frames_pyav(source: Source, times: Sequence[float]):
    """Pictures that a player shows at ``times`` (s), by PyAV."""
    with opened(source) as media:
        if media.video is None:
            raise ValueError('there is no picture')
        _check_header(media, len(times))
        picks = _picks(media, [time + media.start for time in times])
        pixel = _pixel_ratio(media.video)
        # each its own array, since transforms work in place
        converter = VideoReformatter()
        images = [_image(frame, pixel, converter) for _, frame in picks]
        return images, [time - media.start for time, _ in picks]


def _plain_table(media: Media) -> list[float] | None:
    """Times in s of all pictures of a whole file without pitfalls, else None.

    Pitfalls are edit lists, pixels that are not square, mirrors, several films, a clock
    that does not begin with the first picture, and containers in which one can't seek
    to a picture.
    """
    start = b'' if media.video is None else head(media.source, 12)
    known = start[4:8] == b'ftyp' or start[:4] == b'\x1aE\xdf\xa3'
    if not known or (_pixel_ratio(media.video) or 1) != 1:
        return None
    if len(media.container.streams.video) > 1:
        return None  # each decoder chooses in its own way
    media.rewind()
    times, first = [], None
    for packet in media.container.demux(media.video):
        if packet.size and (packet.is_discard or packet.pts is None):
            return None
        first = first or next(iter(packet.decode()), None)
        if first and is_mirrored(first):
            return None
        if packet.size:
            times.append(float(packet.pts * packet.time_base) - media.start)
    times.sort()
    plain = times and abs(times[0]) < 1e-3 and media.is_whole
    return times if plain else None


def _decord_source(media: Media) -> io.BytesIO | str:
    if isinstance(media.source, bytes):
        return io.BytesIO(media.source)
    return os.path.abspath(media.source)


def frames_decord(source: Source, times: Sequence[float]):
    """decord's frames where they are right, PyAV's of any other file."""
    with opened(source) as media:
        _check_header(media, len(times))
        table, handle = _plain_table(media), _decord_source(media)
        sought = media.video and media.video.codec_context.name in DECORD_CODECS
    if table is None or not sought or times[-1] > table[-1]:
        return frames_pyav(source, times)  # which knows what the end of a file means
    import decord

    try:
        reader = decord.VideoReader(handle, num_threads=1)
        starts = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        if len(starts) != len(table) or np.abs(starts - table).max() > 2e-3:
            return frames_pyav(source, times)
        picks = np.searchsorted(starts, np.asarray(times) + 1e-3, side='right') - 1
        picks = picks.clip(0)
        images = reader.get_batch(picks).asnumpy()
    except decord.DECORDError as error:
        # its message: '[clock] /source/file.cc:12: ' before the reason, and a C++
        # stack trace on further lines
        line = str(error).strip().splitlines()[0]
        raise RuntimeError(line.split('.cc:')[-1]) from error
    return list(images), starts[picks].astype(float).tolist()


def frames_torchcodec(source: Source, times: Sequence[float]):
    """torchcodec's frames where they are right, PyAV's of any other file."""
    from torchcodec.decoders import VideoDecoder

    with opened(source) as media:
        _check_header(media, len(times))
        table, start, content = _plain_table(media), media.start, media.source
    if table is None or times[-1] > table[-1]:
        return frames_pyav(source, times)
    decoder = VideoDecoder(
        content if isinstance(content, bytes) else os.path.abspath(content),
        dimension_order='NHWC',
        num_ffmpeg_threads=1,
        seek_mode='exact',
    )
    picks = np.searchsorted(table, np.asarray(times) + 1e-3, side='right') - 1
    begins = np.asarray(table)[picks.clip(0)]
    batch = decoder.get_frames_played_at((begins + start + 1e-6).tolist())
    found = batch.pts_seconds.numpy() - start
    if np.abs(found - begins).max() > 2e-3:
        return frames_pyav(source, times)
    return list(batch.data.numpy()), found.tolist()
