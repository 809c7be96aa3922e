"""From a packed batch to the tensors of the model, on the device.

Letters: B clips, P captions, T tokens, F frames, H, W pixels, S audio samples,
L spectrogram frames, M mel bins.
"""

from collections.abc import Callable, Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor
from torchaudio.functional import mask_along_axis_iid

from coavt_mm.batches import as_float, is_ids, mask_of, stack_inputs
from coavt_mm.errors import ConfigError
from coavt_mm.models.logmel import AudioFrontEnd, ExactBuffers, LogMel
from coavt_mm.models.mixup import Mix, draw_mix
from coavt_mm.registry import MODELS


def _filled(augment: dict) -> dict:
    """The options of augmentation with those that are not given.

    Raises:
        ConfigError: One is unknown or out of its range.
    """
    filled = dict(freq_mask=0, time_mask=0, noise=0.0, time_roll=0,
                  mixup=0.0, mixup_alpha=10.0)  # fmt: skip
    unknown = set(augment) - set(filled)
    if unknown:
        raise ConfigError(
            f'augment has no {", ".join(sorted(unknown))}; it takes {", ".join(filled)}'
        )
    filled.update(augment)
    if not 0 <= filled['mixup'] <= 1 or filled['mixup_alpha'] <= 0:
        raise ConfigError(
            'augment: mixup is a probability and mixup_alpha is above 0, got '
            f'{filled["mixup"]} and {filled["mixup_alpha"]}'
        )
    return filled


