# CoAVT in miniature, for the demo clips: all parts of coavt_base, 96-pixel pictures
# and 2.56 s of sound.
vocab_size = 200  # at least the number of word pieces in vocab.txt
spec_frames = 256  # 10 ms each
mel_bins = 64
img_size = 96  # pixels
width = 128  # of all encoders; heads take theirs from these

model = dict(
    type='CoAVT',
    data_preprocessor=dict(
        type='AVTDataPreprocessor',
        # -0.5 ... 0.5: flat colours must not drown the positions
        frame_mean=(127.5, 127.5, 127.5),
        frame_std=(255.0, 255.0, 255.0),
        spec_frames=spec_frames,
        logmel=dict(num_mel_bins=mel_bins),
        spec_mean=-6.4,  # of the demo clips; tools/data/audio_stats.py
        spec_std=4.5,
    ),
    av_encoder=dict(
        type='JointAVEncoder',
        embed_dims=width,
        num_heads=4,
        depths=(2, 2, 1),
        spec_size=(spec_frames, mel_bins),  # 16 x 4 = 64 tokens
        img_size=img_size,  # 6 x 6 = 36 tokens
    ),
    text_encoder=dict(
        type='TextEncoder',
        config=dict(
            vocab_size=vocab_size,
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=4 * width,
            max_position_embeddings=64,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        init='wide',  # no pre-trained text weights here
    ),
    query_encoder=dict(
        type='QueryEncoder',
        num_queries=8,
        embed_dims=width,
        num_heads=4,
        depth=3,
        hidden_dims=4 * width,
        cross_every=1,  # with so few layers, one in two is too few to compare
        vocab_size=vocab_size,
        max_tokens=64,
        dropout=0.0,
        init_std=width**-0.5,
    ),
    contrastive_head=dict(
        type='ContrastiveHead',
        proj_dims=64,
        streams=dict(AV=1.0, A=1.0, V=1.0),
    ),
    matching_head=dict(
        type='MatchingHead',
        streams=dict(AV=2.0, A=0.0, V=0.0),
        negative_streams=('AV', 'A', 'V'),  # or the picture alone tells every negative
    ),
    lm_head=dict(
        type='LanguageModelingHead',
        dec_token_id=5,
        end_token_id=3,
        streams=dict(AV=3.0, A=0.0, V=0.0),
    ),
    tokenizer='data/sounding_shapes/vocab.txt',
)
