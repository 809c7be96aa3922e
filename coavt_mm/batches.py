"""A batch on the host: samples stacked, and who they are, before a device sees them.

What follows from the samples alone (who has sound, which captions are equal) is known
here, so that nobody has to ask a device for it. Letters: B clips, P captions, T tokens,
F frames, H, W pixels, S audio samples.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from coavt_mm.errors import ConfigError
from coavt_mm.streams import describes
from coavt_mm.texts import normalise

FULL_SCALE = 2**15  # of sound as 16-bit whole numbers


def as_int16(waveform: Tensor) -> Tensor:
    """Sound in steps of 1 / 32768; what is louder than full scale is cut off."""
    steps = (waveform * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1)
    return steps.to(torch.int16)


def as_float(waveform: Tensor) -> Tensor:
    """Sound as float32, full scale 1, of float or what :func:`as_int16` gave."""
    is_whole = waveform.dtype == torch.int16
    return waveform.float() / FULL_SCALE if is_whole else waveform.float()


def is_ids(key: str) -> bool:
    """Whether a key is that of token ids: ``input_ids``, or others that end so."""
    return key.endswith('_ids')


def mask_of(key: str) -> str:
    """The key of the mask that goes with token ids."""
    return 'attention_mask' if key == 'input_ids' else f'{key}_mask'


def lengths_of(key: str) -> str:
    """The key of the lengths of packed token ids."""
    return 'caption_lengths' if key == 'input_ids' else f'{key}_lengths'


def stable_key(text: str) -> int:
    """A 63-bit hash that is the same in every process and release."""
    digest = hashlib.blake2b(
        text.encode('utf-8', 'surrogatepass'), digest_size=8
    ).digest()
    return int.from_bytes(digest, 'big') >> 1


def caption_key(text: str) -> int:
    """``stable_key`` of a caption, whatever its case and spaces."""
    return stable_key(normalise(text))


def stack_inputs(packed: Mapping[str, Sequence], samples: Sequence[Any]) -> dict:
    """Stack what clips were packed to; a modality that a clip lacks is zeros.

    Args:
        packed: Lists of B entries, see ``PackAVTInputs``.
        samples: B descriptions, whose ``sample_id``, ``texts``, ``text_streams`` and
            ``audio_samples`` are read.

    Returns:
        On the CPU: frames (B, F, 3, H, W) uint8 when a clip has a picture, waveform (B,
        S) when one has sound, has_visual (B,) bool, audio_samples and clip_key (B,)
        int64; where there is text also input_ids (P, T) padded with 0, attention_mask
        (P, T), caption_clip and caption_key (P,), all int64, and caption_streams (P, 3)
        bool for AV, A, V; any other ids, such as ``text_ids``, with ``text_ids_mask``.

    Raises:
        ConfigError: If the pictures of the clips differ in shape, or some have no text.
    """
    frames, waveforms = packed['frames'], packed['waveform']
    stacked: dict[str, Tensor] = dict(
        clip_key=torch.tensor([stable_key(sample.sample_id) for sample in samples]),
        has_visual=torch.tensor([clip is not None for clip in frames]),
        audio_samples=torch.tensor([
            0 if clip is None else sample.audio_samples
            for clip, sample in zip(waveforms, samples, strict=True)
        ]),
    )  # fmt: skip
    if any(clip is not None for clip in frames):
        stacked['frames'] = _stack_frames(frames, samples)
    if any(clip is not None for clip in waveforms):
        empty = torch.zeros(0)
        stacked['waveform'] = pad_sequence(
            [empty if clip is None else as_float(clip) for clip in waveforms], True
        )
    bare = [x.sample_id for x, ids in zip(samples, packed['input_ids'], strict=True)
            if ids is None]  # fmt: skip
    if not bare:
        stacked.update(_stack_captions(packed, samples))
    elif len(bare) < len(samples):
        raise ConfigError(
            f'of the clips of a batch some have text and some, such as {bare[0]}, have '
            'none: the pipelines of all data sets need TokenizeText, or none'
        )
    return stacked


def _stack_frames(clips: Sequence[Tensor | None], samples: Sequence[Any]) -> Tensor:
    shapes = {
        tuple(clip.shape): sample.sample_id
        for clip, sample in zip(clips, samples, strict=True)
        if clip is not None
    }
    if len(shapes) > 1:
        raise ConfigError(
            'the clips of a batch differ in (frames, 3, height, width): '
            + ', '.join(f'{shape} of {name}' for shape, name in shapes.items())
            + '; add a crop or a resize without keep_ratio to the pipeline'
        )
    blank = torch.zeros_like(next(clip for clip in clips if clip is not None))
    return torch.stack([blank if clip is None else clip for clip in clips])


def _stack_captions(
    packed: Mapping[str, Sequence], samples: Sequence[Any]
) -> dict[str, Tensor]:
    texts = [text for sample in samples for text in sample.texts]
    owners = [row for row, sample in enumerate(samples) for _ in sample.texts]
    streams = [describes(x) for sample in samples for x in sample.text_streams]
    ids: dict[str, Tensor] = {}
    for key in filter(is_ids, packed):
        lengths = torch.cat(list(packed[lengths_of(key)]))  # (P,)
        rows = torch.cat(list(packed[key])).split(lengths.tolist())
        ids[key] = pad_sequence(rows, True)  # (P, T)
        inside = torch.arange(ids[key].shape[1]) < lengths[:, None]
        ids[mask_of(key)] = inside.long()
    return dict(
        ids,
        caption_clip=torch.tensor(owners),
        caption_key=torch.tensor([caption_key(text) for text in texts]),
        caption_streams=torch.tensor(streams),
    )
