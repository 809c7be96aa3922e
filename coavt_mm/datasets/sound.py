"""Sound by PyAV, mixed to one channel, at one rate. Letter: S audio samples."""

import math

import av
import numpy as np

from coavt_mm.datasets.media import LENGTH_TOLERANCE, Media, Source, opened
from coavt_mm.datasets.opening import head, warn_once
from coavt_mm.datasets.sizes import counts_frames
from coavt_mm.datasets.stills import is_still
from coavt_mm.datasets.timing import BROADCAST, UNSTAMPED

# Sound whose times leave out (or repeat) more than this (s) has a gap there; less is
# the rounding of its container.
SOUND_GAP = 0.1

# A longer gap (s) is one of the clock, and silence as long as it would fill the memory.
LONGEST_GAP = 3600.0

# Codecs of sound need some packets to settle; this (s) is more than any of them asks.
SETTLING = 0.2

# Samples that are resampled, and handed over, at once.
BLOCK = 1 << 16

# Samples that are read at once: 1 GB, 4.7 h at 16 kHz.
MOST_SAMPLES = 1 << 28

# Full scale of a waveform is 1; a float file may lie above, but not by 120 dB.
LOUDEST = 1e6


class _Mixer:
    """Sound of any layout and rate -> mono at one rate; both may change on the way.

    Args:
        rate: Of the result in Hz.
    """

    def __init__(self, rate: int):
        self.rate = rate
        self.kind: tuple | None = None
        self.resampler: av.AudioResampler | None = None
        self.channels = 0
        self.packed: list[np.ndarray] = []  # of this kind, channels side by side
        self.mono = [np.zeros(0, np.float32)]

    def add(self, frame: av.AudioFrame) -> None:
        """Take a frame; one of another kind begins anew."""
        kind = frame.sample_rate, frame.layout.name, frame.format.name
        if kind != self.kind:
            self._mix()
            # packed: PyAV miscounts the planes of 8 and more channels
            self.resampler = av.AudioResampler(
                format='flt', rate=self.rate, frame_size=BLOCK
            )
            self.kind, self.channels = kind, frame.layout.nb_channels
        assert self.resampler is not None
        self._take(self.resampler.resample(frame))

    def pause(self, seconds: float) -> None:
        """Put silence behind what has come."""
        self._mix()
        self.mono.append(np.zeros(round(seconds * self.rate), np.float32))

    def finish(self) -> np.ndarray:
        """All of it, (S,) float32."""
        self._mix()
        return np.concatenate(self.mono)

    def _take(self, frames: list[av.AudioFrame]) -> None:
        self.packed += [frame.to_ndarray()[0] for frame in frames]

    def _mix(self) -> None:
        if self.resampler is None:
            return
        self._take(self.resampler.resample(None))  # what was still on its way
        if self.packed:
            # every channel counts the same, as in the mean that torchaudio's users take
            samples = np.concatenate(self.packed).reshape(-1, self.channels)
            self.mono.append(samples.T.mean(axis=0))
        self.packed, self.kind, self.resampler = [], None, None


