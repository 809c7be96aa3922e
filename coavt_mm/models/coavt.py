"""CoAVT: correlated audio-visual-text pre-training (arXiv 2401.12264)."""

from functools import cached_property

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from coavt_mm.errors import ConfigError
from coavt_mm.models.checks import check_parts
from coavt_mm.models.generation import check_decoding, generate
from coavt_mm.models.heads import Similarity, pool_tokens
from coavt_mm.models.layers import build_part, gather_with_grad
from coavt_mm.models.pairs import matching_pairs
from coavt_mm.models.query_encoder import KeyValue, QueryState
from coavt_mm.registry import MODELS
from coavt_mm.streams import STREAMS, available


@MODELS.register_module()
class CoAVT(BaseModel):
    """Joint audio-visual encoder, text encoder and query encoder with their losses.

    Every part may be given built or as a config. Letters: B clips, P captions,
    F frames a clip, L spectrogram frames, M mel bins, N tokens, Q queries, T text
    tokens, D width, E projected width.

    Args:
        query_encoder (dict | nn.Module): The queries and the text branch.
        av_encoder (dict | nn.Module, optional): Spectrogram and frames to tokens.
        text_encoder (dict | nn.Module, optional): Text encoder of the contrastive
            loss. None lets the query encoder's text branch play it (BLIP-2's form).
        contrastive_head (dict | nn.Module, optional): None switches the loss off.
        matching_head (dict | nn.Module, optional): None switches the loss off.
        lm_head (dict | nn.Module, optional): None switches the loss off.
        av_head (dict | nn.Module, optional): Contrast of sound and picture without
            text. Defaults to None, off.
        tokenizer (str, optional): Local directory, vocabulary file or hub id; only
            needed to turn generated tokens into words.
        test_cfg (dict, optional): What ``predict`` does beside features:
            ``keep_tokens`` (bool) keeps E_AV for matching; ``caption`` (dict of
            name -> arguments of :class:`~.generation.Decoding`) writes captions, e.g.
            ``dict(greedy=dict(), beam=dict(num_beams=3), drawn=dict(top_p=0.9))``.
        data_preprocessor (dict | nn.Module, optional): Its config.
        init_cfg (dict, optional): mmengine's initialisation config.
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
        tokenizer: str | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(build_part(data_preprocessor), init_cfg)
        self.query_encoder = build_part(query_encoder)
        self.av_encoder = build_part(av_encoder)
        self.text_encoder = build_part(text_encoder)
        self.contrastive_head = build_part(contrastive_head)
        self.matching_head = build_part(matching_head)
        self.lm_head = build_part(lm_head)
        self.av_head = build_part(av_head)
        self.tokenizer_path = tokenizer
        self.test_cfg = _checked_test_cfg(test_cfg)
        check_parts(self)

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
        """Matching logits of pairs.

        Args:
            tokens (Tensor): (P, N, D) audio-visual tokens.
            input_ids (Tensor): (P, T).
            attention_mask (Tensor): (P, T).

        Returns:
            Tensor: (P, 2); column 1 is 'they match'.
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
        data_samples: list[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ):
        """Dispatch to :meth:`loss`, :meth:`predict` or :meth:`extract`."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return self.extract(inputs)
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")

    # ------------------------------------------------------------------- loss
    def loss(
        self, inputs: dict[str, Tensor], data_samples: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """All losses of a batch in which each clip has one caption.

        Args:
            inputs (dict): The preprocessor's output: ``spectrogram`` (B, L, M),
                ``frames`` (B, 1, 3, H, W), ``has_audio``, ``has_visual`` (B,),
                ``input_ids``, ``attention_mask`` (B, T), ``clip_key``,
                ``caption_key`` (B,), ``caption_streams`` (B, 3).
            data_samples (list[BaseDataElement]): Not used by the losses.

        Returns:
            dict[str, Tensor]: ``loss_contrastive_*``, ``loss_matching_*``,
            ``loss_lm_*`` for each stream in use, ``loss_audio_visual`` with an
            ``av_head``, and values to watch, such as ``negatives``: the share of clips
            with another one to be told from.
        """
        if 'mix_share' in inputs:
            raise ConfigError('augment.mixup is for classification, CoAVT trains on '
                              'captions; set it to 0')  # fmt: skip
        ids, mask = inputs['input_ids'], inputs['attention_mask']
        if len(ids) != len(inputs['has_audio']):
            raise ValueError(
                f'training takes one caption a clip, got {len(ids)} captions for '
                f'{len(inputs["has_audio"])} clips; use PickCaption in the pipeline'
            )
        text_streams, av_streams = self._text_streams(), _weights(self.av_head)
        valid = self._valid(inputs)
        # a sense that no other stream needs is encoded where a caption is about it
        lone = {} if 'AV' in text_streams or av_streams else valid
        tokens = self._encode_streams(inputs, {*text_streams, *av_streams}, lone)
        states = {s: self.query(tokens[s]) for s in text_streams}
        same, similarity, losses = self._same(inputs), {}, {}
        if self.contrastive_head is not None:
            losses, similarity = self._contrastive(states, ids, mask, same, valid)
        for stream, weight in _weights(self.matching_head).items():
            loss, accuracy = self._matching(
                tokens[stream],
                states[stream],
                (ids, mask),
                self.matching_head.mining(stream, similarity),
                same,
                valid[stream],
            )
            losses[f'loss_matching_{stream}'] = weight * loss
            losses[f'matching_acc_{stream}'] = accuracy
        for stream, weight in _weights(self.lm_head).items():
            loss = self._language(states[stream], ids, mask, valid[stream])
            losses[f'loss_lm_{stream}'] = weight * loss
        if av_streams:
            losses['loss_audio_visual'] = self._audio_visual(tokens, inputs)
        compared = {**_weights(self.contrastive_head), **_weights(self.matching_head)}
        if compared:
            losses['negatives'] = _with_negatives(same, [valid[s] for s in compared])
        return losses

    def _contrastive(
        self,
        states: dict[str, QueryState],
        ids: Tensor,
        mask: Tensor,
        same: Tensor,
        valid: dict[str, Tensor],
    ) -> tuple[dict[str, Tensor], dict[str, Similarity]]:
        """Losses by name, and the similarities that the matching loss draws from."""
        head = self.contrastive_head
        text_feats = head.project_text(self.encode_text(ids, mask))
        all_text_feats = gather_with_grad(text_feats)
        losses, similarity = {}, {}
        for stream, weight in head.streams.items():
            feats = head.project_queries(states[stream].hidden)
            similarity[stream] = head.similarity(
                feats, text_feats, gather_with_grad(feats), all_text_feats
            )
            loss = head.loss(
                similarity[stream],
                same,
                valid[stream],
                gather_with_grad(valid[stream]),
            )
            losses[f'loss_contrastive_{stream}'] = weight * loss
        losses['temperature'] = head.temperature.detach().clone()
        return losses, similarity

    def _matching(
        self,
        tokens: Tensor,
        state: QueryState,
        text: tuple[Tensor, Tensor],
        mining: Similarity | None,
        same: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Loss and accuracy on the right pairs and on hard wrong ones."""
        head = self.matching_head
        pairs = matching_pairs(
            self.query_encoder, tokens, state, text, mining, same, valid
        )
        hidden = self.query_encoder.encode_pair(
            pairs.context, pairs.input_ids, pairs.attention_mask
        )
        everyone = torch.ones_like(pairs.labels, dtype=torch.bool)
        return head.loss(head(hidden), pairs.labels, everyone)

    def _language(
        self, state: QueryState, ids: Tensor, mask: Tensor, valid: Tensor
    ) -> Tensor:
        """The caption from the queries, whose keys and values are reused."""
        ids, mask = ids[valid], mask[valid]
        past = [tuple(part[valid] for part in kv) for kv in state.self_kv]
        hidden, _ = self.query_encoder.decode_text(self.lm_head.start(ids), mask, past)
        logits = self.lm_head(hidden, self.query_encoder.word_embeddings.weight)
        return self.lm_head.loss(logits, ids, mask, valid[valid])

    def _audio_visual(
        self, tokens: dict[str, Tensor], inputs: dict[str, Tensor]
    ) -> Tensor:
        """Sound against picture, whatever the text; only a clip itself is right."""
        head, key = self.av_head, inputs['clip_key']
        feats = [pool_tokens(tokens[s]) for s in ('A', 'V')]
        valid = inputs['has_audio'] & inputs['has_visual']
        return head.weight * head.loss(
            head.similarity(*feats, *map(gather_with_grad, feats)),
            key[:, None] == gather_with_grad(key)[None],
            valid,
            gather_with_grad(valid),
        )

    def _text_streams(self) -> list[str]:
        heads = (self.contrastive_head, self.matching_head, self.lm_head)
        wanted = {stream for head in heads for stream in _weights(head)}
        return [s for s in STREAMS if s in wanted]

    def _encode_streams(
        self, inputs: dict[str, Tensor], streams: set[str], rows: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Tokens of the streams; a modality that nobody in the batch has is filled.

        All ranks must run the same gathers, also the rank whose batch happens to
        have no sound; its rows are masked out by has_audio and has_visual. ``rows``,
        stream -> (B,) bool, says which clips are encoded, the others' tokens being
        zero; all, if it is empty.
        """
        encoder, batch = self.av_encoder, len(inputs['has_audio'])
        spectrogram, frames = inputs.get('spectrogram'), inputs.get('frames')
        like = self.query_encoder.query_tokens
        if spectrogram is None:
            spectrogram = like.new_zeros(batch, *encoder.spec_size)
        if frames is None:
            side = encoder.img_size
            frames = like.new_zeros(batch, 1, 3, side, side)
        if frames.shape[1] != 1:
            raise ValueError(
                f'training takes one frame a clip, got {frames.shape[1]}; set '
                "pick='random' in LoadFrames"
            )
        wanted = [s for s in STREAMS if s in streams]
        if not rows or encoder.one_pass:
            return encoder(spectrogram, frames[:, 0], wanted)
        encode = {
            'A': lambda at: encoder.encode_audio(spectrogram[at]),
            'V': lambda at: encoder.encode_visual(frames[at, 0]),
        }
        return {s: _scattered(encode[s](rows[s]), rows[s]) for s in wanted}

    @staticmethod
    def _valid(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Which samples take part in each stream: modality there, text about it."""
        there = available(inputs['has_audio'], inputs['has_visual'])
        about = inputs['caption_streams']
        return {s: there[s] & about[:, i] for i, s in enumerate(STREAMS)}

    @staticmethod
    def _same(inputs: dict[str, Tensor]) -> Tensor:
        """(B, G) bool: the same clip, or the same caption."""
        keys = torch.stack([inputs['clip_key'], inputs['caption_key']], 1)
        return (keys[:, None] == gather_with_grad(keys)[None]).any(-1)

    # ---------------------------------------------------------------- predict
    def extract(self, inputs: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Tokens and query features of every stream that the batch has.

        Args:
            inputs (dict): The preprocessor's output; frames (B, F, 3, H, W).

        Returns:
            dict: ``tokens`` and, with a contrastive head, ``clip_feats``: stream ->
            (B, F, N, D) and (B, F, Q, E). F is 1 for stream A.
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
            inputs (dict): The preprocessor's output; each clip may have any number
                of captions, 0 included.
            data_samples (list[BaseDataElement]): One a clip.

        Returns:
            list[BaseDataElement]: The samples, with ``clip_feats`` (stream ->
            (F, Q, E)), ``token_feats`` (stream -> (F, D), the mean token),
            ``caption_feats`` (C, E), ``caption_ids`` (C tensors), and
            on demand ``tokens`` (F, N_av, D) and ``pred_caption`` (name -> str).
        """
        extracted = self.extract(inputs)
        has = {'A': inputs['has_audio'], 'V': inputs['has_visual']}
        has['AV'] = has['A'] & has['V']
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
        self._predict_text(inputs, data_samples)
        if self.test_cfg['caption']:
            self._predict_captions(
                extracted['tokens'], has['AV'], inputs['clip_key'], data_samples
            )
        return data_samples

    def _predict_text(
        self, inputs: dict[str, Tensor], data_samples: list[BaseDataElement]
    ) -> None:
        if self.contrastive_head is None or 'input_ids' not in inputs:
            return
        ids, mask = inputs['input_ids'], inputs['attention_mask']
        feats = self.embed_texts(ids, mask)
        for i, sample in enumerate(data_samples):
            own = (inputs['caption_clip'] == i).nonzero()[:, 0]
            sample.set_data(
                {
                    'caption_feats': feats[own],
                    'caption_ids': [ids[k][mask[k].bool()] for k in own],
                }
            )

    def _predict_captions(
        self,
        tokens: dict[str, Tensor],
        has_av: Tensor,
        clip_keys: Tensor,
        data_samples: list[BaseDataElement],
    ) -> None:
        """Captions of the clips that have both modalities, from their middle frame."""
        rows = has_av.nonzero()[:, 0]
        if not len(rows):
            return
        keys = clip_keys[rows].tolist()
        av_tokens = tokens['AV'][rows, tokens['AV'].shape[1] // 2]
        texts = {
            name: self.generate(av_tokens, keys, **options)
            for name, options in self.test_cfg['caption'].items()
        }
        for k, row in enumerate(rows.tolist()):
            data_samples[row].set_data(
                {'pred_caption': {name: text[k] for name, text in texts.items()}}
            )

    def generate(
        self, tokens: Tensor, clip_keys: list[int] | None = None, **options
    ) -> list[str]:
        """Write a caption for each clip.

        Args:
            tokens (Tensor): (B, N, D) audio-visual tokens.
            clip_keys (list[int], optional): See
                :func:`coavt_mm.models.generation.generate`.
            options: Arguments of :class:`coavt_mm.models.generation.Decoding`.

        Returns:
            list[str]: B captions.
        """
        if self.lm_head is None:
            raise ConfigError('this model has no lm_head to write captions with')
        state = self.query(tokens)
        ids = generate(self.query_encoder, self.lm_head, state, clip_keys, **options)
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)

    @cached_property
    def tokenizer(self):
        """The tokenizer, built when captions are first written."""
        from coavt_mm.datasets.tokenizer import build_tokenizer

        if self.tokenizer_path is None:
            raise ConfigError(
                'writing captions needs `tokenizer` in the model config: a local '
                'directory, a vocabulary file or a hub id'
            )
        tokenizer = build_tokenizer(self.tokenizer_path)
        ids = {'dec_token_id': '[DEC]', 'end_token_id': '[SEP]'}
        for name, piece in ids.items():
            here, there = (
                getattr(self.lm_head, name),
                tokenizer.convert_tokens_to_ids(piece),
            )
            if here != there:
                raise ConfigError(
                    f'lm_head.{name} is {here}, but {piece} has id {there} in the '
                    f'tokenizer {self.tokenizer_path}'
                )
        return tokenizer


def _weights(head: nn.Module | None) -> dict[str, float]:
    return {} if head is None else head.streams


def _with_negatives(same: Tensor, streams: list[Tensor]) -> Tensor:
    """Share of all ranks' clips, (B,) bool a stream, that have a negative in one."""
    found = [valid & (~same & gather_with_grad(valid)).any(1) for valid in streams]
    counts = torch.stack([torch.stack(of).any(0).sum() for of in (found, streams)])
    all_reduce(counts)
    return counts[0] / counts[1].clamp_min(1)


def _scattered(some: Tensor, rows: Tensor) -> Tensor:
    """(R, ...) back at the R rows of a (B,) bool, zeros elsewhere: (B, ...)."""
    return some.new_zeros(len(rows), *some.shape[1:]).index_put((rows,), some)


def _checked_test_cfg(test_cfg: dict | None) -> dict:
    cfg = {'keep_tokens': False, 'caption': {}, **(test_cfg or {})}
    unknown = set(cfg) - {'keep_tokens', 'caption'}
    if unknown:
        raise ConfigError(
            f"CoAVT.test_cfg: unknown {sorted(unknown)}, expected 'keep_tokens', "
            "'caption'"
        )
    for name, options in cfg['caption'].items():
        check_decoding(name, options)
    return cfg
