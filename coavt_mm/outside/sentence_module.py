"""A CoAVT as a module of sentence-transformers, saved and loaded as theirs are.

Letters: n inputs, Q queries, E width of the space.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from torch.nn.utils.rnn import pad_sequence

from coavt_mm.apis import CoAVTInferencer
from coavt_mm.apis.inputs import is_clip
from coavt_mm.apis.loading import read_checkpoint
from coavt_mm.checkpoints import (
    add_config,
    fitting_config,
    read_state_dict,
    save_weights,
)
from coavt_mm.config import load_config
from coavt_mm.errors import CheckpointError, InputError
from coavt_mm.outside.vectors import Vectors

WEIGHTS = 'model.safetensors'
MODALITIES = (
    'text',
    'audio',
    'video',
    ('audio', 'video'),
    ('audio', 'text'),
    ('text', 'video'),
    ('audio', 'text', 'video'),
)


class CoAVTModule(InputModule):
    """Texts, sounds, videos and pairs of these -> ``sentence_embedding``.

    A file of a video brings its own sound; ``encode(clips, stream='V')`` looks at the
    picture alone. The vector of a clip is the mean of its queries, frames and windows,
    that of a text with a clip the sum of theirs; all are L2-normalised.
    ``encode(clips, output_value='token_embeddings')`` gives the queries (Q, E), the
    best of which is what the model was trained to compare with a text. Only for use:
    nothing is trained through it.

    Args:
        checkpoint: .pth or .safetensors file.
        config: Needed only for checkpoints that do not carry theirs.

    Raises:
        ConfigError: The config is missing or broken, or the model embeds nothing.
        CheckpointError: The checkpoint is missing, damaged, unsafe, or of another
            config, or carries none.
    """

    forward_kwargs = {'stream'}

    def __init__(self, checkpoint: str | Path, config: str | Path | None = None):
        super().__init__()
        where = os.fspath(checkpoint)
        read = read_checkpoint(where)
        state = read_state_dict(read, where)
        self.config_json = (
            fitting_config(read, state, where)
            if config is None
            else add_config(load_config(os.fspath(config)), state)
        )
        inferencer = CoAVTInferencer(config, where, 'cpu', show_progress=False)
        self.vectors = Vectors(inferencer)
        self.model = inferencer.model

    @property
    def modalities(self) -> list:
        """What an input may hold."""
        return [*MODALITIES]

    def get_embedding_dimension(self) -> int:
        """The width E of the space."""
        return self.vectors.width

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any
    ) -> dict:
        """Say of inputs what they are; they are read by :meth:`forward`.

        Args:
            inputs: n texts, paths, arrays or dicts ``text``, ``audio``, ``video``.
            prompt: Put before texts.
            **kwargs: Not needed.

        Raises:
            InputError: One is of another kind.
        """
        rows = [_row(value) for value in inputs]
        for row in rows if prompt else ():
            if 'text' in row:
                row['text'] = prompt + row['text']
        return dict(rows=rows)

    def forward(self, features: dict, stream: str | None = None, **kwargs: Any) -> dict:
        """Embed what :meth:`preprocess` gives.

        Args:
            features: ``rows``.
            stream: 'AV', 'A' or 'V': look at this only.
            **kwargs: Not needed.

        Returns:
            ``sentence_embedding`` (n, E), ``token_embeddings`` (n, Q or 1, E) and
            ``attention_mask`` (n, Q or 1), added.
        """
        device = next(self.model.parameters()).device
        self.model.to(device)  # its preprocessor, too, which keeps a name of its own
        found = self.vectors.embed(features['rows'], stream)
        vectors = np.stack([each.vector for each in found])
        parts = [
            torch.from_numpy(
                each.rows(1 if each.queries is None else len(each.queries))
            )
            for each in found
        ]
        masks = [torch.ones(len(part), dtype=torch.long) for part in parts]
        features.update(
            sentence_embedding=torch.from_numpy(vectors).to(device),
            token_embeddings=pad_sequence(parts, True).to(device),
            attention_mask=pad_sequence(masks, True).to(device),
        )
        return features

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write the weights, with the config in them.

        Args:
            output_path: Folder.
            *args: Not needed.
            **kwargs: Not needed: safetensors is the only form.
        """
        path = Path(output_path) / WEIGHTS
        save_weights(self.model.state_dict(), path, config=self.config_json)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = '',
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **kwargs: Any,
    ) -> 'CoAVTModule':
        """Read what :meth:`save` wrote.

        Args:
            model_name_or_path: Folder, or name on the hub.
            subfolder: Of the module.
            token: For the hub.
            cache_folder: Where files of the hub are kept.
            revision: On the hub.
            local_files_only: Whether the hub is not asked.
            **kwargs: Not needed.

        Raises:
            CheckpointError: There are no weights.
        """
        path = cls.load_file_path(
            model_name_or_path,
            WEIGHTS,
            subfolder,
            token,
            cache_folder,
            revision,
            local_files_only,
        )
        if path is None:
            raise CheckpointError(f'{model_name_or_path}: has no {WEIGHTS}')
        return cls(path)


def _row(value: Any) -> dict:
    """What an input holds, by modality."""
    if isinstance(value, Mapping) and not {'text', 'audio', 'video'}.isdisjoint(value):
        return dict(value)
    if isinstance(value, Mapping) and 'array' in value:
        return {'audio' if 'sampling_rate' in value else 'video': value}
    if isinstance(value, str):
        return dict(video=value) if is_clip(value) else dict(text=value)
    if len(getattr(value, 'shape', ())) == 4 or isinstance(value, Path | bytes):
        return dict(video=value)
    raise InputError(
        'an input must be a text, a path, frames, a dict of text, audio, video, or '
        f'array and sampling_rate, not a {type(value).__name__}'
    )


def sentence_transformer(
    checkpoint: str | Path, config: str | Path | None = None
) -> SentenceTransformer:
    """Make a SentenceTransformer of a checkpoint; ``save_pretrained`` makes a folder.

    Args:
        checkpoint: .pth or .safetensors file of a CoAVT.
        config: Needed only for checkpoints that do not carry theirs.

    Raises:
        ConfigError: The config is missing or broken, or the model embeds nothing.
        CheckpointError: The checkpoint is missing, damaged, unsafe, or of another
            config, or carries none.
    """
    return SentenceTransformer(modules=[CoAVTModule(checkpoint, config)], device='cpu')
