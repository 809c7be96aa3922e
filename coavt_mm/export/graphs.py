"""What is exported: modules that take tensors and give features, preprocessing inside.

Letters: B clips, S audio samples, L spectrogram frames, M mel bins, H and W picture
height and width, T text tokens, N tokens, Q queries, D width, E projected width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coavt_mm.models import CoAVT
from coavt_mm.models.heads import pool_tokens
from coavt_mm.models.logmel import AudioFrontEnd, LogMel

#: What each file takes beside the sound, and gives.
CLIP_FEATURES = ('clip_feats', 'token_feats')
TEXT_FEATURES = ('text_feats',)


def _filters(logmel: LogMel) -> tuple[Tensor, Tensor]:
    """The log-mel's linear steps as two convolutions, which every runtime has.

    Returns:
        Of the waveform (2 (fft_size / 2 + 1), 1, window_size), real parts before
        imaginary ones, and of its power (M, fft_size / 2 + 1, 1).
    """
    size = logmel.window_size
    # all that is done with a window before its power is linear: do it with the unit
    # vectors, in double precision
    frames = torch.eye(size, dtype=torch.float64) - 1 / size
    before = torch.cat([frames[:, :1], frames[:, :-1]], 1)
    frames = (frames - logmel.preemphasis * before) * logmel.window.double().cpu()
    spectrum = torch.fft.rfft(frames, n=logmel.fft_size).T  # (bins, window_size)
    wave = torch.cat([spectrum.real, spectrum.imag])[:, None]
    return wave.float(), logmel.banks.T[..., None].contiguous().cpu()


class WaveformInput(nn.Module):
    """A waveform -> what the model takes for sound, as its preprocessor makes it.

    Args:
        front_end: The model's.
    """

    names: tuple[str, ...] = ('waveform', 'samples')

    def __init__(self, front_end: AudioFrontEnd):
        super().__init__()
        self.front_end = front_end
        wave, power = _filters(front_end.logmel)
        self.wave_filters: Tensor
        self.power_filters: Tensor
        self.register_buffer('wave_filters', wave)
        self.register_buffer('power_filters', power)

    def forward(self, waveform: Tensor, samples: Tensor) -> Tensor:
        """(B, S), and how many of its samples are sound (B,) -> (B, L, M)."""
        front_end = self.front_end
        inside = torch.arange(waveform.shape[1]) < samples[:, None]
        waveform = waveform * inside
        mean = waveform.sum(1) / samples.clamp(min=1)
        waveform = ((waveform - mean[:, None]) * inside)[:, None]  # (B, 1, S)
        spectrum = F.conv1d(waveform, self.wave_filters, stride=front_end.logmel.hop)
        real, imaginary = spectrum.chunk(2, 1)
        power = real.square() + imaginary.square()  # (B, bins, frames)
        energies = F.conv1d(power, self.power_filters).transpose(1, 2)
        energies = energies.clamp(min=torch.finfo(torch.float32).eps).log()
        length, valid = front_end.size[0], front_end.num_frames(samples)
        energies = F.pad(energies, (0, 0, 0, length - energies.shape[1]))
        outside = torch.arange(length) >= valid[:, None]
        energies = energies.masked_fill(outside[..., None], 0.0)
        return front_end.normalise(energies) * (valid > 0)[:, None, None]


class SpectrogramInput(nn.Module):
    """A spectrogram as it is: of a front end that can't be written as a graph here."""

    names: tuple[str, ...] = ('spectrogram',)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(B, L, M), normalised -> the same."""
        return spectrogram


class ClipGraph(nn.Module):
    """What the graphs of clips share.

    Args:
        model: Has a contrastive head.
        sound: From what is handed in to a spectrogram.
    """

    outputs = CLIP_FEATURES

    def __init__(self, model: CoAVT, sound: 'WaveformInput | SpectrogramInput'):
        super().__init__()
        self.model = model
        self.sound: Any = sound

    def picture(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB -> the same, normalised."""
        numbers: Any = self.model.data_preprocessor
        return (frames.float() - numbers.frame_mean) / numbers.frame_std

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, D) -> projected queries (B, Q, E), mean token (B, D)."""
        head: Any = self.model.contrastive_head
        hidden = self.model.query(tokens).hidden
        return head.project_queries(hidden), pool_tokens(tokens)


class AudioGraph(ClipGraph):
    """Stream A."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what it takes."""
        return self.sound.names

    def forward(self, *sound: Tensor) -> tuple[Tensor, Tensor]:
        """What the sound is made of -> (B, Q, E) and (B, D)."""
        return self.read(self.model.encode_audio(self.sound(*sound)))


class VideoGraph(ClipGraph):
    """Stream V, a picture a row."""

    inputs = ('frames',)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) uint8 RGB -> (B, Q, E) and (B, D)."""
        return self.read(self.model.encode_visual(self.picture(frames)))


class PairGraph(ClipGraph):
    """Stream AV, a picture with the clip's sound a row."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what it takes."""
        return ('frames', *self.sound.names)

    def forward(self, frames: Tensor, *sound: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) uint8 RGB, and sound -> (B, Q, E) and (B, D)."""
        spectrogram = self.sound(*sound)
        return self.read(self.model.encode_av(spectrogram, self.picture(frames)))


class TextGraph(nn.Module):
    """Texts.

    Args:
        model: Has a contrastive head.
    """

    inputs = ('input_ids', 'attention_mask')
    outputs = TEXT_FEATURES

    def __init__(self, model: CoAVT):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) and (B, T) int64 -> (B, E)."""
        return self.model.embed_texts(input_ids, attention_mask)


def graphs_of(model: CoAVT, reads_texts: bool) -> dict[str, nn.Module]:
    """Name -> what becomes a file of its own.

    Args:
        model: Has a contrastive head.
        reads_texts: Whether there is a tokenizer to read texts with.
    """
    front_end = model.data_preprocessor.front_end
    plain = type(front_end) is AudioFrontEnd
    sound = WaveformInput(front_end) if plain else SpectrogramInput()
    graphs: dict[str, nn.Module] = dict(
        audio=AudioGraph(model, sound),
        video=VideoGraph(model, sound),
        audio_video=PairGraph(model, sound),
    )
    if reads_texts:
        graphs['text'] = TextGraph(model)
    return {name: graph.eval() for name, graph in graphs.items()}
