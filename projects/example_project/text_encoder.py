"""An own text encoder."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from coavt_mm.registry import MODELS


@MODELS.register_module()
class BagOfWords(BaseModule):
    """Vectors of words, and their mean where BERT has [CLS].

    Args:
        vocab_size: Word pieces of the tokenizer, [DEC] included.
        embed_dims: Width D.
        init_cfg: mmengine's initialisation config.

    Attributes:
        embed_dims: What the contrastive head takes.
        max_tokens: Longest text, in tokens.
    """

    max_tokens = 512

    def __init__(
        self, vocab_size: int, embed_dims: int = 128, init_cfg: dict | None = None
    ):
        super().__init__(init_cfg)
        self.embed_dims = embed_dims
        self.words = nn.Embedding(vocab_size, embed_dims)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask (B, T) -> (B, T, D), the mean of the text first."""
        words = self.words(input_ids)  # (B, T, D)
        counts = attention_mask[:, :, None].to(words.dtype)
        mean = (words * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True)
        return torch.cat([mean, words[:, 1:]], 1)
