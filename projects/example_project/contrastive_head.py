"""An own contrastive loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coavt_mm.models import ContrastiveHead
from coavt_mm.models.layers import global_mean
from coavt_mm.models.losses import Similarity
from coavt_mm.registry import MODELS


@MODELS.register_module()
class SigmoidHead(ContrastiveHead):
    """Contrast of clips and texts pair by pair (SigLIP, arXiv 2303.15343).

    Each pair is a question of its own, right or wrong; no pair competes with another,
    so there is no label smoothing.

    Args:
        bias: Added to each scaled cosine, learnable. Nearly all pairs are wrong.
        temperature: Divides the cosines, learnable.
        **kwargs: Those of ContrastiveHead.
    """

    def __init__(self, bias: float = -10.0, temperature: float = 0.1, **kwargs):
        super().__init__(temperature=temperature, **kwargs)
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def loss(
        self, similarity: Similarity, same: Tensor, valid: Tensor, all_valid: Tensor
    ) -> Tensor:
        """Mean over the clips that count of the sum over their pairs.

        Args:
            similarity: Of this process's clips with all texts (B, G), and back.
            same: (B, G), the pairs that are right.
            valid: (B,), the clips that count.
            all_valid: (G,), the texts that count.
        """
        signs = same.float() * 2 - 1
        losses = -F.logsigmoid(signs * (similarity.a_to_b + self.bias))
        return global_mean(losses.masked_fill(~all_valid, 0.0).sum(1), valid)
