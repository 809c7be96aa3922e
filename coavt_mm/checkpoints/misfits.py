"""Which setting of a config makes a tensor of another shape than a checkpoint's."""

import re
from collections.abc import Mapping

from torch import Tensor

#: End of a tensor's name -> the dimension that a setting gives, and the setting.
_SETTINGS = (
    (r'cross_attn\.(key|value)\.weight', 1, 'query_encoder.context_dims'),
    (r'query_tokens', 1, 'query_encoder.num_queries'),
    (r'layers\.0\.\w+_mlp\.fc1\.weight', 0, 'query_encoder.hidden_dims'),
    (r'\bembeddings\.word_embeddings\.weight', 0, 'text_encoder.config.vocab_size'),
    (r'\bembeddings\.position_embeddings\.weight', 0,
     'text_encoder.config.max_position_embeddings'),
    (r'\bword_embeddings\.weight', 0, 'query_encoder.vocab_size'),
    (r'\bposition_embeddings\.weight', 0, 'query_encoder.max_tokens'),
    (r'(query|text)_proj\.weight', 0, 'contrastive_head.proj_dims'),
    (r'head\.fc\.weight', 0, 'head.num_classes'),
    (r'_embed\.proj\.weight', 2, 'av_encoder.patch_size'),
    (r'_embed\.proj\.weight', 0, 'av_encoder.embed_dims'),
)  # fmt: skip


def differing_settings(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> list[str]:
    """Name the settings, with the numbers of both sides.

    Args:
        state: Tensors of the checkpoint, under the model's names.
        wanted: Tensors of the model.

    Returns:
        Such as 'query_encoder.context_dims is 1408 in the checkpoint and 768 in the
        config'.
    """
    found: dict[str, str] = {}
    for name, tensor in state.items():
        model = wanted[name]
        for pattern, dim, setting in _SETTINGS:
            if tensor.ndim != model.ndim or not re.search(f'{pattern}$', name):
                continue
            theirs, ours = tensor.shape[dim], model.shape[dim]
            if theirs != ours:
                said = f'{setting} is {theirs} in the checkpoint and {ours} in the'
                found.setdefault(setting, f'{said} config')
                break
    return [*found.values()]
