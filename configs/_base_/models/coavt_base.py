# CoAVT at the paper's size: 11 + 11 + 1 layers of width 768 (CAV-MAE's encoder),
# BERT-base text encoder, 32 queries in a BERT-base query encoder (BLIP-2).
vocab_size = 30522 + 1  # BERT's word pieces and [DEC]
spec_frames = 1024  # 10 ms each, 10.24 s
mel_bins = 128
img_size = 224  # pixels
width = 768  # of the encoder and the queries; heads take theirs from these

model = dict(
    type='CoAVT',
    data_preprocessor=dict(
        type='AVTDataPreprocessor',
        spec_frames=spec_frames,
        logmel=dict(num_mel_bins=mel_bins),
        spec_mean=-5.081,  # of VGGSound and AudioSet; tools/data/audio_stats.py
        spec_std=4.4849,
    ),
    av_encoder=dict(
        type='JointAVEncoder',
        embed_dims=width,
        num_heads=12,
        depths=(11, 11, 1),  # audio, visual, joint layers
        spec_size=(spec_frames, mel_bins),  # 64 x 8 = 512 tokens
        img_size=img_size,  # 14 x 14 = 196 tokens
    ),
    text_encoder=dict(
        type='TextEncoder',
        # random BERT-base; or pretrained='bert-base-uncased', vocab_size=vocab_size
        config=dict(vocab_size=vocab_size),
    ),
    query_encoder=dict(
        type='QueryEncoder',
        num_queries=32,
        embed_dims=width,
        num_heads=12,
        depth=12,
        hidden_dims=3072,
        cross_every=2,
        vocab_size=vocab_size,
    ),
    # the weight of each alignment; 0 switches one off
    contrastive_head=dict(
        type='ContrastiveHead', proj_dims=256, streams=dict(AV=1.0, A=1.0, V=1.0)
    ),
    matching_head=dict(type='MatchingHead', streams=dict(AV=1.0, A=0.0, V=0.0)),
    lm_head=dict(
        type='LanguageModelingHead',
        dec_token_id=vocab_size - 1,
        end_token_id=102,  # [SEP]
        streams=dict(AV=1.0, A=0.0, V=0.0),
    ),
    tokenizer='bert-base-uncased',  # hub id, local directory or vocab.txt
)
