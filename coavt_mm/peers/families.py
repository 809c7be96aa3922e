"""How each kind of peer takes sound, pictures and texts, and what it makes of them.

Inputs are made by the peer's own processor, features by its own model. Letters:
B clips, F frames, H, W pixels, S audio samples, P texts, E width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coavt_mm.streams import STREAMS

#: What a processor makes, by the names of the model's arguments.
Tensors = dict[str, Tensor]

SECONDS = 10.0  # a window of sound, where a peer takes any length
FRAMES = 16  # of a clip, where a peer takes any number
RATE = 48000  # Hz, of sound that nobody listens to


class Peer(nn.Module):
    """A peer's model with its processor.

    Args:
        model: Of transformers.
        processor: That goes with it.

    Attributes:
        streams: That it has.
        text_heads: Whether it embeds texts for each of ``STREAMS`` apart.
    """

    streams: tuple[str, ...]
    text_heads = False

    def __init__(self, model: Any, processor: Any):
        super().__init__()
        self.model, self.processor = model, processor

    # ------------------------------------------------------------------- inputs
    @property
    def sample_rate(self) -> int:
        """Of sound, in Hz."""
        extractor = getattr(self.processor, 'feature_extractor', None)
        return getattr(extractor, 'sampling_rate', RATE)

    @property
    def seconds(self) -> float:
        """Length of a window of sound in s."""
        return SECONDS

    @property
    def frames(self) -> int:
        """How many frames of a clip are looked at."""
        return FRAMES

    def read_sound(self, waveform: np.ndarray) -> Tensors:
        """Waveform (S,) float32 -> what the model takes, with a batch of one."""
        extractor = self.processor.feature_extractor
        return {**extractor(waveform, sampling_rate=self.sample_rate,
                            return_tensors='pt')}  # fmt: skip

    def read_frames(self, frames: Tensor) -> Tensors:
        """Frames (F, 3, H, W) uint8 -> what the model takes."""
        raise NotImplementedError

    @property
    def max_tokens(self) -> int:
        """Longest text, in tokens."""
        text = self.model.config.text_config
        limit = text.max_position_embeddings
        if text.model_type == 'clap_text_model':  # positions begin behind padding's
            limit -= text.pad_token_id + 1
        return min(self.processor.tokenizer.model_max_length, limit)

    def read_texts(self, texts: Sequence[str]) -> Tensors:
        """P texts -> ids and mask (P, T); longer ones lose their end."""
        read = self.processor.tokenizer(
            list(texts),
            padding=self._padding,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors='pt',
        )
        return {k: read[k] for k in ('input_ids', 'attention_mask') if k in read}

    _padding: bool | str = True

    def cut_off(self, text: str) -> str:
        """What of a text is lost because it is too long; '' where nothing is."""
        tokenizer = self.processor.tokenizer
        whole = tokenizer(text, add_special_tokens=False, verbose=False)['input_ids']
        room = self.max_tokens - tokenizer.num_special_tokens_to_add()
        return tokenizer.decode(whole[room:]).strip() if len(whole) > room else ''

    # ----------------------------------------------------------------- features
    def embed_clips(
        self, sound: Tensors | None, picture: Tensors | None
    ) -> dict[str, Tensor]:
        """Stream -> (B, F, E), of what is given."""
        raise NotImplementedError

    def embed_texts(self, texts: Tensors) -> Tensor:
        """Ids and mask (P, T) -> (P, E), with ``text_heads`` (P, 3, E)."""
        return _features(self.model.get_text_features(**texts))

    def scale(self) -> Tensor:
        """What cosines are multiplied by before a softmax, ()."""
        return self.model.logit_scale.exp()


def _features(output: Any) -> Tensor:
    """The tensor that transformers 4 returns as it is."""
    return output if isinstance(output, Tensor) else output.pooler_output


class Clap(Peer):
    """CLAP: sound and text. Sound beyond the model's window is cut off, not drawn."""

    streams = ('A',)

    @property
    def seconds(self) -> float:
        """Length of a window of sound in s."""
        return self.processor.feature_extractor.nb_max_samples / self.sample_rate

    def read_sound(self, waveform: np.ndarray) -> Tensors:
        """Waveform (S,) float32 -> its log-mel; a clip alone, since of a batch the
        extractor draws one that counts as long."""
        longest = self.processor.feature_extractor.nb_max_samples
        return super().read_sound(waveform[:longest])

    def embed_clips(
        self, sound: Tensors | None, picture: Tensors | None
    ) -> dict[str, Tensor]:
        """Stream -> (B, 1, E)."""
        assert sound is not None
        return {'A': _features(self.model.get_audio_features(**sound))[:, None]}

    def scale(self) -> Tensor:
        """What cosines are multiplied by before a softmax, ()."""
        return self.model.logit_scale_a.exp()