def resample(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Bring a waveform to another rate, as ``read_audio`` brings that of a file.

    Args:
        waveform: (S,) float32.
        rate: Of the waveform in Hz.
        new_rate: Of the result in Hz.

    Returns:
        (S * new_rate / rate,) float32.

    Raises:
        av.FFmpegError: The rates are too far apart.
    """
    mixer = _Mixer(new_rate)
    for begin in range(0, len(waveform), BLOCK):
        part = np.ascontiguousarray(waveform[None, begin : begin + BLOCK], np.float32)
        frame = av.AudioFrame.from_ndarray(part, 'flt', 'mono')
        frame.sample_rate = rate
        mixer.add(frame)
    return mixer.finish()


def _check_length(seconds: float, rate: int) -> None:
    if seconds * rate > MOST_SAMPLES:
        raise ValueError(
            f'more than {MOST_SAMPLES / rate / 3600:.1f} h of sound at {rate} Hz are '
            'not read at once; give a span'
        )


def _decode_sound(media: Media, start: float, end: float, rate: int):
    """Decode from just before ``start`` to just behind ``end``, in s of the file's
    clock.

    Where the file has a gap, so has the result; streams without a container have none.

    Returns:
        Samples (S,) float32 at ``rate``, the time of the first one in s, and the time
        in s at which decoding ended; no samples when no packet lies in the span.
    """
    counted = media.container.format.name in UNSTAMPED
    mixer, first, reached = _Mixer(rate), None, 0.0
    for time, frame in media.frames_from(media.audio, start - SETTLING):
        if first is None:
            first = reached = time
        elif not counted and time - reached > SOUND_GAP:
            pause = _silence(media, reached, time, end)
            _check_length(time - first, rate)
            mixer.pause(pause)
            reached = time
        reached += frame.samples / frame.sample_rate
        _check_length(reached - first, rate)
        mixer.add(frame)
        if reached >= end:
            break
    if first is None:
        return mixer.finish(), start, start
    return mixer.finish(), first, reached


def _silence(media: Media, begin: float, time: float, end: float) -> float:
    """How long (s) the gap between two pieces of sound is, as far as it is wanted; it
    may be what is lost of the file, and is said. Times in s of the file's clock.

    Raises:
        ValueError: It is longer than ``LONGEST_GAP``.
    """
    if time - begin > LONGEST_GAP:
        raise ValueError(
            f'its clock leaps by {time - begin:.4g} s at {begin - media.start:.2f} s'
        )
    warn_once(
        f'{media}: there is no sound from {begin - media.start:.2f} to '
        f'{time - media.start:.2f} s, which is taken for silence'
    )
    return min(time, end) - begin


def _whole_sound(media: Media, rate: int) -> np.ndarray:
    """All sound of a file whose packets have no true times; decoded once."""
    if rate not in media.waveforms:
        media.waveforms[rate] = _decode_sound(media, media.start, math.inf, rate)[0]
    return media.waveforms[rate]


def _cut(samples: np.ndarray, first: float, start: float, end: float, rate: int):
    """Cut [start, end) out of samples (S,) whose first lies at ``first`` (s); a track
    that begins late keeps its silence in front."""
    offset = round((first - start) * rate)
    samples = np.pad(samples, (offset, 0)) if offset > 0 else samples[-offset:]
    length = math.inf if math.isinf(end) else max(round((end - start) * rate), 0)
    return samples if length > len(samples) else samples[:length]


def _check_sound(samples: np.ndarray) -> None:
    if not np.isfinite(samples).all():
        raise ValueError('the sound holds NaN or inf')
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > LOUDEST:
        raise ValueError(f'the sound has a peak of {peak:.3g}, where 1 is full scale')


def _track_end(media: Media, reached: float, start: float, end: float) -> float:
    """Where the sound ends, of which [start, end) was decoded until ``reached``. Times
    in s of the file's clock.

    Raises:
        ValueError: It ends before its header says: the file is damaged.
    """
    stated = media.stated_end(media.audio)
    bound = stated
    if stated is None and reached < end and not media.is_whole:
        bound = media.file_end
    if bound is not None and max(reached, start) < min(end, bound) - LENGTH_TOLERANCE:
        raise ValueError(
            f'the sound breaks off at {reached - media.start:.2f} s, its container '
            f'says {bound - media.start:.2f} s'
        )
    if media.missing and reached < end:
        raise ValueError(
            f'the sound breaks off at {reached - media.start:.2f} s, '
            f'{media.missing:.1%} of its file is missing'
        )
    if start <= media.start and counts_frames(media.source):
        told = (media.container.duration or 0) / av.time_base
        there = reached - media.start
        if there < min(end - media.start, told) - LENGTH_TOLERANCE:
            warn_once(
                f'{media}: {there:.2f} s of sound are there, its header tells of '
                f'{told:.2f} s: damaged within, or several put together'
            )
    # decoders fill the last packet up behind the stated end; a header may be wrong
    if stated is None or media.container.format.name in BROADCAST:
        return math.inf
    return stated if reached <= stated + LENGTH_TOLERANCE else math.inf


def read_sound(
    source: Source, start: float, end: float, rate: int
) -> np.ndarray | None:
    """The sound in [start, end), s from the start of the file: (S,) float32 at
    ``rate``, or None where there is none.

    Raises:
        ValueError, av.FFmpegError: It can't be decoded, or holds no sound.
    """
    if not isinstance(source, Media) and is_still(head(source)):
        return None
    with opened(source) as media:
        if media.audio is None:
            return None
        begin, stop = media.start + start, media.start + end
        if media.is_untimed:
            samples, first = _whole_sound(media, rate), media.start
        else:
            samples, first, reached = _decode_sound(media, begin, stop, rate)
            if first < stop:
                stop = min(stop, _track_end(media, reached, begin, stop))
        if first >= stop or not samples.size:
            return None
        mono = _cut(samples, first, begin, stop, rate)
    _check_sound(mono)
    return mono.astype(np.float32) if mono.size else None


def peak_dbfs(waveform: np.ndarray) -> float:
    """Peak level of a waveform (S,) in dB relative to full scale."""
    peak = float(np.abs(waveform).max(initial=0.0))
    return 20 * np.log10(peak) if peak > 0 else -np.inf
