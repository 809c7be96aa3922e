"""From waveforms to spectrograms. Letters: B clips, S samples, L frames, M mel bins."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchaudio.compliance.kaldi import get_mel_banks

from coavt_mm.models.layers import shapes_only
from coavt_mm.registry import MODELS


class ExactBuffers(nn.Module):
    """Its buffers stay as they are where a whole model is cast to half precision.

    DeepSpeed does that to a model it trains, and ``model.bfloat16()``; the filters of
    a spectrogram are no weights, and 8 bits too few for them.
    """

    def _apply(self, fn: Callable, recurse: bool = True) -> 'ExactBuffers':
        exact: dict[str, Any] = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.dtype in (torch.float16, torch.bfloat16):
                self._buffers[name] = exact[name].to(buffer.device)
        return self


class LogMel(ExactBuffers):
    """Kaldi's log-mel filterbank for a batch, on any device.

    It gives what ``torchaudio.compliance.kaldi.fbank`` gives for each clip with
    htk_compat=True, window_type='hanning', use_energy=False and dither=0, but all
    clips at once. Always computed in float32: bfloat16 has no digits to spare for the
    logarithm of a power spectrum, and mmengine runs the preprocessor inside autocast.

    Args:
        sample_rate: Rate of the waveform in Hz.
        num_mel_bins: Number of bins.
        frame_length: Length of the window in ms.
        frame_shift: Hop in ms.
        low_freq: Lower edge of the first bin in Hz.
    """

    preemphasis = 0.97  # Kaldi's default

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mel_bins: int = 128,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        low_freq: float = 20.0,
    ):
        super().__init__()
        self.sample_rate = sample_rate
        self.window_size = int(sample_rate * frame_length * 0.001)  # samples
        self.hop = int(sample_rate * frame_shift * 0.001)  # samples
        self.fft_size = 1 << (self.window_size - 1).bit_length()
        self.banks: Tensor
        self.window: Tensor
        banks, window = self._tables(num_mel_bins, low_freq)
        self.register_buffer('banks', banks, persistent=False)
        self.register_buffer('window', window, persistent=False)

    def _tables(self, bins: int, low_freq: float) -> tuple[Tensor, Tensor]:
        """Filters (fft_size // 2 + 1, M) and window (window_size,)."""
        if shapes_only():
            empty = torch.empty(self.fft_size // 2 + 1, bins)
            return empty, torch.empty(self.window_size)
        banks, _ = get_mel_banks(
            bins, self.fft_size, float(self.sample_rate), low_freq, 0.0,
            100.0, -500.0, 1.0,
        )  # fmt: skip
        # the Nyquist bin belongs to no filter
        banks = nn.functional.pad(banks, (0, 1)).T.contiguous()
        return banks, torch.hann_window(self.window_size, periodic=False)

    def num_frames(self, samples: Tensor) -> Tensor:
        """Number of whole windows in waveforms of the given lengths.

        Args:
            samples: (B,) int64 lengths in samples.

        Returns:
            (B,) int64.
        """
        whole = torch.div(samples - self.window_size, self.hop, rounding_mode='floor')
        return (whole + 1).clamp(min=0)

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the log-mel energies.

        Args:
            waveform: (B, S).

        Returns:
            (B, L, M) float32, natural logarithm; L = 0 when S is shorter than one
            window.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            clips, samples = waveform.shape
            frames = max(0, 1 + (samples - self.window_size) // self.hop)
            if clips == 0 or frames == 0:
                return self.banks.new_zeros(clips, frames, self.banks.shape[1])
            if waveform.device.type != 'cpu':
                return self._energies(waveform)
            # ten seconds at a time stay in the cache: four times faster
            parts = waveform.split(max(1, 10 * self.sample_rate // samples))
            return torch.cat([self._energies(part) for part in parts])

    def _energies(self, waveform: Tensor) -> Tensor:
        """(B, S) -> (B, L, M)."""
        frames = waveform.float().unfold(1, self.window_size, self.hop)
        frames = frames - frames.mean(dim=2, keepdim=True)
        before = torch.cat([frames[:, :, :1], frames[:, :, :-1]], dim=2)
        # in place, since new memory costs a processor more than the arithmetic
        frames = frames.sub_(before.mul_(self.preemphasis)).mul_(self.window)
        spectrum = torch.view_as_real(torch.fft.rfft(frames, n=self.fft_size))
        real, imaginary = spectrum.square_().unbind(-1)
        mel = (real + imaginary) @ self.banks  # of the power: no square root
        return mel.clamp_(min=torch.finfo(torch.float32).eps).log_()


@MODELS.register_module()
class AudioFrontEnd(nn.Module):
    """What the model takes for sound: log-mel energies of a fixed size, normalised.

    Nothing else in the package knows a rate, a hop, a size or statistics of sound;
    another front end has these attributes and methods, and the config names it::

        data_preprocessor=dict(front_end=dict(type='MyFrontEnd', ...))

    Args:
        frames: Length of the spectrogram in frames.
        mean: Of the log-mel energies.
        std: Of the log-mel energies.
        divisor: The spectrogram is divided by ``divisor * std``; some projects take 2.
        logmel: Arguments of ``LogMel``, such as num_mel_bins.

    Attributes:
        sample_rate: Of the waveform in Hz.
        hop: From one frame to the next, in s.
        size: Frames and mel bins.
        seconds: How much sound fills the frames.
    """

    def __init__(
        self,
        frames: int = 1024,
        mean: float = -5.081,
        std: float = 4.4849,
        divisor: float = 1.0,
        logmel: dict | None = None,
    ):
        super().__init__()
        self.logmel = LogMel(**(logmel or {}))
        self.sample_rate = self.logmel.sample_rate
        self.hop = self.logmel.hop / self.sample_rate
        self.size = frames, self.logmel.banks.shape[1]
        self.seconds = frames * self.logmel.hop / self.sample_rate
        self.mean, self.scale = mean, divisor * std

    def num_frames(self, samples: Tensor) -> Tensor:
        """See ``LogMel.num_frames``."""
        return self.logmel.num_frames(samples)

    def forward(self, waveform: Tensor, valid: Tensor) -> Tensor:
        """Compute energies, cropped or padded to the size, before they are normalised.

        Args:
            waveform: (B, S).
            valid: (B,) int64, frames of each clip; from there on they are 0.

        Returns:
            (B, L, M).
        """
        energies = self.logmel(waveform)
        extra = self.size[0] - energies.shape[1]
        energies = nn.functional.pad(energies, (0, 0, 0, extra))  # a new tensor always
        frames = torch.arange(self.size[0], device=energies.device)
        return energies.masked_fill_((frames >= valid[:, None])[..., None], 0.0)

    def normalise(self, energies: Tensor) -> Tensor:
        """Bring energies (B, L, M) to the scale that the model takes."""
        return (energies - self.mean).div_(self.scale)

    def invert(self, spectrogram: Tensor) -> Tensor:
        """Bring what the model takes back to energies."""
        return spectrogram * self.scale + self.mean
