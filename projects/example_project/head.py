"""An own head and an own loss."""

import torch.nn.functional as F
from torch import Tensor, nn

from coavt_mm.models import ClassificationHead
from coavt_mm.models.layers import build_part, global_mean
from coavt_mm.registry import MODELS


@MODELS.register_module()
class FocalLoss(nn.Module):
    """Focal loss (arXiv 1708.02002): clips that are right already count less.

    Args:
        gamma: 0 is binary cross-entropy. Defaults to 2.
    """

    def __init__(self, gamma: float = 2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and targets (B, classes) -> losses (B,)."""
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
        wrong = (logits.sigmoid() - target).abs()
        return (wrong**self.gamma * losses).sum(1)


@MODELS.register_module()
class CosineHead(ClassificationHead):
    """Cosine of the pooled feature with a vector for each class.

    Args:
        num_classes: Classes.
        embed_dims: Width D.
        loss: Loss module; gives (B,).
        scale: The cosine is multiplied by it. Defaults to 16.
    """

    def __init__(
        self,
        num_classes: int,
        embed_dims: int,
        loss: dict | nn.Module,
        scale: float = 16.0,
    ):
        super().__init__(num_classes, embed_dims)
        self.criterion, self.scale = build_part(loss), scale

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) -> logits (B, classes)."""
        pooled, classes = self.norm(pooled), self.fc.weight
        return self.scale * F.linear(F.normalize(pooled), F.normalize(classes)).float()

    def loss(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Mean of the own loss over the clips that count, on all processes."""
        return global_mean(self.criterion(logits, target), valid)
