"""An own loss: how large is the triangle of a clip's text, sound and picture?"""

import torch.nn.functional as F
from torch import Tensor

from coavt_mm.models import LossHead, LossInputs
from coavt_mm.models.heads import contrastive_loss
from coavt_mm.models.layers import gather_with_grad
from coavt_mm.models.losses import Similarity, checked_streams
from coavt_mm.registry import MODELS


def areas(texts: Tensor, audio: Tensor, visual: Tensor) -> Tensor:
    """Areas of the triangles of all texts with all clips.

    Args:
        texts: (P, E), L2-normalised.
        audio: (G, E), L2-normalised.
        visual: (G, E), L2-normalised, of the same clips.

    Returns:
        (P, G), from 0, where the three are one point, to 1.3 (3/4 of the root of 3).
    """
    to_audio, to_visual = texts @ audio.T, texts @ visual.T  # cosines
    # of the two sides that meet at the text: their product with each other, and itself
    product = (audio * visual).sum(1) - to_audio - to_visual + 1
    squares = (2 - 2 * to_audio) * (2 - 2 * to_visual)
    # the root has no gradient at 0
    return (squares - product**2).clamp_min(1e-8).sqrt() / 2


@MODELS.register_module()
class AreaHead(LossHead):
    """Contrast by the area of the triangle of text, sound and picture (TRIANGLE).

    After "A TRIANGLE Enables Multimodal Alignment Beyond Cosine Similarity": the three
    are aligned at once, where cosines with the text align two of them at a time. Sound
    and picture are the mean queries in the space of the contrastive head, so there is
    nothing to learn but what that head learns.

    Args:
        weight: Of the loss; 0 switches it off.
        temperature: Divides the areas.
    """

    needs_negatives = True

    def __init__(self, weight: float = 1.0, temperature: float = 0.07):
        super().__init__()
        self.streams = checked_streams('AreaHead', dict(A=weight, V=weight))
        self.temperature = temperature

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """``loss_area``, over the clips with sound, picture and a caption of both."""
        if set(self.streams) != {'A', 'V'}:
            return {}
        texts, clips = batch.features.texts, batch.features.clips
        pair = [F.normalize(clips[s].mean(1), dim=-1) for s in ('A', 'V')]  # (B, E)
        scores = Similarity(
            -areas(batch.all_texts, *pair).T,
            -areas(texts, *map(gather_with_grad, pair)),
        )
        loss = contrastive_loss(
            Similarity(*(score / self.temperature for score in scores)),
            batch.same,
            batch.valid['AV'],
            batch.all_valid['AV'],
        )
        return {'loss_area': self.streams['A'] * loss}
