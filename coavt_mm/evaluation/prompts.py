"""From class names to text features, through sentences with a place for the name."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from coavt_mm.datasets.tokenizer import (
    build_rules,
    check_max_tokens,
    encode_text,
)
from coavt_mm.errors import ConfigError
from coavt_mm.models.similarity import embed_rows, similarity
from coavt_mm.texts import (
    check_templates,
    fill_template,
    fill_templates,
    has_places,
)

if TYPE_CHECKING:
    from coavt_mm.models.coavt import CoAVT


def check_joint_template(template: str, names: Sequence[str]) -> None:
    """Refuse a sentence without exactly one place for each label set.

    Raises:
        ConfigError: The message names the sentence.
    """
    if not names or not has_places(template, names):
        wanted = ', '.join(f'{{{name}}}' for name in names) or 'label_sets to name'
        raise ConfigError(
            f'the template {template!r} must have one place for each label set: '
            f'{wanted}'
        )


def text_features(model: 'CoAVT', texts: Sequence[str], max_tokens: int = 77) -> Tensor:
    """Features of sentences, in the order given.

    Args:
        model: A ``CoAVT`` with a contrastive head and a ``tokenizer``, or one that
            reads sentences itself.
        texts: N sentences.
        max_tokens: Longer sentences lose their end.

    Returns:
        (N, E), or (N, 3, E) for AV, A and V; L2-normalised.

    Raises:
        ConfigError: If the model has no tokenizer or no contrastive head, or
            ``max_tokens`` no room for [CLS] and [SEP].
    """
    if embed := getattr(model, 'embed_sentences', None):
        return embed(texts)
    name = model.text_tokenizer
    if name is None or model.contrastive_head is None:
        raise ConfigError(
            'prompts need a model with `tokenizer` and `contrastive_head` in its config'
        )
    rules = build_rules(name)
    check_max_tokens(rules, max_tokens)
    rows = [torch.tensor(encode_text(rules, text, max_tokens)) for text in texts]
    return embed_rows(model, rows, rules.token_to_id('[PAD]') or 0)


def class_mean(features: Tensor, classes: int) -> Tensor:
    """Average the sentences of each class: (C * templates, E) -> (C, E).

    Normalised before and after, which is CLIP's ensemble.
    """
    return F.normalize(features.unflatten(0, (classes, -1)).mean(1), dim=-1)


def class_features(
    model: 'CoAVT',
    names: Sequence[str],
    templates: Sequence[str],
    max_tokens: int = 77,
) -> Tensor:
    """Embed class names: the mean over the templates, see :func:`class_mean`.

    Args:
        model: See :func:`text_features`.
        names: C class names.
        templates: Sentences with one place ``{}``.
        max_tokens: Longer sentences lose their end.

    Returns:
        (C, E), L2-normalised.

    Raises:
        ConfigError: If the model can't encode text, or a template has no place for the
            name.
    """
    check_templates(templates)
    texts = fill_templates(templates, names)
    return class_mean(text_features(model, texts, max_tokens), len(names))


def joint_features(
    model: 'CoAVT',
    template: str,
    sets: Mapping[str, Sequence[str]],
    max_tokens: int = 77,
) -> Tensor:
    """Features of one sentence with every combination of the sets' class names.

    Args:
        model: See :func:`text_features`.
        template: Sentence with a place for each set, such as 'a {colour} {shape}'.
        sets: K label sets; name -> its class names.
        max_tokens: Longer sentences lose their end.

    Returns:
        (C_1, ..., C_K, E), L2-normalised.

    Raises:
        ConfigError: If the model can't encode text, or the template does not fit.
    """
    check_joint_template(template, list(sets))
    rows = (dict(zip(sets, row, strict=True)) for row in product(*sets.values()))
    features = text_features(
        model, [fill_template(template, row) for row in rows], max_tokens
    )
    return features.unflatten(0, tuple(map(len, sets.values())))


def prompt_scores(clip_feats: Tensor, text_feats: Tensor) -> Tensor:
    """Score sentences by their :func:`~coavt_mm.models.similarity.similarity`.

    Args:
        clip_feats: (F, Q, E), L2-normalised.
        text_feats: (..., E), L2-normalised.

    Returns:
        (...).
    """
    scores = similarity(text_feats.flatten(0, -2), clip_feats)
    return scores.view(text_feats.shape[:-1])


def joint_scores(cosines: Tensor, temperature: float = 1.0) -> list[Tensor]:
    """Log-probabilities of each set's classes when whole sentences compete.

    A clip's best query answers to a whole sentence; what a class adds to a mean of
    sentences that are wrong in all else says little. So all sentences compete in one
    softmax, and a class gets what the sentences that name it get together.

    Args:
        cosines: (C_1, ..., C_K), of the clip with every sentence, or their logits.
        temperature: What divides cosines.

    Returns:
        K tensors (C_k,).
    """
    logs = (cosines / temperature).flatten().log_softmax(0).view(cosines.shape)
    return [
        logs.movedim(k, 0).reshape(size, -1).logsumexp(1)
        for k, size in enumerate(cosines.shape)
    ]
