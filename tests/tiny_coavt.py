"""A CoAVT of a few thousand parameters and batches for it."""

import torch
from mmengine.structures import BaseDataElement

from coavt_mm.models import CoAVT

VOCAB, DEC, SEP = 30, 5, 3
HEADS = dict(
    matching_head=dict(type='MatchingHead', negative_streams=('AV', 'A'), hardness=2.0),
    av_head=dict(type='AVContrastiveHead', weight=0.5),
)
#: The same where the similarity has a say in a match.
FUSED = dict(
    HEADS,
    matching_head=dict(
        HEADS['matching_head'], similarity_weight=5.0, similarity_offset=0.2
    ),
)
#: Of :func:`odd_batch`.
CASES = ['all', 'mixed', 'silent', 'about the picture', 'one']


def tiny_cfg(**overrides) -> dict:
    """A config of odd sizes: 3 x 2 audio tokens, 2 x 2 visual tokens, 3 queries."""
    cfg = dict(
        av_encoder=dict(
            type='JointAVEncoder',
            embed_dims=16,
            num_heads=2,
            depths=(1, 1, 1),
            spec_size=(48, 32),
            img_size=32,
        ),
        text_encoder=dict(
            type='TextEncoder',
            config=dict(
                vocab_size=VOCAB,
                hidden_size=12,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=16,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
        ),
        query_encoder=dict(
            type='QueryEncoder',
            num_queries=3,
            embed_dims=20,
            num_heads=2,
            depth=2,
            hidden_dims=24,
            context_dims=16,
            vocab_size=VOCAB,
            max_tokens=16,
            dropout=0.0,
        ),
        contrastive_head=dict(
            type='ContrastiveHead', embed_dims=20, text_dims=12, proj_dims=8
        ),
        matching_head=dict(type='MatchingHead', embed_dims=20),
        lm_head=dict(
            type='LanguageModelingHead',
            embed_dims=20,
            vocab_size=VOCAB,
            dec_token_id=DEC,
            end_token_id=SEP,
        ),
    )
    cfg.update(overrides)
    return cfg


def tiny_coavt(**overrides) -> CoAVT:
    torch.manual_seed(0)
    return CoAVT(**tiny_cfg(**overrides))


def tiny_batch(batch: int, num_frames: int = 1, seed: int = 0) -> dict:
    """What the preprocessor makes of ``batch`` clips with one caption each."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 8, (batch,), generator=g)
    mask = (torch.arange(8) < lengths[:, None]).long()
    ids = torch.randint(6, VOCAB, (batch, 8), generator=g) * mask
    ids[:, 0] = 2
    ids[torch.arange(batch), lengths - 1] = SEP
    return dict(
        spectrogram=torch.randn(batch, 48, 32, generator=g),
        frames=torch.randn(batch, num_frames, 3, 32, 32, generator=g),
        has_audio=torch.ones(batch, dtype=torch.bool),
        has_visual=torch.ones(batch, dtype=torch.bool),
        clip_key=torch.arange(batch) + 1000,
        input_ids=ids,
        attention_mask=mask,
        caption_clip=torch.arange(batch),
        caption_key=torch.arange(batch) + 2000,
        caption_streams=torch.ones(batch, 3, dtype=torch.bool),
    )


def odd_batch(case: str) -> dict:
    """Batches in which somebody lacks something."""
    batch = tiny_batch(5)
    if case == 'mixed':
        batch['has_audio'][1] = batch['has_visual'][2] = False
        batch['caption_streams'][3] = torch.tensor([False, True, False])
        batch['clip_key'][4] = batch['clip_key'][0]
    elif case == 'silent':
        batch['has_audio'][:] = False
        del batch['spectrogram']
    elif case == 'about the picture':
        batch['caption_streams'][:] = torch.tensor([False, False, True])
    elif case == 'one':
        batch = {name: x[:1] for name, x in batch.items()}
    return batch


def samples(batch: int) -> list[BaseDataElement]:
    return [BaseDataElement(metainfo=dict(sample_idx=i)) for i in range(batch)]


def of_one_sense(about):
    """A batch whose captions are about one modality each, 'A' or 'V'; one is silent."""
    batch = tiny_batch(len(about))
    tables = dict(A=[False, True, False], V=[False, False, True], AV=[True] * 3)
    batch['caption_streams'] = torch.tensor([tables[stream] for stream in about])
    batch['has_audio'][0] = False
    return batch


def described(batch, about):
    """What the loader says of the clips on the host."""
    return [
        BaseDataElement(
            metainfo=dict(
                has_audio=bool(heard),
                has_visual=bool(seen),
                audio_samples=16000,
                text_streams=[stream],
            )
        )
        for heard, seen, stream in zip(
            batch['has_audio'], batch['has_visual'], about, strict=True
        )
    ]
