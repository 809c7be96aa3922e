"""Sound to look at and to listen to.

Letters: S audio samples, L spectrogram frames, M mel bins.
"""

import io

import av
import numpy as np

BINS = 64
HOP = 0.01  # s, from one spectrogram frame to the next
SPAN = 13.8  # of log power from darkest to brightest: 60 dB
QUIET = -2.0  # log power that is not drawn brighter than it is: about -45 dB
PLAYED_RATE = 16000  # Hz
PLAYED_BITS = 32000  # per second
SHORTEST = 0.05  # s; less would give no packet and no spectrogram frame


def log_mel(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Spectrogram of a waveform, for the eye.

    Args:
        waveform: (S,) float, full scale 1.
        rate: In Hz.

    Returns:
        (L, M) log power in 64 mel bins, one frame per 10 ms.
    """
    import torch
    from torchaudio.compliance.kaldi import fbank

    sound = torch.from_numpy(_playable(waveform, rate))[None]
    options = dict(num_mel_bins=BINS, frame_shift=1000 * HOP)
    return fbank(sound, sample_frequency=rate, **options).numpy()


def brightness(energies: np.ndarray) -> np.ndarray:
    """Log power as 0 to 1: the loudest and 60 dB below; what is quiet stays dark."""
    top = max(float(energies.max()), QUIET)
    return np.clip((energies - top) / SPAN + 1, 0, 1)


def mp3(waveform: np.ndarray, rate: int) -> bytes:
    """Write a waveform as a file that every browser plays: MP3, mono, 16 kHz.

    Args:
        waveform: (S,) float, full scale 1; what is louder is cut off.
        rate: In Hz.
    """
    file = io.BytesIO()
    sound = av.AudioFrame.from_ndarray(_playable(waveform, rate)[None], 'flt', 'mono')
    sound.sample_rate = rate
    with av.open(file, 'w', format='mp3') as container:
        stream = container.add_stream('libmp3lame', PLAYED_RATE, layout='mono')
        stream.bit_rate = PLAYED_BITS
        resampler = av.AudioResampler('fltp', 'mono', PLAYED_RATE)
        for frame in [*resampler.resample(sound), *resampler.resample(None), None]:
            container.mux(stream.encode(frame))
    return file.getvalue()


def _playable(waveform: np.ndarray, rate: int) -> np.ndarray:
    sound = np.clip(np.nan_to_num(np.asarray(waveform, np.float32)), -1, 1)
    return np.pad(sound, (0, max(0, round(SHORTEST * rate) - len(sound))))
