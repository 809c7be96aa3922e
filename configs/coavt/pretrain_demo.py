"""Pre-train CoAVT in miniature on the demo clips: minutes on two CPU cores.

    python tools/data/make_sounding_shapes.py data/sounding_shapes
    python tools/train.py configs/coavt/pretrain_demo.py

3,000 clips of 2.56 s, 2.8 million parameters, batch 64, less than 6 GB of memory.
"""

_base_ = [
    '../_base_/models/coavt_demo.py',
    '../_base_/datasets/sounding_shapes.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

max_iters = 780
warmup_iters = 20
decay_from = 560  # the full rate until all losses have begun
# From random weights each modality is learned first, from captions of one or the other:
# from sentences about both, the shape was not learned in 1,000 iterations. Epochs are
# of the data, for any batch size and number of processes.
one_modality = dict(streams=('A', 'V'))
curriculum = [
    # the contrast alone, which is enough to tell clips apart and takes a third of the
    # time; sound is learned within two epochs and stays where some of it goes on
    dict(
        epochs=2,
        captions=dict(audio_captions=0.5, visual_captions=0.5),
        hardness=0.0,
        **one_modality,
    ),
    dict(
        epochs=6,
        captions=dict(audio_captions=0.2, visual_captions=0.8),
        **one_modality,
    ),
    # without language modelling beside matching captions came out worse
    dict(
        epochs=4,
        captions=dict(audio_captions=0.4, visual_captions=0.6),
        weights=dict(matching_head=6.0, lm_head=4.0),
        **one_modality,
    ),
    # all captions and losses
    dict(epochs=1, hardness=[(0.0, 0.1), (1.0, 1.0)]),
    # each batch groups similar clips, so that rare distinctions (shape, contour, count)
    # matter
    dict(group_size=8, hardness=[(0.0, 1.0), (3.0, 2.0)]),
]

model = dict(
    # It stays (lr_mult below): a learned one ends between 0.045 and 0.11, by the seed,
    # and the hardness of negatives with it.
    contrastive_head=dict(temperature=0.1),
    # the similarity judges from the first step, and the head learns what it leaves
    # open: by itself it rested for a hundred steps at 'no' to everything
    matching_head=dict(
        streams=dict(AV=8.0), similarity_weight=20.0, similarity_offset=0.8
    ),
    lm_head=dict(streams=dict(AV=6.0)),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=7e-4),
    paramwise_cfg=dict(custom_keys=dict(temperature=dict(lr_mult=0.0))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup_iters),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,  # eta_min would move the temperature, too
        by_epoch=False,
        begin=decay_from,
        end=max_iters,
    ),
]
train_pipeline = [
    # decoded once; GB of the loader's memory
    dict(_base_.load_frames, keep=1.0),
    dict(_base_.load_audio, keep=0.6),
    _base_.captions,
    _base_.tokenize,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=64,
    sampler=dict(curriculum=curriculum),
    dataset=dict(pipeline=train_pipeline),
)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 3)
auto_scale_lr = dict(base_batch_size=64)  # clips of all processes
find_unused_parameters = True  # the joint stream's norms at first
default_hooks = dict(
    curriculum=dict(type='CurriculumHook'),
    logger=dict(interval=10),
    checkpoint=dict(interval=max_iters // 3),
)
log_processor = dict(window_size=10)
