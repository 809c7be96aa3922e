"""The contrastive head that asks of each pair by itself (SigLIP)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from coavt_mm.models.heads import ContrastiveHead
from coavt_mm.models.layers import global_mean
from coavt_mm.models.losses import Similarity
from coavt_mm.registry import MODELS


@MODELS.register_module()
class SigmoidHead(ContrastiveHead):
    """Contrast of clips and texts pair by pair (SigLIP, arXiv 2303.15343).

    Each pair is a question of its own, right or wrong; no pair competes with another,
    so that there is no label smoothing. Clips with the same id or the same caption are
    right pairs, all of them.

    Args:
        embed_dims: As of :class:`ContrastiveHead`, like all but ``bias``.
        text_dims: Likewise.
        proj_dims: Likewise.
        temperature: Initial temperature, learnable; it divides. SigLIP's by
            default.
        bias: Added to each scaled cosine, learnable: nearly all pairs are wrong.
            SigLIP's by default.
        streams: Weight of each alignment.
        nested_dims: Likewise.
        test_dims: Likewise.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        embed_dims: int = 768,
        text_dims: int | None = None,
        proj_dims: int = 256,
        temperature: float = 0.1,
        bias: float = -10.0,
        streams: dict[str, float] | None = None,
        nested_dims: Sequence[int] = (),
        test_dims: int | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(
            embed_dims,
            text_dims,
            proj_dims,
            temperature,
            streams=streams,
            nested_dims=nested_dims,
            test_dims=test_dims,
            init_cfg=init_cfg,
        )
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def loss(
        self,
        similarity: Similarity,
        same: Bool[Tensor, 'B G'],
        valid: Bool[Tensor, ' B'],
        all_valid: Bool[Tensor, ' G'],
    ) -> Float[Tensor, '']:
        """Sum over the texts of all ranks, mean over the clips of all ranks.

        Each rank asks of its own clips with all texts, so all pairs are asked of once.

        Args:
            similarity: Two (B, G) matrices, the same pairs from either side.
            same: (B, G), the pairs that are right.
            valid: (B,), the clips of this rank that count.
            all_valid: (G,), the texts of all ranks that count.

        Returns:
            Scalar.
        """
        signs = same.float() * 2 - 1
        losses = -F.logsigmoid(signs * (similarity.a_to_b + self.bias.float()))
        return global_mean(losses.masked_fill(~all_valid, 0.0).sum(1), valid)
