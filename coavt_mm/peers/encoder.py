"""A peer as a model of ours: the same predictions, so the same metrics and answers.

Letters: B clips, F frames, H, W pixels, S audio samples, P texts, C captions, E width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from coavt_mm.batches import as_float, stable_key
from coavt_mm.errors import ConfigError
from coavt_mm.models.similarity import BATCH
from coavt_mm.peers.families import FAMILIES, Peer, Tensors, unit
from coavt_mm.peers.loading import find_folder, load
from coavt_mm.registry import MODELS
from coavt_mm.streams import MODALITIES, STREAMS, available


class PeerPreprocessor(BaseDataPreprocessor):
    """Hand clips to the peer's own processor, one by one.

    Args:
        peer: The peer.
    """

    def __init__(self, peer: Peer):
        super().__init__()
        self._peer = (peer,)  # a part of the model, not of this
        self.hears = any('audio' in MODALITIES[s] for s in peer.streams)
        self.sees = any('visual' in MODALITIES[s] for s in peer.streams)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Make a batch.

        Args:
            data: Packed samples (see ``PackAVTInputs``), collated by mmengine's
                pseudo_collate: frames may differ in size from clip to clip.
            training: Makes no difference.

        Returns:
            ``data_samples`` as they came, and ``inputs``: has_audio and has_visual (B,)
            bool, clip_key (B,) int64, ``sound`` and ``picture``, (B,) arrays of what
            the processor made of each clip, or None.

        Raises:
            ConfigError: Sound is of another rate than the peer takes.
        """
        packed, samples = data['inputs'], data['data_samples']
        (peer,) = self._peer
        sounds, pictures = (np.full(len(samples), None, object) for _ in range(2))
        has = torch.zeros(2, len(samples), dtype=torch.bool)
        for i, sample in enumerate(samples):
            waveform, frames = packed['waveform'][i], packed['frames'][i]
            length = sample.get('audio_samples', 0) if waveform is not None else 0
            has[0, i], has[1, i] = length > 0, _is_there(frames, sample)
            if has[0, i] and self.hears:
                self._check_rate(sample)
                sounds[i] = peer.read_sound(as_float(waveform[:length]).numpy())
            if has[1, i] and self.sees:
                pictures[i] = peer.read_frames(frames)
        inputs = dict(
            has_audio=has[0],
            has_visual=has[1],
            clip_key=torch.tensor([stable_key(s.sample_id) for s in samples]),
            sound=sounds,
            picture=pictures,
        )
        return dict(inputs=inputs, data_samples=samples)

    def _check_rate(self, sample: BaseDataElement) -> None:
        (peer,) = self._peer
        rate = sample.get('sample_rate', peer.sample_rate)
        if rate != peer.sample_rate:
            raise ConfigError(
                f'the sound of {sample.sample_id} was read at {rate:g} Hz, this peer '
                f"takes {peer.sample_rate} Hz: set LoadAudio's "
                f'sample_rate={peer.sample_rate}'
            )


def _is_there(frames: Tensor | None, sample: BaseDataElement) -> bool:
    return frames is not None and bool(sample.get('has_visual', True))


class PeerHead(nn.Module):
    """What a contrastive head says of cosines, by the peer's own temperature.

    Args:
        peer: The peer.
    """

    def __init__(self, peer: Peer):
        super().__init__()
        self._peer = (peer,)  # a part of the model, not of this

    def logits(self, cosines: Tensor) -> Tensor:
        """Cosines of any shape, divided by the temperature."""
        return cosines * self._peer[0].scale().float().to(cosines.device)

    def probabilities(self, cosines: Tensor) -> Tensor:
        """Cosines (..., texts) -> how probable each text is for a clip, (..., texts);
        a softmax, also where the peer was trained with a sigmoid."""
        return self.logits(cosines).softmax(-1)


