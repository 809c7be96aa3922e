"""Ablations: the demo in 200 iterations without stages, and a table of what is changed.

    python tools/analysis/ablate.py --only full no_at --seeds 0
    python tools/train.py configs/coavt/ablations.py \
        --cfg-options model.contrastive_head.streams.A=0

The options of a variant are those of the table below. At the paper's size:

    python tools/train.py configs/coavt/pretrain_vggsound.py \
        --cfg-options model.contrastive_head.streams.A=0 find_unused_parameters=True

All losses from the start, so that the runs differ in nothing but what their names say;
the demo itself begins with A-T and V-T alone, which is nothing where both are off.
"""

_base_ = './pretrain_demo.py'

max_iters = 200
batch_size = 32

model = dict(  # as coavt_demo has it, with a temperature that is learned
    contrastive_head=dict(temperature=0.07),
    matching_head=dict(
        streams=dict(AV=2.0), similarity_weight=1.0, similarity_offset=None
    ),
    lm_head=dict(streams=dict(AV=3.0)),
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(temperature=dict(lr_mult=1.0)))
)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=False,
        begin=0,
        end=_base_.warmup_iters,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=False,
        begin=_base_.warmup_iters,
        end=max_iters,
    ),
]
hardness = [
    (80 * batch_size / 3000, 0.1),  # epochs, value
    (160 * batch_size / 3000, 1.0),
]
train_dataloader = dict(
    batch_size=batch_size, sampler=dict(curriculum=[dict(hardness=hardness)])
)
auto_scale_lr = dict(base_batch_size=batch_size)
# measured by the test that follows
train_cfg = dict(max_iters=max_iters)
val_cfg = None
val_dataloader = None
val_evaluator = None
default_hooks = dict(checkpoint=dict(interval=max_iters))

# name -> what changes, and the options that change it
variants = dict(
    full=dict(what='-', options=[]),
    av_contrast=dict(
        what='with a contrast of sound and picture (A-V) besides text.',
        options=['model.av_head.type=AVContrastiveHead', 'model.av_head.weight=1.0'],
    ),
    av_only=dict(
        what='without A-T and V-T: the AV-T foundation alone.',
        options=[
            'model.contrastive_head.streams.A=0',
            'model.contrastive_head.streams.V=0',
        ],
    ),
    no_at=dict(
        what='without the audio-text alignment (A-T).',
        options=['model.contrastive_head.streams.A=0'],
    ),
    no_contrastive=dict(
        what='without the contrastive loss (cosine untrained).',
        options=[
            'model.contrastive_head.streams.AV=0',
            'model.contrastive_head.streams.A=0',
            'model.contrastive_head.streams.V=0',
            # validation sees nothing but the untrained cosine
            'default_hooks.checkpoint.save_best=None',
        ],
    ),
    no_lm=dict(
        what='without the language-modelling loss.',
        options=['model.lm_head.streams.AV=0'],
    ),
    no_matching=dict(
        what='without the matching loss.',
        options=['model.matching_head.streams.AV=0'],
    ),
    no_vt=dict(
        what='without the visual-text alignment (V-T).',
        options=['model.contrastive_head.streams.V=0'],
    ),
    one_pass=dict(
        what='E_A and E_V cut out of one joint pass.',
        options=['model.av_encoder.type=OnePassAVEncoder'],
    ),
    queries_1=dict(
        what='1 query instead of 8.', options=['model.query_encoder.num_queries=1']
    ),
    queries_2=dict(
        what='2 queries instead of 8.', options=['model.query_encoder.num_queries=2']
    ),
    queries_32=dict(
        what='32 queries instead of 8.', options=['model.query_encoder.num_queries=32']
    ),
    shared_text=dict(
        what='text read by the query encoder alone.',
        options=['model.text_encoder=None'],
    ),
)
