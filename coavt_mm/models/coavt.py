"""CoAVT: correlated audio-visual-text pre-training (arXiv 2401.12264)."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from mmengine.structures import BaseDataElement
from tokenizers import Tokenizer
from torch import Tensor, nn

from coavt_mm.batches import mask_of
from coavt_mm.errors import ConfigError
from coavt_mm.models.base import (
    TrainedModel,
    check_losses,
    check_passes,
    checked_names,
)
from coavt_mm.models.generation import generate
from coavt_mm.models.heads import pool_tokens
from coavt_mm.models.layers import build_part, stated_size
from coavt_mm.models.losses import (
    LossHead,
    check_captions,
    counted_rows,
    in_steps,
    loss_inputs,
)
from coavt_mm.models.prediction import add_captions, add_texts, checked_test_cfg
from coavt_mm.models.query_encoder import KeyValue, QueryState
from coavt_mm.models.watched import watched
from coavt_mm.registry import MODELS, TOKENIZERS
from coavt_mm.streams import available

#: The heads that a config has arguments for, in the order in which they run.
HEADS = ('contrastive_head', 'matching_head', 'lm_head', 'av_head')


@MODELS.register_module()
class CoAVT(TrainedModel):
    """Joint audio-visual encoder, text encoder and query encoder with their losses.

    Every part may be given built or as a config. Letters: B clips, P captions,
    F frames a clip, L spectrogram frames, M mel bins, N tokens, Q queries, T text
    tokens, D width, E projected width.

    Args:
        query_encoder: The queries and the text branch.
        av_encoder: Spectrogram and frames to tokens.
        text_encoder: Text encoder of the contrastive loss. None lets the query
            encoder's text branch play it (BLIP-2's form). One with another tokenizer
            has attributes ``tokenizer``, its name, and ``reads``, the key of its ids in
            a batch, which a second TokenizeText makes.
        contrastive_head: Its loss; None switches it off, as of each head.
        matching_head: Likewise.
        lm_head: Likewise.
        av_head: Contrast of sound and picture without text.
        extra_heads: Name -> any further :class:`~.losses.LossHead`. The widths
            that a head leaves out are those of the encoders.
        tokenizer: Local directory, vocabulary file or hub id; only needed to turn
            generated tokens into words.
        test_cfg: What ``predict`` does beside features: ``keep_tokens`` (bool) keeps
            E_AV for matching; ``caption`` (dict of name -> arguments of
            :class:`~.generation.Decoding`) writes captions, e.g.
            ``dict(greedy=dict(), beam=dict(num_beams=3), drawn=dict(top_p=0.9))``.
        grad_cache: Clips that are computed at once in training; activations of the
            others are not kept, and those of a clip are computed twice. Losses and
            gradients are those of the whole batch. None keeps all.
        frozen: Modules that stay as loaded, without dropout: 'av_encoder', or patterns.
        data_preprocessor: Its config.
        init_cfg: mmengine's initialisation config.

    Raises:
        ConfigError: If the parts don't fit together.
    """

    def __init__(
        self,
        query_encoder: dict | nn.Module,
        av_encoder: dict | nn.Module | None = None,
        text_encoder: dict | nn.Module | None = None,
        contrastive_head: dict | nn.Module | None = None,
        matching_head: dict | nn.Module | None = None,
        lm_head: dict | nn.Module | None = None,
        av_head: dict | nn.Module | None = None,
        extra_heads: dict[str, dict | nn.Module | None] | None = None,
        tokenizer: str | None = None,
        test_cfg: dict | None = None,
        grad_cache: int | None = None,
        frozen: Sequence[str] = (),
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(build_part(data_preprocessor), init_cfg)
        self.query_encoder = build_part(
            query_encoder,
            'CoAVT: query_encoder',
            context_dims=stated_size(av_encoder, 'embed_dims'),
        )
        self.av_encoder = build_part(av_encoder)
        self.text_encoder = build_part(text_encoder)
        self.contrastive_head = self._build_head('contrastive_head', contrastive_head)
        self.matching_head = self._build_head('matching_head', matching_head)
        self.lm_head = self._build_head('lm_head', lm_head)
        self.av_head = self._build_head('av_head', av_head)
        self.extra_heads = nn.ModuleDict()
        for name, head in checked_names(extra_heads or {}, HEADS).items():
            if head is not None:
                self.extra_heads[name] = self._build_head(f'extra_heads.{name}', head)
        self.tokenizer_path = tokenizer
        self.test_cfg = checked_test_cfg(test_cfg)
        check_passes(self.av_encoder, self.av_head)
        if grad_cache is not None and grad_cache < 1:
            raise ConfigError(f'CoAVT: grad_cache is 1 clip or more, not {grad_cache}')
        self.grad_cache = grad_cache
        self.freeze(frozen)

    def _build_head(self, name: str, head: dict | nn.Module | None) -> Any:
        """Build a head, whose widths are those of the encoders unless it says them."""
        queries = self.query_encoder
        head = build_part(
            head,
            f'CoAVT: {name}',
            embed_dims=queries.embed_dims,
            text_dims=getattr(self.text_encoder, 'embed_dims', queries.embed_dims),
            vocab_size=getattr(queries, 'vocab_size', None),
        )
        if head is None or isinstance(head, LossHead):
            return head
        raise ConfigError(
            f'CoAVT: {name} is a {type(head).__name__}, which is no LossHead; a loss '
            'derives from coavt_mm.models.LossHead'
        )

    # ------------------------------------------------------------------ verbs
    def encode_audio(self, spectrogram: Tensor) -> Tensor:
        """(B, L, M) normalised log-mel -> E_A (B, N_a, D)."""
        return self.av_encoder.encode_audio(spectrogram)

    def encode_visual(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB -> E_V (B, N_v, D)."""
        return self.av_encoder.encode_visual(frames)

    def encode_av(self, spectrogram: Tensor, frames: Tensor) -> Tensor:
        """(B, L, M) and (B, 3, H, W) -> E_AV (B, N_a + N_v, D)."""
        return self.av_encoder.encode_av(spectrogram, frames)

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(P, T) and (P, T) -> text states (P, T, D); [CLS] is the first."""
        encoder = self.text_encoder or self.query_encoder.encode_text
        return encoder(input_ids, attention_mask)

    @property
    def text_ids(self) -> str:
        """The key of the ids that texts are encoded from; their mask goes with it."""
        return getattr(self.text_encoder, 'reads', 'input_ids')

    def text_of(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Ids and mask, both (P, T), that the text encoder reads of a batch.

        Raises:
            ConfigError: The batch has no such ids.
        """
        key = self.text_ids
        if key not in inputs:
            raise ConfigError(
                f'the text_encoder reads {key}, which the batch lacks: add '
                f'dict(type="TokenizeText", key="{key}", ...) to the pipeline'
            )
        return inputs[key], inputs[mask_of(key)]

    @property
    def text_tokenizer(self) -> str | None:
        """Name of the tokenizer that makes these ids."""
        return getattr(self.text_encoder, 'tokenizer', self.tokenizer_path)

    def embed_texts(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(P, T) and (P, T) -> the features (P, E) that texts are compared by.

        Raises:
            ConfigError: The model has no contrastive head.
        """
        if self.contrastive_head is None:
            raise ConfigError('this CoAVT has no contrastive_head to embed texts with')
        states = self.encode_text(input_ids, attention_mask)
        return self.contrastive_head.project_text(states)

    def query(self, tokens: Tensor) -> QueryState:
        """Let the queries read the tokens (B, N, D) of any stream."""
        return self.query_encoder.encode_queries(tokens)

    def match(
        self, tokens: Tensor, input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """Matching logits of pairs, the head's alone; see
        ``MatchingHead.with_similarity``.

        Args:
            tokens: (P, N, D) audio-visual tokens.
            input_ids: (P, T).
            attention_mask: (P, T).

        Returns:
            (P, 2); column 1 is 'they match'.
        """
        return self.match_context(
            self.project_context(tokens), input_ids, attention_mask
        )

    def project_context(self, tokens: Tensor) -> list[KeyValue | None]:
        """(P, N, D) tokens -> their keys and values, for :meth:`match_context`."""
        return self.query_encoder.project_context(tokens)

    def match_context(
        self,
        context: list[KeyValue | None],
        input_ids: Tensor,
        attention_mask: Tensor,
    ) -> Tensor:
        """What :meth:`match` gives, for a clip whose keys and values are there."""
        if self.matching_head is None:
            raise ConfigError('this model has no matching_head to match with')
        pair = self.query_encoder.encode_pair(context, input_ids, attention_mask)
        return self.matching_head(pair)

    # --------------------------------------------------------------- dispatch
    def forward(
        self,
        inputs: dict[str, Tensor],
        data_samples: Any = None,
        mode: str = 'tensor',
    ):
        """Dispatch to :meth:`loss`, :meth:`predict` or :meth:`extract`."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return self.extract(inputs)
        raise ConfigError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")

    # ------------------------------------------------------------------- loss
    def loss(
        self, inputs: dict[str, Tensor], data_samples: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """Compute the losses of all heads on clips with one caption each.

        Args:
            inputs: The preprocessor's output: ``spectrogram`` (B, L, M), ``frames``
                (B, 1, 3, H, W), ``has_audio``, ``has_visual`` (B,), ``input_ids``,
                ``attention_mask`` (B, T), ``clip_key``, ``caption_key`` (B,),
                ``caption_streams`` (B, 3).
            data_samples: Say which clips may be left out, where many don't count.

        Returns:
            ``loss_contrastive_*``, ``loss_matching_*``, ``loss_lm_*`` for each stream
            in use, ``loss_audio_visual`` with an ``av_head``, those of ``extra_heads``,
            and values to watch, such as ``negatives``: the share of clips with another
            one to be told from.

        Raises:
            ConfigError: If the batch isn't one to train on.
        """
        check_captions(inputs)
        spectrogram, frames = self.av_encoder.training_inputs(inputs)
        inputs = dict(inputs, spectrogram=spectrogram, frames=frames[:, None])
        rows = {}
        if not self.compiled:  # a graph takes all clips, so that batches are alike
            rows = counted_rows(self, data_samples, inputs['clip_key'].device)
        return self.compute_losses(in_steps(self, inputs), rows)

    def compute_losses(
        self, inputs: dict[str, Tensor], rows: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """What :meth:`loss` does on the device, without waiting for it: one graph.

        Args:
            inputs: As :meth:`loss` takes them, with ``spectrogram`` and ``frames``.
            rows: Stream -> the clips that are read; all where it is left out.
        """
        batch = loss_inputs(self, inputs, rows)
        losses: dict[str, Tensor] = {}
        for name, head in self.heads.items():
            found = head.losses(batch)
            check_losses(name, found, [*losses, 'negatives'], bool(head.streams))
            losses.update(found)
        telling = [head for head in self.heads.values() if head.needs_negatives]
        if streams := dict.fromkeys(s for head in telling for s in head.streams):
            losses['negatives'] = batch.share_with_negatives([*streams])
        self.watched = watched(batch)
        return losses

    @property
    def heads(self) -> dict[str, LossHead]:
        """All heads of the model by name, in the order in which their losses come."""
        named = {name: getattr(self, name) for name in HEADS}
        named.update(self.extra_heads.items())
        return {name: head for name, head in named.items() if head is not None}

    # ---------------------------------------------------------------- predict
    def extract(self, inputs: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Tokens and query features of every stream that the batch has.

        Args:
            inputs: The preprocessor's output; frames (B, F, 3, H, W).

        Returns:
            ``tokens`` and, with a contrastive head, ``clip_feats``: stream -> (B, F, N,
            D) and (B, F, Q, E). F is 1 for stream A.
        """
        frames = inputs.get('frames')
        if frames is not None:
            frames = frames.flatten(0, 1)
        tokens = self.av_encoder(inputs.get('spectrogram'), frames)
        by_clip = (len(inputs['has_audio']), -1)
        out = {'tokens': {s: x.unflatten(0, by_clip) for s, x in tokens.items()}}
        if self.contrastive_head is not None:
            project = self.contrastive_head.project_queries
            out['clip_feats'] = {
                s: project(self.query(x).hidden).unflatten(0, by_clip)
                for s, x in tokens.items()
            }
        return out

    def predict(
        self, inputs: dict[str, Tensor], data_samples: list[BaseDataElement]
    ) -> list[BaseDataElement]:
        """Features of clips and captions, and captions if ``test_cfg`` asks.

        Args:
            inputs: The preprocessor's output; each clip may have any number of
                captions, 0 included.
            data_samples: One a clip.

        Returns:
            The samples, with ``clip_feats`` (stream -> (F, Q, E)), ``token_feats``
            (stream -> (F, D), the mean token), ``caption_feats`` (C, E),
            ``caption_ids`` (C tensors), and on demand ``tokens`` (F, N_av, D) and
            ``pred_caption`` (name -> str).
        """
        extracted = self.extract(inputs)
        has = available(inputs['has_audio'], inputs['has_visual'])
        pooled = {s: pool_tokens(x) for s, x in extracted['tokens'].items()}
        for i, sample in enumerate(data_samples):
            feats = extracted.get('clip_feats', {})
            sample.set_data(
                {
                    'clip_feats': {s: f[i] for s, f in feats.items() if has[s][i]},
                    'token_feats': {s: f[i] for s, f in pooled.items() if has[s][i]},
                }
            )
            if self.test_cfg['keep_tokens'] and has['AV'][i]:
                sample.set_data({'tokens': extracted['tokens']['AV'][i]})
        add_texts(self, inputs, data_samples)
        if self.test_cfg['caption'] and 'AV' in extracted['tokens']:
            add_captions(
                self,
                extracted['tokens']['AV'],
                has['AV'],
                inputs['clip_key'],
                data_samples,
            )
        return data_samples

    def generate(
        self, tokens: Tensor, clip_keys: list[int] | None = None, **options
    ) -> list[str]:
        """Write a caption for each clip.

        Args:
            tokens: (B, N, D) audio-visual tokens.
            clip_keys: See :func:`coavt_mm.models.generation.generate`.
            options: Arguments of :class:`coavt_mm.models.generation.Decoding`.

        Returns:
            B captions.
        """
        if self.lm_head is None:
            raise ConfigError('this model has no lm_head to write captions with')
        state = self.query(tokens)
        ids = generate(self.query_encoder, self.lm_head, state, clip_keys, **options)
        return self.tokenizer.decode_batch(ids)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Rules and word pieces, read when captions are first written."""
        if self.tokenizer_path is None:
            raise ConfigError(
                'writing captions needs `tokenizer` in the model config: a local '
                'directory, a vocabulary file or a hub id'
            )
        part = dict(type='WordPieceRules', name_or_path=self.tokenizer_path)
        tokenizer = TOKENIZERS.build(part)
        self.lm_head.check_ids(tokenizer, self.tokenizer_path)
        return tokenizer
