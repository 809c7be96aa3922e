"""A CoAVT as MTEB asks a model (extra ``mteb``).

Letters: n inputs, Q queries, E width of the space.
"""

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.types import PromptType
from torch import nn
from tqdm import tqdm

from coavt_mm.apis import CoAVTInferencer, load_model
from coavt_mm.checkpoints import config_to_json, load_weights, save_weights
from coavt_mm.config import load_config
from coavt_mm.errors import InputError
from coavt_mm.models.similarity import similarity
from coavt_mm.outside.vectors import ENCODER, QUERY, RAISE, Vectors
from coavt_mm.registry import MODELS
from coavt_mm.search.index import model_hash

COLUMNS = ('text', 'audio', 'video')
LARGEST = 2**26  # numbers that are held while texts are compared with queries


class CoAVTEncoder(AbsEncoder):
    """A CoAVT for ``mteb.evaluate``, whose tasks have texts, sounds and videos.

    A task says what is looked at: of a row with video and sound stream AV, with either
    alone V or A, also where a video file has a sound of its own. What is compared with
    texts keeps its queries, and the best of them counts, as in training; sound and
    picture are compared by the mean query, as :class:`AVRetrievalMetric` does. Files
    are decoded here: neither torchcodec nor FFmpeg has to be installed, and long clips
    are not cut off but cut into windows.

    Args:
        model: A CoAVT, or its checkpoint.
        revision: What tells it from others of its name; default: a hash of the weights.
        device: 'cpu', 'cuda', 'cuda:1'. Default: a GPU if there is one.
        config: Needed only for checkpoints that do not carry theirs.
        space: 'query', or 'encoder' for weights without trained queries, such as
            CAV-MAE's, which embed no texts; with a config no more than these weights
            (``av_encoder``) have to be in the checkpoint.
        on_error: 'raise' ends a task at an input that can't be embedded; 'zeros' gives
            it zeros and warns.
        **meta: Fields of mteb's ``ModelMeta``, such as ``name`` ('organisation/name'),
            ``license`` and ``training_datasets``, the tasks whose data the model saw.

    Raises:
        ConfigError: The model embeds nothing (it is a classifier).
        InputError: An option is unknown.
    """

    def __init__(
        self,
        model: str | Path | CoAVTInferencer,
        revision: str | None = None,
        *,
        device: str | None = None,
        config: str | Path | None = None,
        space: str = QUERY,
        on_error: str = RAISE,
        **meta: Any,
    ):
        if not isinstance(model, CoAVTInferencer):
            meta = dict(name=f'coavt-mm/{Path(model).stem}') | meta
            if space == ENCODER and config is not None:
                model = encoder_alone(model, config, device)
            else:
                model = load_model(model, config, device, show_progress=False)
        self.vectors = Vectors(model, space, on_error)
        unknown = set(meta) - set(ModelMeta.model_fields)
        if unknown:
            raise InputError(f'unknown argument {sorted(unknown)[0]!r}')
        self.mteb_model_meta = model_meta(self.vectors, revision, **meta)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Embed the rows of a task.

        Args:
            inputs: mteb's loader; its ``dataset`` is read.
            task_metadata: Says what the rows are compared with.
            hf_split: Not needed.
            hf_subset: Not needed.
            prompt_type: Which side of the task they are.
            **kwargs: ``batch_size`` (windows, default 8), ``show_progress_bar``.

        Returns:
            (n, E), or (n, Q * E) where they are compared with texts and hold more than
            texts: :meth:`similarity` takes both.
        """
        dataset = undecoded(inputs.dataset)
        media = set(dataset.column_names) != {'text'}
        # all texts at once: what the tokenizer does not know is said in one line
        size = kwargs.get('batch_size') or 8 if media else len(dataset)
        many = media and other_side(task_metadata, prompt_type) == {'text'}
        hidden = not kwargs.get('show_progress_bar', True)
        found = []
        with tqdm(total=len(dataset), desc='Rows', disable=hidden) as bar:
            for columns in dataset.iter(size):
                values = zip(*columns.values(), strict=True)
                rows = [dict(zip(columns, each, strict=True)) for each in values]
                parts = self.vectors.embed(rows, None, size, own_sound=False)
                found += [
                    part.rows(self.vectors.count).ravel() if many else part.vector
                    for part in parts
                ]
                bar.update(len(rows))
        return np.stack(found)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Compare texts with the best query, all else by cosine.

        Args:
            embeddings1: (n, E) or (n, Q * E); a single one may lack the n.
            embeddings2: Likewise.

        Returns:
            (n of the one, n of the other), on the CPU.
        """
        one, two = (_rows(x) for x in (embeddings1, embeddings2))
        if one.shape[1] == two.shape[1]:
            return torch.as_tensor(super().similarity(one, two))
        if one.shape[1] > two.shape[1]:
            return self.similarity(two, one).T
        clips = two.unflatten(1, (1, -1, self.vectors.width))  # (n, 1, Q, E)
        parts = one.split(max(1, LARGEST // clips[..., 0].numel()))
        return torch.cat([similarity(part, clips) for part in parts])


def encoder_alone(
    checkpoint: str | Path, config: str | Path, device: str | None = None
) -> CoAVTInferencer:
    """Load weights of the joint encoder into a CoAVT whose other parts are at random.

    Args:
        checkpoint: Has ``av_encoder``, such as CAV-MAE's converted weights.
        config: Of the CoAVT.
        device: See :func:`load_model`.

    Raises:
        ConfigError: The config is missing or broken.
        CheckpointError: The weights are not of this encoder.
    """
    cfg = load_config(os.fspath(config))
    model = MODELS.build(cfg.model)
    load_weights(checkpoint, model.av_encoder, 'av_encoder')
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'whole.safetensors'
        save_weights(model.state_dict(), path, config=config_to_json(cfg, model))
        return CoAVTInferencer(None, path, device, show_progress=False)


def _rows(embeddings: Any) -> torch.Tensor:
    return torch.atleast_2d(torch.as_tensor(embeddings).float().cpu())


def undecoded(dataset: Any) -> Any:
    """Take the files of a data set in place of their pictures and sounds.

    Args:
        dataset: Of ``datasets``.

    Returns:
        It, with those of its columns that a model may look at.
    """
    for name in ('audio', 'video'):
        kind = dataset.features.get(name)
        if getattr(kind, 'decode', False):
            dataset = dataset.cast_column(name, replace(kind, decode=False))
    return dataset.select_columns([x for x in COLUMNS if x in dataset.features])


def other_side(task_metadata: Any, prompt_type: PromptType | None) -> set[str]:
    """What inputs are compared with: modalities, or nothing where a task doesn't say.

    Args:
        task_metadata: Of the task.
        prompt_type: Which side the inputs are.
    """
    if prompt_type is None:  # names of classes are compared with clips
        named = 'zeroshot' in task_metadata.type.lower()
        return {'text'} if named else set()
    query = PromptType.query
    other = PromptType.document if prompt_type == query else query
    return set(task_metadata.get_modalities(other))


def model_meta(vectors: Vectors, revision: str | None, **given: Any) -> ModelMeta:
    """Describe a model to MTEB.

    Args:
        vectors: Of the model.
        revision: What tells it from others of its name; default: a hash of the weights.
        **given: Fields that are known better.
    """
    model: Any = vectors.inferencer.model
    parameters = sum(p.numel() for p in model.parameters())
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    reader = vectors.inferencer.texts.tokenizers.get(model.text_ids)
    modalities = ['text', 'audio', 'video'] if vectors.space == QUERY else COLUMNS[1:]
    known = dict(
        loader=None,
        name='coavt-mm/model',
        revision=revision or f'{model_hash(vectors.inferencer)[:12]}-{vectors.space}',
        release_date=None,
        languages=None,
        n_parameters=parameters,
        n_embedding_parameters=sum(m.weight.numel() for m in tables),
        memory_usage_mb=parameters * 4 / 2**20,
        max_tokens=reader and reader.max_tokens,
        embed_dim=vectors.width,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=['PyTorch'],
        similarity_fn_name='cosine',
        use_instructions=False,
        training_datasets=None,
        modalities=[*modalities],
        citation=None,
    )
    return ModelMeta(**(known | given))
