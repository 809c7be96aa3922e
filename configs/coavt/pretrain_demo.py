"""Pre-train CoAVT in miniature on the demo clips: minutes on two CPU cores.

    python tools/data/make_sounding_shapes.py data/sounding_shapes
    python tools/train.py configs/coavt/pretrain_demo.py

2,000 clips of 2.56 s, 3.5 million parameters, batch 64, less than 6 GB of memory.
"""

_base_ = [
    '../_base_/models/coavt_demo.py',
    '../_base_/datasets/sounding_shapes.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

max_iters = 500
warmup_iters = 20

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05),
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
train_cfg = dict(max_iters=max_iters, val_interval=250)
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=250),
)
log_processor = dict(window_size=10)
