"""An own contrastive loss."""

import torch
from torch import Tensor

from coavt_mm.models import ContrastiveHead
from coavt_mm.models.layers import global_mean
from coavt_mm.models.losses import Similarity
from coavt_mm.registry import MODELS


@MODELS.register_module()
class DecoupledHead(ContrastiveHead):
    """Contrast in which right pairs don't compete with wrong ones (arXiv 2110.06848).

    The loss of a clip is the log of the sum over the wrong texts, less its similarity
    with the right ones, so that an easy right pair does not quiet hard wrong ones.
    Arguments are those of ContrastiveHead; there is no label smoothing.
    """

    def loss(
        self, similarity: Similarity, same: Tensor, valid: Tensor, all_valid: Tensor
    ) -> Tensor:
        """Mean over the clips that count, and over both directions.

        Args:
            similarity: Of this process's clips with all texts (B, G), and back.
            same: (B, G), the pairs that are right.
            valid: (B,), the clips that count.
            all_valid: (G,), the texts that count.
        """
        right, wrong = same & all_valid, ~same & all_valid
        losses = torch.zeros_like(similarity.a_to_b[:, 0])
        for logits in similarity:
            least = torch.finfo(logits.dtype).min
            pull = logits.masked_fill(~right, 0.0).sum(1) / right.sum(1).clamp_min(1)
            push = logits.masked_fill(~wrong, least).logsumexp(1)
            losses = losses + (push - pull) / 2
        return global_mean(losses, valid & wrong.any(1))
