"""Pre-train CoAVT in miniature on the demo clips: minutes on two CPU cores.

    python tools/data/make_sounding_shapes.py data/sounding_shapes
    python tools/train.py configs/coavt/pretrain_demo.py

3,000 clips of 2.56 s, 2.8 million parameters, batch 32, less than 6 GB of memory.
"""

_base_ = [
    '../_base_/models/coavt_demo.py',
    '../_base_/datasets/sounding_shapes.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

max_iters = 1350
warmup_iters = 20
# From random weights the senses come first, with captions of the picture alone and then
# of one or the other: in sentences about both, the shape was not learned in 1,000
# iterations.
stages = [
    dict(epochs=4, fields=dict(visual_captions=1.0)),
    dict(epochs=5, fields=dict(audio_captions=0.6, visual_captions=0.4)),
]
first_epochs = 9
first_iters = 844  # of 32 clips, nine times 3,000

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor={{_base_.optim_wrapper.constructor}},
    optimizer=dict(type='AdamW', lr=7e-4, betas=(0.9, 0.98), weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg={{_base_.optim_wrapper.paramwise_cfg}},
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup_iters),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(stages=stages)
# later batches hold clips that differ in little: what is rare to be told apart in a
# mixed one (shape, contour, count) then decides
train_dataloader = dict(
    sampler=dict(alike=8, alike_from=first_epochs + 2),
    dataset=dict(pipeline=train_pipeline),
)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
every_hook = _base_.custom_hooks  # what a recipe that starts from here keeps
custom_hooks = [
    *every_hook,
    dict(type='SensesFirstHook', until=first_iters, matching_weight=1.0, lm_weight=2.0),
    # the hardest negatives teach nothing before clips are told apart at all
    dict(
        type='HardnessRampHook',
        start=0.1,
        stop=2.0,
        begin=first_iters + 50,
        end=first_iters + 250,
    ),
]
find_unused_parameters = True  # the joint stream's norms at first
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=max_iters // 2),
)
log_processor = dict(window_size=10)
