"""Contrastive loss heads of pre-training: clips with texts, sound with picture.

Each head names the streams it works on and their weights; a weight of 0 switches a
stream off, and so does leaving the head out of the model. Matching is in matching.py,
language modelling in language.py.

Letters used in shapes: B clips of this rank, G clips of all ranks, Q queries,
T text tokens, D width, E projected width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from coavt_mm.errors import ConfigError
from coavt_mm.models.layers import MIN_TEMPERATURE, gather_with_grad, global_mean
from coavt_mm.models.losses import LossHead, LossInputs, Similarity, checked_streams
from coavt_mm.registry import MODELS
from coavt_mm.streams import STREAMS


def pool_tokens(tokens: Float[Tensor, '*B N D']) -> Float[Tensor, '*B D']:
    """(..., N, D) tokens -> their mean (..., D), L2-normalised."""
    return F.normalize(tokens.mean(-2).float(), dim=-1)


def prefix(feats: Float[Tensor, '*B E'], dims: int | None) -> Float[Tensor, '*B dims']:
    """(..., E) -> the first ``dims`` of them, or all for None, L2-normalised."""
    return F.normalize(feats[..., :dims], dim=-1)


def contrastive_loss(
    similarity: Similarity,
    same: Bool[Tensor, 'B G'],
    valid: Bool[Tensor, ' B'],
    all_valid: Bool[Tensor, ' G'],
    label_smoothing: float = 0.0,
) -> Float[Tensor, '']:
    """Cross-entropy in both directions, averaged; positives share the target evenly.

    Args:
        similarity: Two (B, G) matrices.
        same: (B, G) bool, pairs that belong together.
        valid: (B,) bool, samples of this rank that take part.
        all_valid: (G,) bool, samples of all ranks that take part.
        label_smoothing: Share of the target that all samples get.

    Returns:
        Scalar.
    """
    positives = (same & all_valid).float()
    target = positives / positives.sum(1, keepdim=True).clamp_min(1)
    even = all_valid.float() / all_valid.sum().clamp_min(1)
    target = (1 - label_smoothing) * target + label_smoothing * even
    losses = []
    for logits in similarity:
        logits = logits.masked_fill(~all_valid, torch.finfo(logits.dtype).min)
        losses.append(-(target * logits.log_softmax(1)).sum(1))
    return global_mean((losses[0] + losses[1]) / 2, valid)


@MODELS.register_module()
class ContrastiveHead(LossHead):
    """Clip-text contrastive loss; similarity is the best of the queries (BLIP-2).

    AV-T is the foundation of CoAVT, A-T and V-T are added on top of it; the three
    share the projections and the temperature.

    Clips with the same id and clips that carry the same caption are positives of
    each other and share the target evenly; with no duplicates in the batch this is
    BLIP-2's loss to the digit.

    Args:
        embed_dims: Width D of the query outputs. In a CoAVT the query encoder's
            unless given, else 768.
        text_dims: Width of the text states. In a CoAVT the text encoder's unless
            given, else D.
        proj_dims: Projected width E.
        temperature: Initial temperature, learnable; it divides.
        label_smoothing: Share of the target that all samples get.
        streams: Weight of each alignment. Defaults to ``dict(AV=1, A=1, V=1)``.
        nested_dims: Widths, below E, whose first dimensions are trained to be features
            by themselves (Matryoshka): a loss is the mean over these and E.
        test_dims: How many dimensions features have outside training: the first ones,
            normalised. All when not given.
        init_cfg: mmengine's initialisation config.
    """

    needs_negatives = True

    def __init__(
        self,
        embed_dims: int = 768,
        text_dims: int | None = None,
        proj_dims: int = 256,
        temperature: float = 0.07,
        label_smoothing: float = 0.1,
        streams: dict[str, float] | None = None,
        nested_dims: Sequence[int] = (),
        test_dims: int | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        streams = dict.fromkeys(STREAMS, 1.0) if streams is None else streams
        self.streams = checked_streams(type(self).__name__, streams)
        for dims in [*nested_dims, *([test_dims] if test_dims is not None else [])]:
            if not 0 < dims <= proj_dims:
                raise ConfigError(
                    f'{type(self).__name__}: nested_dims and test_dims lie between 1 '
                    f'and proj_dims={proj_dims}, got {dims}'
                )
        self.nested_dims, self.test_dims = tuple(nested_dims), test_dims
        self.label_smoothing = label_smoothing
        self.embed_dims, self.text_dims = embed_dims, text_dims or embed_dims
        self.query_proj = nn.Linear(embed_dims, proj_dims)
        self.text_proj = nn.Linear(self.text_dims, proj_dims)
        self.temperature = nn.Parameter(torch.tensor(float(temperature)))

    def project_queries(self, hidden: Float[Tensor, 'B Q D']) -> Float[Tensor, 'B Q E']:
        """(B, Q, D) -> (B, Q, E), L2-normalised."""
        return self._unit(self.query_proj(hidden))

    def project_text(self, text_hidden: Float[Tensor, 'B T D']) -> Float[Tensor, 'B E']:
        """Text states (B, T, text_dims) -> the [CLS] feature (B, E), L2-normalised."""
        return self._unit(self.text_proj(text_hidden[:, 0]))

    @property
    def width(self) -> int:
        """Dimensions of features outside training."""
        return self.test_dims or self.query_proj.out_features

    def _unit(self, feats: Tensor) -> Tensor:
        return prefix(feats.float(), None if self.training else self.test_dims)

    def logits(self, cosines: Float[Tensor, '*shape']) -> Float[Tensor, '*shape']:
        """Cosines of any shape, divided by the temperature."""
        return cosines * (1 / self.temperature.float().clamp_min(MIN_TEMPERATURE))

    def probabilities(
        self, cosines: Float[Tensor, '*B texts']
    ) -> Float[Tensor, '*B texts']:
        """Say how probable each of several texts is for a clip.

        Args:
            cosines: (..., texts), of one clip with the texts to choose from.

        Returns:
            (..., texts), which sum up to 1.
        """
        return self.logits(cosines).softmax(-1)

    def similarity(
        self,
        query_feats: Float[Tensor, 'B Q E'],
        text_feats: Float[Tensor, 'B E'],
        all_query_feats: Float[Tensor, 'G Q E'],
        all_text_feats: Float[Tensor, 'G E'],
    ) -> Similarity:
        """Similarities divided by the temperature.

        Args:
            query_feats: (B, Q, E) of this rank.
            text_feats: (B, E) of this rank.
            all_query_feats: (G, Q, E) of all ranks.
            all_text_feats: (G, E) of all ranks.

        Returns:
            Two (B, G) matrices, clips (a) with texts (b).
        """
        # bfloat16 has 8 bits: hard negatives, and the best query, would be ties
        with torch.autocast(query_feats.device.type, enabled=False):
            clip_to_text = torch.einsum('bqe,ge->bgq', query_feats, all_text_feats)
            text_to_clip = torch.einsum('be,gqe->bgq', text_feats, all_query_feats)
            return Similarity(
                self.logits(clip_to_text.amax(-1)), self.logits(text_to_clip.amax(-1))
            )

    def similarities(self, batch: LossInputs) -> dict[str, Similarity]:
        """Stream -> similarities of a batch, of the streams that are aligned."""
        return {stream: self._similar(batch, stream) for stream in self.streams}

    def _similar(
        self, batch: LossInputs, stream: str, dims: int | None = None
    ) -> Similarity:
        feats = (
            batch.features.clips[stream],
            batch.features.texts,
            batch.all_clips[stream],
            batch.all_texts,
        )
        return self.similarity(*(prefix(x, dims) if dims else x for x in feats))

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """``loss_contrastive_*`` of each stream; ``temperature`` to watch."""
        losses: dict[str, Tensor] = {}
        for stream, weight in self.streams.items():
            similar = [batch.similarity[stream]]
            similar += [self._similar(batch, stream, dims) for dims in self.nested_dims]
            who = batch.same, batch.valid[stream], batch.all_valid[stream]
            each = [self.loss(x, *who) for x in similar]
            losses[f'loss_contrastive_{stream}'] = weight * torch.stack(each).mean()
        return {**losses, 'temperature': self.temperature.detach().clone()}

    def loss(
        self, similarity: Similarity, same: Tensor, valid: Tensor, all_valid: Tensor
    ) -> Tensor:
        """Smoothed cross-entropy in both directions; see :func:`contrastive_loss`."""
        return contrastive_loss(
            similarity, same, valid, all_valid, self.label_smoothing
        )


@MODELS.register_module()
class AVContrastiveHead(LossHead):
    """Contrast of sound and picture on the encoder's mean tokens (CAV-MAE).

    It has no parameters: a checkpoint fits whether or not it was trained with it.

    Args:
        weight: Of the loss; 0 switches it off.
        temperature: Divides the cosines. The default is CAV-MAE's.
        init_cfg: mmengine's initialisation config.
    """

    takes_queries = False

    def __init__(
        self,
        weight: float = 0.0,
        temperature: float = 0.05,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if temperature <= 0:
            raise ConfigError(
                f'AVContrastiveHead: temperature must be above 0, got {temperature}'
            )
        self.weight, self.temperature = weight, temperature
        self.streams = checked_streams('AVContrastiveHead', dict(A=weight, V=weight))

    def similarity(
        self,
        audio: Float[Tensor, 'B D'],
        visual: Float[Tensor, 'B D'],
        all_audio: Float[Tensor, 'G D'],
        all_visual: Float[Tensor, 'G D'],
    ) -> Similarity:
        """Cosines of mean tokens divided by the temperature.

        Args:
            audio: (B, D) of this rank.
            visual: (B, D) of this rank.
            all_audio: (G, D) of all ranks.
            all_visual: (G, D) of all ranks.

        Returns:
            Two (B, G) matrices, sounds (a) with pictures (b).
        """
        with torch.autocast(audio.device.type, enabled=False):
            return Similarity(
                audio @ all_visual.T / self.temperature,
                visual @ all_audio.T / self.temperature,
            )

    def losses(self, batch: LossInputs) -> dict[str, Tensor]:
        """``loss_audio_visual``: whatever the text, only a clip itself is right."""
        if not self.streams:
            return {}
        feats = [pool_tokens(batch.tokens[s]) for s in self.streams]
        valid = batch.available['AV']
        loss = contrastive_loss(
            self.similarity(*feats, *map(gather_with_grad, feats)),
            batch.same_clip,
            valid,
            gather_with_grad(valid),
        )
        return {'loss_audio_visual': self.weight * loss}
