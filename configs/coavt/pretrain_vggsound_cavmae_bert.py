"""Pre-train CoAVT on VGGSound from CAV-MAE's and BERT's weights.

    python tools/converters/cavmae.py audio_model.25.pth cavmae.pth
    python tools/converters/bert.py DIR bert.pth --vocab-size 30523
    python tools/converters/bert.py DIR queries.pth --target QueryEncoder
    python tools/train.py configs/coavt/pretrain_vggsound_cavmae_bert.py \
        --cfg-options tokenizer=DIR

DIR: bert-base-uncased as a local directory, whose word pieces are the tokenizer, too;
nothing is downloaded. Sound and picture begin with CAV-MAE's encoder, texts with BERT,
and the queries' layers with BERT's; queries and cross-attention begin at random. The
converted files may lie elsewhere: model.av_encoder.init_cfg.checkpoint=FILE, and so on.
Everything else is as in pretrain_vggsound.py.
"""

_base_ = './pretrain_vggsound.py'

model = dict(
    av_encoder=dict(init_cfg=dict(type='Converted', checkpoint='cavmae.pth')),
    text_encoder=dict(init_cfg=dict(type='Converted', checkpoint='bert.pth')),
    query_encoder=dict(init_cfg=dict(type='Converted', checkpoint='queries.pth')),
)
