"""mmpretrain's ImageClassifier on the visual branch: shapes of the demo pictures.

    python tools/train.py projects/mmpretrain_coavt/configs/pictures_demo.py

Data: data/sounding_shapes/pictures, see README.md. Starts from the checkpoint that
``make demo`` leaves. Minutes on two CPU cores.
"""

_base_ = [
    'mmpretrain::_base_/default_runtime.py',
    '../../../configs/_base_/models/coavt_demo.py',
]
custom_imports = dict(imports=['coavt_mm'], allow_failed_imports=False)

data_root = 'data/sounding_shapes/pictures'
num_classes = 6
size = _base_.model.av_encoder.img_size

model = dict(
    _delete_=True,
    type='ImageClassifier',
    data_preprocessor=dict(
        mean=_base_.model.data_preprocessor.frame_mean,
        std=_base_.model.data_preprocessor.frame_std,
        to_rgb=True,
        num_classes=num_classes,
    ),
    backbone=dict(
        _base_.model.av_encoder,
        type='coavt_mm.JointAVBackbone',
        as_tuple=True,
        init_cfg=dict(
            type='coavt_mm.Converted',
            checkpoint='work_dirs/demo/checkpoint.pth',
            prefix='av_encoder',
        ),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=num_classes,
        in_channels=_base_.model.av_encoder.embed_dims,
        loss=dict(type='CrossEntropyLoss'),
    ),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=size,
        crop_ratio_range=(0.8, 1.0),
        backend='pillow',  # anti-aliased
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(size, size), backend='pillow'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset', data_prefix=f'{data_root}/train', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset',
        data_prefix=f'{data_root}/test',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10.0)}),
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=4, by_epoch=True, end=4)]
find_unused_parameters = True  # the audio branch has no gradient
