"""Text encoder: BERT without its pooler."""

import os
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float, Int
from mmengine.model import BaseModule
from torch import Tensor, nn

from coavt_mm.compat import renamed
from coavt_mm.errors import CheckpointError, ConfigError
from coavt_mm.models.bert import Bert, BertSettings
from coavt_mm.registry import MODELS


@MODELS.register_module()
class TextEncoder(BaseModule):
    """BERT without its pooler.

    Args:
        config: Arguments of :class:`~coavt_mm.models.bert.BertSettings`, for a randomly
            initialised model.
        init: With ``config``, how the weights begin. BERT's own N(0, 0.02), 'bert',
            gives all captions nearly the same [CLS] state, on which contrastive
            training without pre-trained text weights idles for long; 'wide' lets [CLS]
            begin as a bag of random words, so that captions are far apart.
        pretrained: Local directory or hub id of BERT weights. Give either this or
            ``config``.
        vocab_size: Grow the vocabulary to this many pieces (BLIP-2's extra [DEC] makes
            30,523).
        init_cfg: mmengine's initialisation config.

    Raises:
        ConfigError: If both or neither of ``config`` and ``pretrained`` are given, or
            ``config`` has other keys, or values of other kinds.
        CheckpointError: If ``pretrained`` can't be loaded.
    """

    @renamed(spread='init')
    def __init__(
        self,
        config: dict | None = None,
        init: str = 'bert',
        pretrained: str | None = None,
        vocab_size: int | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if (config is None) == (pretrained is None):
            raise ConfigError('TextEncoder: give either `config` or `pretrained`')
        if init not in ('bert', 'wide', True, False):
            raise ConfigError(f"TextEncoder: init is {init!r}, not 'bert' or 'wide'")
        if config is not None:
            sizes = (
                config if vocab_size is None else dict(config, vocab_size=vocab_size)
            )
            self.bert = Bert(_settings(sizes))
            if init in ('wide', True):  # True of `spread`, the name that it had
                _widen(self.bert)
        elif pretrained is not None:
            self.bert = _load_bert(pretrained, vocab_size)

    @property
    def embed_dims(self) -> int:
        """Width D of the output."""
        return self.bert.config.hidden_size

    def forward(
        self, input_ids: Int[Tensor, 'B T'], attention_mask: Int[Tensor, 'B T']
    ) -> Float[Tensor, 'B T D']:
        """Encode text in both directions.

        Args:
            input_ids: (B, T) token ids.
            attention_mask: (B, T), 1 for text and 0 for padding.

        Returns:
            (B, T, D); [CLS] is the first.
        """
        kind = self.bert.embeddings.LayerNorm.weight.dtype
        mask = (1 - attention_mask[:, None, None].to(kind)) * torch.finfo(kind).min
        return self.bert(input_ids, mask)

    @property
    def max_tokens(self) -> int:
        """Longest text, in tokens."""
        return self.bert.config.max_position_embeddings


def _settings(config: dict) -> BertSettings:
    kinds = {field.name: field.type for field in fields(BertSettings)}
    for name, value in config.items():
        if name not in kinds:
            raise ConfigError(
                f'TextEncoder.config takes no {name!r:.60}; it takes {", ".join(kinds)}'
            )
        kind: Any = kinds[name]
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or isinstance(value, bool) or (kind is not str and value < 0):
            raise ConfigError(
                f'TextEncoder.config: {name}={value!r:.60} is no {kind.__name__}, or '
                'negative'
            )
    settings = BertSettings(**config)
    if settings.hidden_size % max(settings.num_attention_heads, 1):
        raise ConfigError(
            f'TextEncoder.config: hidden_size={settings.hidden_size} is not a multiple '
            f'of num_attention_heads={settings.num_attention_heads}'
        )
    return settings


def _widen(bert: Bert) -> None:
    embeddings = bert.embeddings
    nn.init.normal_(embeddings.word_embeddings.weight, std=1.0)
    nn.init.normal_(embeddings.position_embeddings.weight, std=0.1)
    nn.init.zeros_(embeddings.token_type_embeddings.weight)
    for layer in bert.layers:
        # attention must outweigh the residual for [CLS] to hear the words
        nn.init.normal_(layer.attention.self.value.weight, std=0.2)
        nn.init.normal_(layer.attention.output.dense.weight, std=0.2)


def _load_bert(path: str, vocab_size: int | None) -> Bert:
    from transformers import BertConfig, BertModel

    local = os.path.sep in path and not os.path.isdir(path)
    try:
        config = BertConfig.from_pretrained(path)
        # config.json could name a kernel on the hub, which is code; given beside the
        # path alone, our choice is overruled by it in transformers 4.48
        theirs = BertModel.from_pretrained(
            path, config=config, add_pooling_layer=False, attn_implementation='sdpa'
        )
    except (OSError, ValueError) as error:
        hint = 'no such directory' if local else str(error).splitlines()[0]
        raise CheckpointError(
            f'TextEncoder: BERT weights could not be loaded from {path!r} ({hint}); '
            'give a directory written by save_pretrained() or a hub id'
        ) from error
    if vocab_size is not None:
        theirs.resize_token_embeddings(vocab_size)
    return _as_ours(theirs, path)


def _as_ours(theirs: Any, path: str) -> Bert:
    """The same weights, in float32, whatever the release of transformers reads."""
    names = [field.name for field in fields(BertSettings)]
    settings = BertSettings(**{name: getattr(theirs.config, name) for name in names})
    with torch.device('meta'):
        bert = Bert(settings)
    state = {name: value.float() for name, value in theirs.state_dict().items()}
    odd = sorted(state.keys() ^ bert.state_dict().keys())
    if odd:
        raise CheckpointError(
            f'TextEncoder: {path!r} is another BERT than ours: {odd[0]} differs'
        )
    bert.load_state_dict(state, assign=True)
    return bert
