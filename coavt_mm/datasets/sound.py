"""Sound by PyAV, mixed to one channel, at one rate. Letter: S audio samples."""

import math

import av
import numpy as np

from coavt_mm.datasets.media import LENGTH_TOLERANCE, UNSTAMPED, Media, Source, opened
from coavt_mm.datasets.opening import head
from coavt_mm.datasets.stills import is_still

# Sound whose times leave out (or repeat) more than this (s) has a gap there; less is
# the rounding of its container.
SOUND_GAP = 0.1

# Codecs of sound need some packets to settle; this (s) is more than any of them asks.
SETTLING = 0.2

# Samples that are resampled at once.
BLOCK = 1 << 16

# Full scale of a waveform is 1; a float file may lie above, but not by 120 dB.
LOUDEST = 1e6


class _Mixer:
    """Sound of any layout and rate -> mono at one rate; both may change on the way.

    Args:
        rate (int): Of the result in Hz.
    """

    def __init__(self, rate: int):
        self.rate = rate
        self.kind = self.resampler = None
        self.channels = 0

    def add(self, frame: av.AudioFrame) -> list[np.ndarray]:
        """Mono pieces (S,) float32 that are ready once this frame has come."""
        kind = frame.sample_rate, frame.layout.name, frame.format.name
        ready = []
        if kind != self.kind:
            ready = self.flush()
            # packed: PyAV miscounts the planes of 8 and more channels
            self.resampler = av.AudioResampler(format='flt', rate=self.rate)
            self.kind, self.channels = kind, frame.layout.nb_channels
        return ready + self._mixed(self.resampler.resample(frame))

    def flush(self) -> list[np.ndarray]:
        """What is still on its way; the next frame begins anew."""
        waiting = self.resampler.resample(None) if self.resampler else []
        self.kind = self.resampler = None
        return self._mixed(waiting)

    def _mixed(self, frames: list[av.AudioFrame]) -> list[np.ndarray]:
        # every channel counts the same, as in the mean that users of torchaudio take
        return [
            f.to_ndarray().reshape(-1, self.channels).T.mean(axis=0) for f in frames
        ]


def resample(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Brings a waveform to another rate, as `read_audio` brings that of a file.

    Args:
        waveform (np.ndarray): (S,) float32.
        rate (int): Of the waveform in Hz.
        new_rate (int): Of the result in Hz.

    Returns:
        np.ndarray: (S * new_rate / rate,) float32.

    Raises:
        av.FFmpegError: The rates are too far apart.
    """
    mixer, pieces = _Mixer(new_rate), []
    for begin in range(0, len(waveform), BLOCK):
        part = np.ascontiguousarray(waveform[None, begin : begin + BLOCK], np.float32)
        frame = av.AudioFrame.from_ndarray(part, 'flt', 'mono')
        frame.sample_rate = rate
        pieces += mixer.add(frame)
    return np.concatenate([np.zeros(0, np.float32), *pieces, *mixer.flush()])


def _decode_sound(media: Media, start: float, end: float, rate: int):
    """Decodes from just before `start` to just behind `end`, in s of the file's clock.

    Where the file has a gap, so has the result; streams without a container have none.

    Returns:
        tuple: Samples (S,) float32 at `rate`, the time of the first one in s, and the
        time in s at which decoding ended; no samples when no packet lies in the span.
    """
    counted = media.container.format.name in UNSTAMPED
    mixer, pieces, first, reached = _Mixer(rate), [], None, 0.0
    for time, frame in media.frames_from(media.audio, start - SETTLING):
        if first is None:
            first = reached = time
        elif not counted and time - reached > SOUND_GAP:
            pieces += mixer.flush()
            pieces.append(np.zeros(round((time - reached) * rate), np.float32))
            reached = time
        reached += frame.samples / frame.sample_rate
        pieces += mixer.add(frame)
        if reached >= end:
            break
    if first is None:
        return np.zeros(0, np.float32), start, reached
    pieces += mixer.flush()
    return np.concatenate([np.zeros(0, np.float32), *pieces]), first, reached


def _whole_sound(media: Media, rate: int) -> np.ndarray:
    """All sound of a file whose packets have no true times; decoded once."""
    if rate not in media.waveforms:
        media.waveforms[rate] = _decode_sound(media, media.start, math.inf, rate)[0]
    return media.waveforms[rate]


def _cut(samples: np.ndarray, first: float, start: float, end: float, rate: int):
    """Cuts [start, end) out of samples (S,) whose first lies at `first` (s); a track
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


def _check_sound_reached(media: Media, reached: float, start: float, end: float):
    """Refuses a track that ends (`reached`) before its header says, where the file is
    damaged. Times in s from the start."""
    stated = media.stated_end(media.audio)
    if stated is None and not media.is_whole:
        stated = media.file_end
    if stated is None:
        return
    stated -= media.start
    if max(reached, start) < min(end, stated) - LENGTH_TOLERANCE:
        raise ValueError(
            f'the sound breaks off at {reached:.2f} s, its container says '
            f'{stated:.2f} s'
        )


def read_sound(source: Source, start: float, end: float, rate: int):
    if not isinstance(source, Media) and is_still(head(source)):
        return None
    with opened(source) as media:
        info = media.info
        if not info.has_audio or max(start, info.audio_start) >= end:
            return None
        if media.is_untimed:
            samples, first = _whole_sound(media, rate), 0.0
        else:
            samples, first, reached = _decode_sound(
                media, media.start + start, media.start + end, rate
            )
            first, reached = first - media.start, reached - media.start
            _check_sound_reached(media, reached, start, end)
    # decoders fill the last packet up behind the stated end
    mono = _cut(samples, first, start, min(end, info.audio_end), rate)
    _check_sound(mono)
    return mono.astype(np.float32) if mono.size else None
