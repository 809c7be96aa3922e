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
# From random weights each modality is learned first, from captions of the picture alone
# and then of one or the other: from sentences about both, the shape was not learned in
# 1,000 iterations. Epochs are of the data, for any batch size and number of processes.
one_modality = dict(streams=('A', 'V'), weights=dict(matching_head=1.0, lm_head=2.0))
curriculum = [
    # the hardest negatives teach nothing before clips are told apart at all
    dict(epochs=4, captions=dict(visual_captions=1.0), hardness=0.1, **one_modality),
    dict(
        epochs=5,
        captions=dict(audio_captions=0.6, visual_captions=0.4),
        **one_modality,
    ),
    # all captions and losses; negatives get harder within 200 batches of 32
    dict(epochs=2, hardness=[(0.536, 0.1), (0.536 + 200 * 32 / 3000, 2.0)]),
    # each batch groups similar clips, so that rare distinctions (shape, contour, count)
    # matter
    dict(group_size=8),
]

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor={{_base_.optim_wrapper.constructor}},
    optimizer=dict(
        type='AdamW', lr=7e-4, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    ),
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
train_dataloader = dict(sampler=dict(curriculum=curriculum))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
auto_scale_lr = dict(base_batch_size=32)  # clips of all processes
find_unused_parameters = True  # the joint stream's norms at first
default_hooks = dict(
    curriculum=dict(type='CurriculumHook'),
    logger=dict(interval=10),
    checkpoint=dict(interval=max_iters // 2),
)
log_processor = dict(window_size=10)
