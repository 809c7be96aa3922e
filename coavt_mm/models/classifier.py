"""Audio-visual event classification on the joint encoder (CAV-MAE's fine-tuning)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from mmengine.model import BaseModule
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from coavt_mm.errors import ConfigError
from coavt_mm.models.base import TrainedModel
from coavt_mm.models.layers import build_part, global_mean, stated_size
from coavt_mm.registry import MODELS
from coavt_mm.streams import MODALITIES, STREAMS, available

LOSSES = ('bce', 'ce')
MISSING = ('average', 'own')


@MODELS.register_module()
class ClassificationHead(BaseModule):
    """LayerNorm and a linear layer on a pooled feature, with its loss.

    Args:
        num_classes: Classes.
        embed_dims: Width D. Defaults to 768.
        loss: 'bce' for any number of labels a clip, 'ce' for soft cross-entropy over
            classes. Defaults to 'bce'.
        label_smoothing: Share of the target that is spread over all classes: (1 - s) *
            target + s / num_classes, for both losses. Defaults to 0.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        num_classes: int,
        embed_dims: int = 768,
        loss: str = 'bce',
        label_smoothing: float = 0.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if loss not in LOSSES:
            raise ConfigError(
                f"ClassificationHead: loss must be 'bce' or 'ce', got {loss!r}"
            )
        self.num_classes, self.loss_name = num_classes, loss
        self.embed_dims = embed_dims
        self.label_smoothing = label_smoothing
        self.norm = nn.LayerNorm(embed_dims, eps=1e-5)
        self.fc = nn.Linear(embed_dims, num_classes)

    def forward(self, pooled: Float[Tensor, 'B D']) -> Float[Tensor, 'B classes']:
        """(B, D) -> logits (B, classes)."""
        return self.fc(self.norm(pooled)).float()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Sigmoid for 'bce', softmax for 'ce'; any leading shape."""
        return logits.sigmoid() if self.loss_name == 'bce' else logits.softmax(-1)

    def targets(self, samples: Sequence[BaseDataElement], like: Tensor) -> Tensor:
        """Targets (B, classes) of the samples, before smoothing.

        A sample's ``gt_score`` (classes,) is taken as it is (mixup writes one), else
        its ``gt_label`` indices become ones. They are made on the host.
        """
        target = torch.zeros(len(samples), self.num_classes)
        for row, sample in zip(target, samples, strict=True):
            if 'gt_score' in sample:
                row.copy_(sample.gt_score)
            elif 'gt_label' in sample:
                row[sample.gt_label] = 1
            else:
                raise ConfigError(
                    f'the clip {sample.get("sample_id", "?")!r} has no gt_label; give '
                    'the data set its `classes`'
                )
        if self.loss_name == 'ce':
            target = target / target.sum(1, keepdim=True).clamp_min(1e-6)
        return target.to(like.device, non_blocking=True)

    def loss(
        self,
        logits: Float[Tensor, 'B classes'],
        target: Float[Tensor, 'B classes'],
        valid: Bool[Tensor, ' B'],
    ) -> Float[Tensor, '']:
        """Mean loss over the clips that count.

        Args:
            logits: (B, classes).
            target: (B, classes) in [0, 1].
            valid: (B,) bool.

        Returns:
            Scalar.
        """
        smooth = self.label_smoothing
        target = (1 - smooth) * target + smooth / self.num_classes
        if self.loss_name == 'ce':
            losses = F.cross_entropy(logits, target, reduction='none')
        else:
            losses = F.binary_cross_entropy_with_logits(
                logits, target, reduction='none'
            ).mean(1)
        return global_mean(losses, valid)


@MODELS.register_module()
class CoAVTClassifier(TrainedModel):
    """Joint encoder, mean over its tokens or over queries, classification head.

    Letters: B clips, F frames a clip, L spectrogram frames, M mel bins, D width.

    Args:
        backbone: A ``JointAVEncoder``.
        head: A ``ClassificationHead``.
        query_encoder: A ``QueryEncoder`` whose queries read the tokens; the head then
            gets the mean query output. Default: the mean token.
        frozen: A linear probe: everything below the head stays as loaded and in eval
            mode (no gradient, no dropout, no token masking). Or the names of modules
            that do, or patterns of names, as 'backbone.*_blocks.[0-5]'. Defaults to
            False.
        stream: What is trained and tested on: 'AV', 'A' or 'V'. Defaults to 'AV'.
        test_cfg: ``stream`` to test on, None for the trained one, another for a model
            that lacks a modality at test; ``missing``, what an AV-trained model does
            with one modality: 'average' (default), the mean of the pooled tokens under
            the joint norms and under the modality's own norms goes into the head, or
            'own', the modality's own norms alone. Both are CAV-MAE's.
        data_preprocessor: Its config.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        head: dict | nn.Module,
        query_encoder: dict | nn.Module | None = None,
        frozen: bool | Sequence[str] = False,
        stream: str = 'AV',
        test_cfg: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(build_part(data_preprocessor), init_cfg)
        self.backbone = build_part(backbone)
        pooled = stated_size(
            backbone if query_encoder is None else query_encoder, 'embed_dims'
        )
        self.head = build_part(head, 'CoAVTClassifier: head', embed_dims=pooled)
        self.query_encoder = build_part(
            query_encoder,
            'CoAVTClassifier: query_encoder',
            context_dims=stated_size(backbone, 'embed_dims'),
        )
        self.frozen, self.stream = frozen, stream
        self.test_cfg: dict[str, Any] = dict(stream=None, missing='average')
        unknown = set(test_cfg or {}) - set(self.test_cfg)
        self.test_cfg.update(test_cfg or {})
        self.test_cfg['stream'] = self.test_cfg['stream'] or stream
        self._check(unknown)
        if frozen is True:
            frozen = ['backbone', *(['query_encoder'] if query_encoder else [])]
        self.freeze(frozen or ())

    def pool(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, D): the mean token, or the mean output of the queries."""
        if self.query_encoder is not None:
            tokens = self.query_encoder.encode_queries(tokens).hidden
        return tokens.mean(1)

    def features(
        self,
        stream: str,
        spectrogram: Tensor | None = None,
        frames: Tensor | None = None,
    ) -> Tensor:
        """Pooled feature of one stream.

        Args:
            stream: 'AV', 'A' or 'V'.
            spectrogram: (B, L, M) normalised log-mel.
            frames: (B * F, 3, H, W) normalised RGB.

        Returns:
            (B * F, D); (B, D) for 'A'.
        """
        return self.pool(self.backbone(spectrogram, frames, [stream])[stream])

    def features_of_one(
        self,
        stream: str,
        spectrogram: Tensor | None = None,
        frames: Tensor | None = None,
    ) -> Tensor:
        """Pooled feature of 'A' or 'V' as ``test_cfg`` wants it of an AV-trained model.

        Args and result as of :meth:`features`.
        """
        if self.stream != 'AV' or self.test_cfg['missing'] == 'own':
            return self.features(stream, spectrogram, frames)
        own, joint = self.backbone.encode_unimodal(stream, spectrogram, frames)
        return (self.pool(own) + self.pool(joint)) / 2

    def forward(
        self,
        inputs: dict[str, Tensor],
        data_samples: Any = None,
        mode: str = 'tensor',
    ):
        """Dispatch to :meth:`loss`, :meth:`predict` or :meth:`scores`."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return self.scores(inputs)
        raise ConfigError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")

    def loss(
        self, inputs: dict[str, Tensor], data_samples: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """Classification loss; clips that lack a modality of the stream don't count.

        Args:
            inputs: The preprocessor's output: ``spectrogram`` (B, L, M), ``frames`` (B,
                1, 3, H, W), ``has_audio``, ``has_visual`` (B,); after mixup
                ``mix_partner`` and ``mix_share`` (B,).
            data_samples: With ``gt_label`` or ``gt_score``.

        Returns:
            ``loss_cls``.
        """
        spectrogram, frames = self.backbone.training_inputs(inputs)
        target = self.head.targets(data_samples, self.head.fc.weight)
        return self.compute_losses(
            dict(inputs, spectrogram=spectrogram, frames=frames, target=target)
        )

    def compute_losses(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """What :meth:`loss` does on the device: one graph.

        Args:
            inputs: As :meth:`loss` takes them, with ``spectrogram``, ``frames`` (B, 3,
                H, W) and ``target`` (B, classes).
        """
        logits = self.head(
            self.features(self.stream, inputs['spectrogram'], inputs['frames'])
        )
        target = inputs['target']
        if 'mix_share' in inputs:
            share = inputs['mix_share'][:, None]
            target = share * target + (1 - share) * target[inputs['mix_partner']]
        valid = self._has(inputs)[self.stream]
        return dict(loss_cls=self.head.loss(logits, target, valid))

    def scores(self, inputs: dict[str, Tensor]) -> Tensor:
        """Probabilities (B, classes), averaged over the frames of a clip.

        Each clip is scored on the modalities of the test stream that it has.

        Raises:
            ConfigError: If a clip has none of them.
        """
        scores, streams = self._score(inputs)
        if None in streams:
            raise ConfigError(
                f'a clip has nothing to test stream {self.test_cfg["stream"]} on; '
                'leave it out of the manifest'
            )
        return scores

    def _score(self, inputs: dict[str, Tensor]) -> tuple[Tensor, list[str | None]]:
        """Probabilities, and the stream each comes from; None where there is none."""
        has = self._has(inputs)
        audio = has['A'] & (self.test_cfg['stream'] != 'V')
        visual = has['V'] & (self.test_cfg['stream'] != 'A')
        scores = self.head.fc.weight.new_zeros(len(audio), self.head.num_classes)
        streams: list[str | None] = [None] * len(audio)
        for stream, rows in dict(
            AV=audio & visual, A=audio & ~visual, V=visual & ~audio
        ).items():
            if rows.any():
                scores[rows] = self._score_rows(stream, rows, inputs)
            for row in rows.nonzero()[:, 0].tolist():
                streams[row] = stream
        return scores, streams

    def _score_rows(
        self, stream: str, rows: Tensor, inputs: dict[str, Tensor]
    ) -> Tensor:
        """Probabilities of the clips ``rows`` (B,) bool on one stream."""
        count = int(rows.sum())
        spectrogram = frames = None
        if 'audio' in MODALITIES[stream]:
            spectrogram = inputs['spectrogram'][rows]
        if 'visual' in MODALITIES[stream]:
            frames = inputs['frames'][rows].flatten(0, 1)
        feature = self.features if stream == 'AV' else self.features_of_one
        logits = self.head(feature(stream, spectrogram, frames))
        return self.head.probabilities(logits).unflatten(0, (count, -1)).mean(1)

    def predict(
        self, inputs: dict[str, Tensor], data_samples: list[BaseDataElement]
    ) -> list[BaseDataElement]:
        """The samples, with ``pred_score`` (classes,) and ``pred_stream`` added.

        A clip without a modality of the test stream gets neither.
        """
        scores, streams = self._score(inputs)
        for sample, score, stream in zip(data_samples, scores, streams, strict=True):
            if stream is not None:
                sample.set_data(dict(pred_score=score, pred_stream=stream))
        return data_samples

    @staticmethod
    def _has(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return available(inputs['has_audio'], inputs['has_visual'])

    def _check(self, unknown: set[str]) -> None:
        if unknown:
            raise ConfigError(
                f'CoAVTClassifier: unknown test_cfg {", ".join(sorted(unknown))}; '
                'known are stream and missing'
            )
        for name, stream in (
            ('stream', self.stream),
            ('test_cfg.stream', self.test_cfg['stream']),
        ):
            if stream not in STREAMS:
                raise ConfigError(
                    f"CoAVTClassifier: {name} must be 'AV', 'A' or 'V', got {stream!r}"
                )
        if self.test_cfg['missing'] not in MISSING:
            raise ConfigError(
                "CoAVTClassifier: test_cfg.missing must be 'average' or 'own', got "
                f'{self.test_cfg["missing"]!r}'
            )
        if self.stream != 'AV' and self.test_cfg['stream'] != self.stream:
            raise ConfigError(
                f'CoAVTClassifier: trained on {self.stream} alone, it can only be '
                f'tested on {self.stream}, not on {self.test_cfg["stream"]}'
            )
