"""From class names to text features, through sentences with a place for the name."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets.tokenizer import build_tokenizer
from ..errors import ConfigError

BATCH = 256  # texts in one pass of the text encoder


def check_templates(templates: Sequence[str]) -> None:
    """Refuse an empty list, and sentences without exactly one place ``{}``.

    Raises:
        ConfigError: The message names the sentence.
    """
    if not templates or isinstance(templates, str):
        raise ConfigError(
            f'templates must be a list of one sentence or more, got {templates!r}'
        )
    for template in templates:
        if template.count('{}') != 1 or template.count('{') != 1:
            raise ConfigError(
                f'the template {template!r} must have one place {{}} for the class name'
            )


@torch.no_grad()
def class_features(
    model: torch.nn.Module,
    names: Sequence[str],
    templates: Sequence[str],
    max_tokens: int = 77,
) -> Tensor:
    """Text features of classes: the mean over templates of L2-normalised features,
    normalised again.

    Args:
        model: A ``CoAVT`` with a contrastive head and a ``tokenizer``.
        names: C class names.
        templates: Sentences with one place ``{}``.
        max_tokens: Longer sentences lose their end.

    Returns:
        (C, E), L2-normalised.

    Raises:
        ConfigError: If the model has no tokenizer or no contrastive head, or a
            template no place for the name.
    """
    check_templates(templates)
    if model.tokenizer_path is None or model.contrastive_head is None:
        raise ConfigError(
            'prompts need a model with `tokenizer` and `contrastive_head` in its config'
        )
    tokenizer = build_tokenizer(model.tokenizer_path)
    texts = [template.format(name) for name in names for template in templates]
    features = []
    for first in range(0, len(texts), BATCH):
        batch = tokenizer(
            texts[first : first + BATCH],
            padding=True,
            truncation=True,
            max_length=max_tokens,
            return_tensors='pt',
        ).to(next(model.parameters()).device)
        states = model.encode_text(batch['input_ids'], batch['attention_mask'])
        features.append(model.contrastive_head.project_text(states))
    mean = torch.cat(features).unflatten(0, (len(names), -1)).mean(1)  # (C, E)
    return F.normalize(mean, dim=-1)


def prompt_scores(clip_feats: Tensor, text_feats: Tensor) -> Tensor:
    """Mean over frames of the best query's cosine.

    Args:
        clip_feats: (F, Q, E), L2-normalised.
        text_feats: (C, E), L2-normalised.

    Returns:
        (C,).
    """
    return (clip_feats @ text_feats.T).amax(1).mean(0)