class Clip(Peer):
    """CLIP: pictures, each by itself, and text."""

    streams = ('V',)

    def read_frames(self, frames: Tensor) -> Tensors:
        """Frames (F, 3, H, W) uint8 -> pixel_values (1, F, 3, H', W')."""
        read = self.processor.image_processor(
            [*frames], return_tensors='pt', input_data_format='channels_first'
        )
        return dict(pixel_values=read['pixel_values'][None])

    def embed_clips(
        self, sound: Tensors | None, picture: Tensors | None
    ) -> dict[str, Tensor]:
        """Stream -> (B, F, E)."""
        assert picture is not None
        pixels = picture['pixel_values']
        feats = _features(self.model.get_image_features(pixels.flatten(0, 1)))
        return {'V': feats.unflatten(0, pixels.shape[:2])}


class Siglip(Clip):
    """SigLIP: as CLIP; trained on texts that are filled up to their longest."""

    _padding = 'max_length'


class PeAv(Peer):
    """PE-AV: sound, film, both together, and for each a head of the text encoder.

    The methods ``get_text_audio_embeds``, ``get_text_video_embeds`` and
    ``get_video_embeds`` of transformers 5.24 call what is not there; the heads are
    asked as its ``forward`` does.
    """

    streams = STREAMS
    text_heads = True

    @property
    def frames(self) -> int:
        """How many frames of a clip are looked at: as many as it was trained on."""
        return self.processor.video_processor.num_frames or FRAMES

    def read_frames(self, frames: Tensor) -> Tensors:
        """Frames (F, 3, H, W) uint8 -> pixel_values_videos (1, F, 3, H', W')."""
        return {**self.processor.video_processor(
            frames, return_tensors='pt', do_sample_frames=False
        )}  # fmt: skip

    def embed_clips(
        self, sound: Tensors | None, picture: Tensors | None
    ) -> dict[str, Tensor]:
        """Stream -> (B, 1, E)."""
        model, found = self.model, {}
        if sound is not None and picture is not None:
            both = model.get_audio_video_embeds(
                **sound, **picture, return_audio_embeds=True, return_video_embeds=True
            )
            found = dict(AV=both.audio_video_embeds, A=both.audio_embeds,
                         V=both.video_embeds)  # fmt: skip
        elif sound is not None:
            part = model.audio_model
            found['A'] = part.audio_head(part.audio_encoder(**sound).pooler_output)
        elif picture is not None:
            part = model.video_model
            found['V'] = part.video_head(part.video_encoder(**picture).pooler_output)
        return {stream: feats[:, None] for stream, feats in found.items()}

    def embed_texts(self, texts: Tensors) -> Tensor:
        """Ids and mask (P, T) -> (P, 3, E), by the heads for AV, A and V."""
        model = self.model
        states = model.text_model(**texts, output_hidden_states=True).hidden_states
        heads = dict(
            AV=model.text_audio_video_head,
            A=model.audio_model.text_audio_head,
            V=model.video_model.text_video_head,
        )
        return torch.stack([heads[s](states[-1][:, 0]) for s in STREAMS], 1)

    def scale(self) -> Tensor:
        """CLIP's 100: its own is meant for products of other lengths than 1."""
        return torch.tensor(100.0)


FAMILIES: dict[str, type[Peer]] = dict(
    clap=Clap, clip=Clip, siglip=Siglip, pe_audio_video=PeAv
)


def unit(feats: Tensor) -> Tensor:
    """(..., E) -> float32, L2-normalised."""
    return F.normalize(feats.float(), dim=-1)