@MODELS.register_module()
class PeerEncoder(BaseModel):
    """CLAP, CLIP, SigLIP or PE-AV of transformers, for retrieval and zero-shot tests.

    It is not trained here. Features are those that transformers gives for the same
    frames and sound, L2-normalised; a stream that the peer lacks, or a clip, has none.

    Args:
        path: Folder that ``save_pretrained`` wrote, with weights as safetensors, or a
            hub id, which is fetched once.

    Attributes:
        streams: That it has, of AV, A and V.
        folder: Where its files are.

    Raises:
        CheckpointError: The peer is missing, damaged, incomplete, or of another kind.
        ConfigError: transformers is too old for it, or a package is missing.
    """

    matching_head = lm_head = None

    def __init__(self, path: str):
        kind, model, processor = load(path)
        peer = FAMILIES[kind](model, processor)
        super().__init__(PeerPreprocessor(peer))
        self.peer, self.path, self.folder = peer, path, str(find_folder(path))
        self.streams = peer.streams
        self.contrastive_head = PeerHead(peer)
        self.test_cfg: dict[str, Any] = {}

    @property
    def seconds(self) -> float:
        """Length of a window in s, where long clips are cut."""
        return self.peer.seconds

    def init_weights(self) -> None:
        """Leave them as they were read."""

    @property
    def pipeline(self) -> list[dict]:
        """A test pipeline with the rate, length and number of frames that it takes."""
        peer, steps = self.peer, []
        if any('visual' in MODALITIES[s] for s in self.streams):
            steps.append(dict(type='LoadFrames', num_frames=peer.frames, pick='all'))
        if any('audio' in MODALITIES[s] for s in self.streams):
            sound = dict(seconds=peer.seconds, sample_rate=peer.sample_rate)
            steps.append(dict(type='LoadAudio', **sound))
        return [*steps, dict(type='PackAVTInputs')]

    def forward(
        self,
        inputs: dict[str, Any],
        data_samples: Any = None,
        mode: str = 'tensor',
    ):
        """Dispatch to :meth:`predict` or :meth:`extract`.

        Raises:
            ConfigError: It should train, or the mode is none.
        """
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return self.extract(inputs)
        raise ConfigError(
            f"a PeerEncoder has no mode {mode!r}: it has 'predict' and 'tensor', and "
            'no training'
        )

    def extract(self, inputs: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
        """Features of every stream that a clip of the batch has.

        Clips of one shape go through the peer together, without padding, so that a
        clip's features don't depend on its neighbours.

        Args:
            inputs: The preprocessor's output.

        Returns:
            ``clip_feats`` and ``tokens``, the same: stream -> (B, F, 1, E),
            L2-normalised, zeros where a clip lacks the stream.
        """
        pairs = [*zip(inputs['sound'], inputs['picture'], strict=True)]
        groups: dict[tuple, list[int]] = {}
        for row, pair in enumerate(pairs):
            groups.setdefault(tuple(map(_shape, pair)), []).append(row)
        feats: dict[str, Tensor] = {}
        for shape, rows in groups.items():
            if shape == (None, None):
                continue
            both = (self._stacked([pairs[row][i] for row in rows]) for i in (0, 1))
            for stream, found in self.peer.embed_clips(*both).items():
                found = unit(found).unsqueeze(-2)  # (b, F, 1, E)
                empty = found.new_zeros(len(pairs), *found.shape[1:])
                feats.setdefault(stream, empty)[rows] = found
        feats = {stream: feats[stream] for stream in STREAMS if stream in feats}
        return dict(tokens=feats, clip_feats=feats)

    def _stacked(self, parts: Sequence[Tensors | None]) -> Tensors | None:
        if parts[0] is None:
            return None
        device = next(self.parameters()).device
        return {
            name: torch.cat([part[name] for part in parts if part]).to(device)
            for name in parts[0]
        }

    @torch.no_grad()
    def embed_sentences(self, texts: Sequence[str], batch_size: int = BATCH) -> Tensor:
        """Embed texts with the peer's own tokenizer.

        Args:
            texts: P texts.
            batch_size: Texts that go through the model at once.

        Returns:
            (P, E), or (P, 3, E) of a peer with a text head for each stream, in the
            order AV, A, V; L2-normalised, on the model's device.
        """
        device, found = next(self.parameters()).device, []
        for begin in range(0, len(texts), batch_size):
            read = self.peer.read_texts(texts[begin : begin + batch_size])
            read = {name: x.to(device) for name, x in read.items()}
            found.append(unit(self.peer.embed_texts(read)))
        return torch.cat(found)

    def lost_words(self, text: str) -> tuple[list[str], str]:
        """Words that the tokenizer does not know (peers' know all), and the end that is
        too long."""
        return [], self.peer.cut_off(text)

    @torch.no_grad()
    def predict(
        self, inputs: dict[str, Any], data_samples: list[BaseDataElement]
    ) -> list[BaseDataElement]:
        """Features of clips, and of the captions in ``texts`` of the samples.

        Args:
            inputs: The preprocessor's output.
            data_samples: One per clip.

        Returns:
            The samples, with ``clip_feats`` (stream -> (F, 1, E)), ``token_feats``
            (stream -> (F, E), the same) and, where they have texts, ``caption_feats``
            (C, E), of a peer with a text head for each stream (C, 3, E).
        """
        feats = self.extract(inputs)['clip_feats']
        has = available(inputs['has_audio'], inputs['has_visual'])
        for i, sample in enumerate(data_samples):
            own = {s: x[i] for s, x in feats.items() if has[s][i]}
            pooled = {s: x.squeeze(-2) for s, x in own.items()}
            sample.set_data(dict(clip_feats=own, token_feats=pooled))
        texts = [list(sample.get('texts', ())) for sample in data_samples]
        every = [text for own in texts for text in own]
        if every:
            found = self.embed_sentences(every).split([len(own) for own in texts])
            for sample, captions in zip(data_samples, found, strict=True):
                sample.set_data(dict(caption_feats=captions))
        return data_samples


def _shape(part: Tensors | None) -> tuple | None:
    if part is None:
        return None
    return tuple((name, tuple(x.shape)) for name, x in part.items())
