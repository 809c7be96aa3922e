"""Classify the demo clips: all 31 factor values, seven of them true of each clip.

    python tools/train.py configs/coavt/cls_demo.py
    python tools/test.py configs/coavt/cls_demo.py work_dirs/cls_demo/epoch_16.pth

Starts from the demo's checkpoint; 752 steps on two CPU cores. The recipe of
cls_audioset20k.py with sizes that fit 2.56 s of sound, and without the circular shift,
which would turn 'rising' into something else. Writes to work_dirs/cls_demo.
Sound or picture alone: --cfg-options model.stream=A. The AV-trained model with one
missing: tools/test.py ... --cfg-options model.test_cfg.stream=A
"""

_base_ = [
    '../_base_/models/coavt_demo.py',
    '../_base_/datasets/sounding_shapes.py',
    '../_base_/schedules/finetune_cls.py',
]

from coavt_mm.demo import grammar  # noqa: E402

load_from = 'work_dirs/demo/checkpoint.pth'
epochs = 16
halve_from = 10
classes = grammar.class_names()
observable = dict(
    AV=classes,
    A=grammar.class_names(grammar.AUDIO_FACTORS),
    V=grammar.class_names(grammar.VISUAL_FACTORS),
)

model = dict(
    _delete_=True,
    type='CoAVTClassifier',
    data_preprocessor=dict(
        **_base_.model.data_preprocessor,
        augment=dict(mixup=0.5, freq_mask=12, time_mask=24, noise=0.1),
    ),
    backbone=_base_.model.av_encoder,
    head=dict(
        type='ClassificationHead',
        num_classes=len(classes),
        label_smoothing=0.1,
    ),
    stream='AV',
    test_cfg=dict(stream=None, missing='average'),
)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor='ScalarDecayConstructor',
    optimizer=dict(
        type='Adam', lr=5e-4, betas=(0.95, 0.999), weight_decay=5e-7, fused=True
    ),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10))),
)
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(milestones=[*range(halve_from, epochs)])
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
default_hooks = dict(
    logger=dict(interval=10), average=dict(begin=halve_from, end=epochs)
)
log_processor = dict(window_size=10)

train_pipeline = [_base_.load_frames, _base_.load_audio, _base_.pack]
val_pipeline = [_base_.middle_frame, _base_.load_audio, _base_.pack]
# probabilities are averaged over frames
test_pipeline = [_base_.all_frames, _base_.load_audio, _base_.pack]
train_dataloader = dict(
    batch_size=64,
    sampler=dict(type='EpochSampler'),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
metric = dict(
    _delete_=True,
    type='ClassificationMetric',
    task='multi_label',
    observable_classes=observable,
)
val_evaluator = metric
test_evaluator = dict(**metric, out_dir='work_dirs/cls_demo', plots=True)
