"""Clips -> windows as long as the model's input. Letter: S audio samples."""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import fsspec

from coavt_mm.apis.inputs import Clip
from coavt_mm.apis.listing import from_store, is_address
from coavt_mm.datasets.isolation import IsolatedSource
from coavt_mm.datasets.media import kept_open
from coavt_mm.datasets.opening import DECODER_ERRORS
from coavt_mm.datasets.sound import resample
from coavt_mm.datasets.sources import ArraySource, ClipSource, FileSource
from coavt_mm.datasets.transforms.audio import peak_dbfs
from coavt_mm.errors import ClipError

# A rest of up to this long (s), and this share of a window, makes no window of its own:
# encoders fill the last packet up, so a clip of 10 s often says 10.03 s.
REST, REST_SHARE = 0.1, 0.05

# Of a last window shorter than this share of a whole one a model would make up the
# rest: it begins earlier, so that it is whole and ends with the clip.
TAIL_SHARE = 0.5

# Sound whose peak lies below this level (dB relative to full scale) is silence.
SILENCE_DBFS = -60.0


# Limit (s) for one reading by a process beside; that of the transforms.
TIMEOUT = 60.0


@dataclass(frozen=True)
class Span:
    """A window of a clip.

    Args:
        start: In s.
        end: In s, not behind the clip's own end; None where its file
            states no length.
        row: What the pipeline starts from.
        share: How much of the clip is done after this window, up to 1.
    """

    start: float
    end: float | None
    row: dict
    share: float


def spans(
    clip: Clip,
    seconds: float,
    sample_rate: int | None,
    windows: bool,
    isolate: bool = False,
    hop: float | None = None,
) -> Iterator[Span]:
    """Cut a clip into windows as long as the model's.

    A clip of up to one window is taken as the evaluation takes it: from its start, as
    far as it goes. The last window of a longer one may overlap with that before.

    Args:
        clip: The clip; addresses are read here.
        seconds: Length of a window in s.
        sample_rate: Of the pipeline, in Hz; None where it has no sound.
        windows: Whether to cut; False gives one window of any length.
        isolate: Whether a process beside decodes the files.
        hop: From one window to the next in s; default: ``seconds``.

    Raises:
        ClipError: It can't be read.
    """
    clip = _resampled(_fetched(clip), sample_rate)
    with ExitStack() as stack:  # a file is opened once, however many its windows
        opened: dict = {None: None}
        files: set[Any] = {clip.picture, clip.sound} - {None}
        for file in files:
            opened[file] = (
                IsolatedSource(FileSource(file), TIMEOUT)
                if isolate
                else FileSource(stack.enter_context(kept_open(file)))
            )
        picture, sound = opened[clip.picture], opened[clip.sound]
        if clip.waveform is not None:
            rate: Any = clip.sample_rate  # there wherever a waveform is
            sound = ArraySource(waveform=clip.waveform, sample_rate=rate)
        length = _length(clip, picture, sound, seconds)
        if clip.frames is not None:
            picture = ArraySource(clip.frames, clip.fps or len(clip.frames) / length)
        for span in _cut(clip, seconds, length, windows, hop or seconds):
            span.row.update(picture=picture, sound=sound)
            yield span


def _cut(
    clip: Clip, seconds: float, length: float, windows: bool, hop: float
) -> Iterator[Span]:
    stop = length if clip.end is None else min(clip.end, length)
    rest = stop - clip.start
    count = 1
    if windows and math.isfinite(rest):
        spare = min(REST, REST_SHARE * seconds)
        count += max(math.ceil((rest - spare - seconds) / hop), 0)
    for k in range(count):
        start = clip.start + k * hop
        last = k + 1 == count
        short = hop < seconds or stop - start < TAIL_SHARE * seconds
        if last and k and short:
            start = stop - seconds
        end = clip.end if last else start + seconds
        row = dict(clip_path=clip.picture, audio_path=clip.sound, start=start, end=end)
        shown = end if not last else stop if math.isfinite(stop) else None
        yield Span(start, shown, row, (k + 1) / count)


def without_silence(packed: dict) -> dict:
    """Take the sound out of a window in which there is none to hear.

    Args:
        packed: From the pipeline.

    Returns:
        The same; its sample is ``silent`` then.
    """
    waveform = packed['inputs']['waveform']
    if waveform is not None and peak_dbfs(waveform.numpy()) < SILENCE_DBFS:
        packed['inputs']['waveform'] = None
        silent = dict(has_audio=False, audio_samples=0, silent=True)
        packed['data_samples'].set_metainfo(silent)
    return packed


def _fetched(clip: Clip) -> Clip:
    """The clip with the content of addresses in their place."""
    contents: dict[Any, bytes] = {
        url: from_store(partial(_read, url), url)
        for url in {clip.picture, clip.sound}
        if is_address(url)
    }
    picture = contents.get(clip.picture, clip.picture)
    return replace(clip, picture=picture, sound=contents.get(clip.sound, clip.sound))


def _read(url: str) -> bytes:
    with fsspec.open(url, 'rb') as file:
        content = file.read()
    if not content:
        raise ValueError('the file is empty')
    return content


def _resampled(clip: Clip, rate: int | None) -> Clip:
    given_rate: Any = clip.sample_rate
    if clip.waveform is None or rate is None or rate == given_rate:
        return clip
    try:
        new = resample(clip.waveform, round(given_rate), rate)
    except (*DECODER_ERRORS, OverflowError) as error:
        given = f'{clip.sample_rate:g} Hz to {rate} Hz'
        raise ClipError(f'{clip.name}: no way from {given} ({error})') from error
    return replace(clip, waveform=new, sample_rate=rate)


def _length(
    clip: Clip, picture: ClipSource | None, sound: ClipSource | None, seconds: float
) -> float:
    """Where a clip ends, in s; infinite for a still picture alone."""
    ends: list[Any] = [
        picture and picture.info.video_end,
        sound and sound.info.audio_end,
    ]
    if clip.frames is not None:
        known = clip.fps and len(clip.frames) / clip.fps
        ends.append(known or max(filter(None, ends), default=seconds))
    finite = [end for end in ends if end is not None and end < math.inf]
    return max(finite, default=math.inf)
