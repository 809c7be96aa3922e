"""Clips -> windows as long as the model's input. Letter: S audio samples."""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import fsspec

from coavt_mm.apis.inputs import Clip
from coavt_mm.apis.listing import from_store, is_address
from coavt_mm.datasets.media import kept_open, probe
from coavt_mm.datasets.opening import DECODER_ERRORS
from coavt_mm.datasets.sound import resample
from coavt_mm.errors import ClipError

# A rest of up to this long (s), and this share of a window, makes no window of its own:
# encoders fill the last packet up, so a clip of 10 s often says 10.03 s.
REST, REST_SHARE = 0.1, 0.05


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
    clip: Clip, seconds: float, sample_rate: int, windows: bool
) -> Iterator[Span]:
    """Cut a clip into windows as long as the model's.

    A clip of up to one window is taken as the evaluation takes it: from its start, as
    far as it goes.

    Args:
        clip: The clip; addresses are read here.
        seconds: Length of a window in s.
        sample_rate: Of the pipeline, in Hz.
        windows: Whether to cut; False gives one window of any length.

    Raises:
        ClipError: It can't be read.
    """
    clip = _resampled(_fetched(clip), sample_rate)
    with ExitStack() as stack:  # a file is opened once, however many its windows
        kept = {
            source: stack.enter_context(kept_open(source))
            for source in {clip.picture, clip.sound} - {None}
        }
        length = _length(clip, kept, seconds)
        for span in _cut(clip, seconds, length, windows):
            span.row['opened'] = kept
            yield span


def _cut(clip: Clip, seconds: float, length: float, windows: bool) -> Iterator[Span]:
    stop = length if clip.end is None else min(clip.end, length)
    rest = stop - clip.start
    count = 1
    if windows and math.isfinite(rest):
        spare = min(REST, REST_SHARE * seconds)
        count = max(math.ceil((rest - spare) / seconds), 1)
    for k in range(count):
        start = clip.start + k * seconds
        last = k + 1 == count
        end = clip.end if last else start + seconds
        shown = end if not last else stop if math.isfinite(stop) else None
        yield Span(start, shown, _row(clip, start, end, length), (k + 1) / count)


def _row(clip: Clip, start: float, end: float | None, length: float) -> dict:
    row = dict(clip_path=clip.picture, audio_path=clip.sound, start=start, end=end)
    if clip.frames is not None:
        row['given_frames'] = clip.frames
        row['given_fps'] = clip.fps or len(clip.frames) / length
    if clip.waveform is not None:
        row['given_waveform'] = clip.waveform
    return row


def _fetched(clip: Clip) -> Clip:
    """The clip with the content of addresses in their place."""
    contents = {
        url: from_store(lambda url=url: _read(url), url)
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


def _resampled(clip: Clip, rate: int) -> Clip:
    if clip.waveform is None or clip.sample_rate == rate:
        return clip
    try:
        new = resample(clip.waveform, round(clip.sample_rate), rate)
    except (*DECODER_ERRORS, OverflowError) as error:
        given = f'{clip.sample_rate:g} Hz to {rate} Hz'
        raise ClipError(f'{clip.name}: no way from {given} ({error})') from error
    return replace(clip, waveform=new, sample_rate=rate)


def _length(clip: Clip, kept: dict, seconds: float) -> float:
    """Where a clip ends, in s; infinite for a still picture alone."""
    ends = []
    if clip.waveform is not None:
        ends.append(len(clip.waveform) / clip.sample_rate)
    if clip.picture is not None:
        ends.append(probe(kept[clip.picture]).video_end)
    if clip.sound is not None:
        ends.append(probe(kept[clip.sound]).audio_end)
    if clip.frames is not None:
        known = clip.fps and len(clip.frames) / clip.fps
        ends.append(known or max(filter(None, ends), default=seconds))
    known = [end for end in ends if end is not None and end < math.inf]
    return max(known, default=math.inf)
