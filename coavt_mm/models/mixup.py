"""Mixup of clips: sound, picture and target of two clips in one proportion."""

from typing import NamedTuple

import torch
from torch import Tensor


class Mix(NamedTuple):
    """Who is mixed with whom.

    Attributes:
        partner: (B,) int64, index of the other clip; its own where a clip stays as it
            is.
        share: (B,) float32, the clip's own share; the partner has the rest.
    """

    partner: Tensor
    share: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Mix a tensor (B, ...) of floats along its first dimension."""
        share = self.share.to(x.dtype).view(-1, *[1] * (x.dim() - 1))
        return share * x + (1 - share) * x[self.partner]


def draw_mix(kind: Tensor, probability: float, alpha: float) -> Mix:
    """Draw partners and shares.

    The partner is another clip of the batch that has the same modalities: mixing in a
    clip without sound would put a class into the target that nobody can hear. A clip
    that is alone of its kind is not mixed.

    Args:
        kind: (B,) int64, the same number for clips with the same modalities.
        probability: Of a clip's being mixed.
        alpha: Shares are drawn from Beta(alpha, alpha).

    Returns:
        On the device of ``kind``.
    """
    batch, device = len(kind), kind.device
    own = torch.arange(batch, device=device)
    others = (kind[:, None] == kind[None]) & (own[:, None] != own[None])  # (B, B)
    mixed = others.any(1) & (torch.rand(batch, device=device) < probability)
    # all columns for a clip without partners, which `mixed` leaves out
    weights = (others | ~others.any(1, keepdim=True)).float()
    partner = torch.where(mixed, torch.multinomial(weights, 1)[:, 0], own)
    alphas = torch.full((batch,), float(alpha), device=device)
    share = torch.distributions.Beta(alphas, alphas, validate_args=False).sample()
    return Mix(partner, torch.where(mixed, share, 1.0))