@MODELS.register_module()
class AVTDataPreprocessor(ExactBuffers, BaseDataPreprocessor):
    """Compute spectrograms, normalise and augment.

    The spectrogram goes CAV-MAE's way: the waveform loses its mean, the log-mel is
    padded with 0 or cropped to ``spec_frames``, in training masked with 0, normalised,
    and in training given noise and a circular shift in time.

    Args:
        frame_mean, frame_std: RGB statistics, 0 to 255.
        spec_frames: Length of the spectrogram in frames; this and the next four are the
            arguments of ``AudioFrontEnd``.
        spec_mean, spec_std: Statistics of the log-mel energies.
        spec_divisor: The spectrogram is divided by ``spec_divisor * spec_std``; some
            projects take 2.
        logmel: Arguments of ``LogMel``, such as num_mel_bins.
        front_end: Config of another front end, in their place.
        augment: In training, for each clip: ``freq_mask`` (widest mask in bins),
            ``time_mask`` (in frames), ``noise`` (largest amplitude of additive uniform
            noise in normalised units; CAV-MAE 0.1), ``time_roll`` (largest circular
            shift in frames). All 0 when not given.
        pad_token_id: Id that captions are padded with.
        non_blocking: Copy to the device without waiting.
    """

    cast_data: Callable
    frame_mean: Tensor
    frame_std: Tensor

    def __init__(
        self,
        frame_mean: Sequence[float] = (123.675, 116.28, 103.53),
        frame_std: Sequence[float] = (58.395, 57.12, 57.375),
        spec_frames: int = 1024,
        spec_mean: float = -5.081,
        spec_std: float = 4.4849,
        spec_divisor: float = 1.0,
        logmel: dict | None = None,
        augment: dict | None = None,
        pad_token_id: int = 0,
        non_blocking: bool = True,
        front_end: dict | None = None,
    ):
        super().__init__(non_blocking=non_blocking)
        own = spec_frames, spec_mean, spec_std, spec_divisor, logmel
        if front_end is not None and own != (1024, -5.081, 4.4849, 1.0, None):
            raise ConfigError(
                'front_end takes the place of spec_frames, spec_mean, spec_std, '
                'spec_divisor and logmel: leave them out'
            )
        self.front_end = (
            AudioFrontEnd(*own) if front_end is None else MODELS.build(front_end)
        )
        self.augment = _filled(augment or {})
        self.pad_token_id = pad_token_id
        for name, values in (('frame_mean', frame_mean), ('frame_std', frame_std)):
            buffer = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Make a batch. Nothing here waits for the device.

        Args:
            data: Packed samples (see ``PackAVTInputs``), stacked by ``stack_clips`` or
                collated by mmengine's pseudo_collate: lists of B entries.
            training: Whether to augment.

        Returns:
            ``data_samples`` (list of B, their arrays as tensors) and ``inputs``: frames
            (B, F, 3, H, W) when a clip has a picture, spectrogram (B, L, M) when one
            has sound, has_audio and has_visual (B,) bool, clip_key (B,) int64; where
            there is text also input_ids and attention_mask (P, T) int64, caption_clip
            and caption_key (P,) int64, caption_streams (P, 3) bool for AV, A, V; after
            mixup mix_partner (B,) int64 and mix_share (B,), for the targets. Rows
            without a modality are filled with zeros and flagged.
        """
        packed, samples = data['inputs'], data['data_samples']
        if 'clip_key' not in packed:
            packed = stack_inputs(packed, samples)
        self._check_rate(samples)
        mix = None
        if training and self.augment['mixup']:
            mix = self._mix(packed)
            packed = dict(packed, mix_partner=mix.partner, mix_share=mix.share)
        inputs = self.cast_data(packed)
        if mix is not None:
            mix = Mix(inputs['mix_partner'], inputs['mix_share'])
        if 'frames' in inputs:
            inputs['frames'] = self._frames(inputs, mix)
        inputs.update(self._spectrograms(inputs, training, mix))
        for key in [*filter(is_ids, inputs)]:
            padding = inputs[mask_of(key)] == 0
            inputs[key] = inputs[key].masked_fill(padding, self.pad_token_id)
        kept = set(inputs) - {'waveform', 'audio_samples'}
        inputs = {name: x for name, x in inputs.items() if name in kept}
        samples = [sample.to_tensor() for sample in samples]
        return dict(inputs=inputs, data_samples=samples)

    def _check_rate(self, samples: list[BaseDataElement]) -> None:
        """Refuse sound of another rate than the front end takes."""
        wanted = self.front_end.sample_rate
        for sample in samples:
            rate = sample.get('sample_rate', wanted)
            if rate != wanted:
                raise ConfigError(
                    f'the sound of {sample.sample_id} was read at {rate:g} Hz, the '
                    f"model's front end takes {wanted:g} Hz: set LoadAudio's "
                    f'sample_rate={wanted:g}'
                )

    def _mix(self, packed: dict[str, Tensor]) -> Mix:
        heard = self.front_end.num_frames(packed['audio_samples'].cpu()) > 0
        kinds = 2 * packed['has_visual'].cpu() + heard
        return draw_mix(kinds, self.augment['mixup'], self.augment['mixup_alpha'])

    def _frames(self, inputs: dict[str, Tensor], mix: Mix | None) -> Tensor:
        frames = (inputs['frames'].float() - self.frame_mean).div_(self.frame_std)
        frames.masked_fill_(~inputs['has_visual'].view(-1, 1, 1, 1, 1), 0.0)
        return mix(frames) if mix else frames

    def _spectrograms(
        self, inputs: dict[str, Tensor], training: bool, mix: Mix | None
    ) -> dict[str, Tensor]:
        lengths = inputs['audio_samples']
        valid = self.front_end.num_frames(lengths)  # (B,)
        if 'waveform' not in inputs:
            return dict(has_audio=valid > 0)
        waveform = as_float(inputs['waveform'])  # (B, S)
        with torch.autocast(waveform.device.type, enabled=False):
            place = torch.arange(waveform.shape[1], device=waveform.device)
            outside = place >= lengths[:, None]  # (B, S)
            waveform = waveform.masked_fill(outside, 0.0)
            mean = waveform.sum(1) / lengths.clamp(min=1)
            waveform = waveform.sub_(mean[:, None]).masked_fill_(outside, 0.0)
            if mix is not None:  # of waveforms, as CAV-MAE; the longer one decides
                waveform = mix(waveform)
                valid = torch.maximum(valid, valid[mix.partner])
            spectrogram = self.front_end(waveform, valid)
            if training:
                spectrogram = self._mask(spectrogram)
            spectrogram = self.front_end.normalise(spectrogram)
            if training:
                spectrogram = self._disturb(spectrogram)
        spectrogram = spectrogram * (valid > 0)[:, None, None]
        return dict(has_audio=valid > 0, spectrogram=spectrogram)

    @property
    def logmel(self) -> LogMel:
        """The filterbank of the front end."""
        return self.front_end.logmel

    def _mask(self, spectrogram: Tensor) -> Tensor:
        """SpecAugment, with a mask of its own for each clip of (B, L, M)."""
        spectrogram = spectrogram.unsqueeze(1)
        for axis, name in ((2, 'time_mask'), (3, 'freq_mask')):
            spectrogram = mask_along_axis_iid(
                spectrogram, self.augment[name], 0.0, axis
            )
        return spectrogram.squeeze(1)

    def _disturb(self, spectrogram: Tensor) -> Tensor:
        """Noise of a random amplitude, then a random circular shift of (B, L, M)."""
        batch, length, _ = spectrogram.shape
        device = spectrogram.device
        if self.augment['noise']:
            amplitude = self.augment['noise'] * torch.rand(batch, 1, 1, device=device)
            spectrogram = spectrogram + amplitude * torch.rand_like(spectrogram)
        if self.augment['time_roll']:
            roll = self.augment['time_roll']
            shift = torch.randint(-roll, roll + 1, (batch, 1), device=device)
            source = (torch.arange(length, device=device) - shift) % length  # (B, L)
            spectrogram = spectrogram.gather(
                1, source[..., None].expand_as(spectrogram)
            )
        return spectrogram
