"""From a sound track to a waveform. Letter: S audio samples."""

from collections.abc import Callable

import numpy as np
from mmcv.transforms import BaseTransform

from coavt_mm.datasets.isolation import guarded
from coavt_mm.datasets.keeping import Kept
from coavt_mm.datasets.opening import with_time_limit
from coavt_mm.datasets.sound import peak_dbfs
from coavt_mm.datasets.sources import ClipSource, is_named, source_of
from coavt_mm.errors import ConfigError
from coavt_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadAudio(BaseTransform):
    """Decode the sound to mono and crop or pad it (zeros) to a fixed length.

    Required Keys:

    - sound (optional): a ``ClipSource``, in place of the file
    - audio_path
    - start
    - end

    Added Keys:

    - has_audio
    - audio_samples
    - sample_rate
    - waveform (with sound)

    Args:
        seconds: Length of the result in s.
        sample_rate: Rate of the result in Hz.
        crop: Where a longer sound is cropped: 'start', 'center' or 'random'.
        silence_dbfs: A sound whose peak lies below this level (dB relative to full
            scale, e.g. -60) counts as no sound. None keeps silence.
        timeout: Limit for one clip in s.
        isolate: Whether a process beside decodes, see :class:`LoadFrames`.
        keep: GB that the sound of files may take in the memory of each process that
            loads, so that it is decoded once: ``seconds`` x ``sample_rate`` x 4 bytes
            per clip. Not with random crops.
    """

    def __init__(
        self,
        seconds: float = 10.0,
        sample_rate: int = 16000,
        crop: str = 'start',
        silence_dbfs: float | None = None,
        timeout: float | None = 60.0,
        isolate: bool = False,
        keep: float = 0.0,
    ):
        if crop not in ('start', 'center', 'random'):
            raise ConfigError(f'crop={crop!r} is none of start, center, random')
        if keep and crop == 'random':
            raise ConfigError("LoadAudio: keep needs crop='start' or 'center'")
        self.seconds = seconds
        self.sample_rate = sample_rate
        self.crop = crop
        self.silence_dbfs = silence_dbfs
        self.timeout = timeout
        self.isolate = isolate
        self.kept = Kept(keep) if keep else None

    def _window(
        self, start: float, end: float | None, track_end: Callable[[], float | None]
    ) -> tuple[float, float | None]:
        """The span (s) to decode: no more than is kept."""
        if self.crop == 'start':
            stop = start + self.seconds
            return start, stop if end is None else min(stop, end)
        stop = min(x for x in (end, track_end(), np.inf) if x is not None)
        spare = stop - start - self.seconds
        if spare <= 0 or np.isinf(spare):
            return start, min(stop, start + self.seconds)
        share = 0.5 if self.crop == 'center' else np.random.random()
        return start + share * spare, start + share * spare + self.seconds

    def _decoded(
        self, source: ClipSource, start: float, end: float | None
    ) -> np.ndarray | None:
        source, limit = guarded(source, self.isolate, self.timeout)

        def read() -> np.ndarray | None:
            span = source.sound_span(start, end)
            begin, stop = self._window(*span, lambda: source.info.audio_end)
            return source.audio(begin, stop, self.sample_rate)

        return with_time_limit(read, limit, source.name)

    def transform(self, results: dict) -> dict:
        """Read the sound, or flags that there is none."""
        source = source_of(results, 'sound', 'audio_path')
        waveform = None
        if source is not None:
            span = results['start'], results['end']
            if self.kept is not None and is_named(source):
                waveform = self.kept.get(
                    (source.name, *span), lambda: self._decoded(source, *span)
                )
            else:
                waveform = self._decoded(source, *span)
        if waveform is not None and self.silence_dbfs is not None:
            waveform = waveform if peak_dbfs(waveform) >= self.silence_dbfs else None
        results['has_audio'] = waveform is not None
        results['sample_rate'] = self.sample_rate
        results['audio_samples'] = 0
        if waveform is not None:
            length = round(self.seconds * self.sample_rate)
            heard = results['audio_samples'] = min(len(waveform), length)
            results['waveform'] = np.zeros(length, waveform.dtype)
            results['waveform'][:heard] = waveform[:heard]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(seconds={self.seconds}, '
            f'sample_rate={self.sample_rate} Hz, crop={self.crop!r}, '
            f'silence_dbfs={self.silence_dbfs})'
        )
