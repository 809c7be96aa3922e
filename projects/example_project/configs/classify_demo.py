"""Own head, loss, transform and data set: instruments of the demo clips, by their sound
and picture.

    PYTHONPATH=projects python tools/train.py \
        projects/example_project/configs/classify_demo.py

Data: data/sounding_shapes. Starts from the checkpoint that ``make demo`` leaves.
100 steps, minutes on two CPU cores.
"""

_base_ = '../../../configs/coavt/pretrain_demo.py'

custom_imports = dict(
    imports=[
        'example_project.head',
        'example_project.transform',
        'example_project.dataset',
    ],
    allow_failed_imports=False,
)

timbres = ['flute', 'clarinet', 'trumpet', 'bell', 'wind', 'buzzer']
max_iters = 100

model = dict(
    _delete_=True,
    type='CoAVTClassifier',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=dict(
        _base_.model.av_encoder,
        init_cfg=dict(
            type='Converted',
            checkpoint='work_dirs/demo/checkpoint.pth',
            prefix='av_encoder',
        ),
    ),
    head=dict(
        type='CosineHead',
        num_classes=len(timbres),
        embed_dims=_base_.model.av_encoder.embed_dims,
        loss=dict(type='FocalLoss', gamma=2.0),
    ),
)

train_dataloader = dict(
    sampler=dict(curriculum=[]),  # its stages are of pre-training
    dataset=dict(
        type='LabelSubsetDataset',
        keep=timbres,
        pipeline=[
            _base_.load_frames,
            _base_.load_audio,
            dict(type='RandomGain', decibels=6.0),
            _base_.pack,
        ],
    ),
)
test_pipeline = [_base_.middle_frame, _base_.load_audio, _base_.pack]
val_dataloader = dict(
    dataset=dict(
        type='LabelSubsetDataset',
        keep=timbres,
        pipeline=test_pipeline,
    )
)
test_dataloader = dict(
    dataset=dict(
        type='LabelSubsetDataset',
        keep=timbres,
        pipeline=test_pipeline,
    )
)
val_evaluator = dict(_delete_=True, type='mmaction.AccMetric')
test_evaluator = dict(_delete_=True, type='mmaction.AccMetric')

optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, end=max_iters)
]
train_cfg = dict(max_iters=max_iters, val_interval=50)
default_hooks = dict(checkpoint=dict(interval=50, save_best='acc/top1'))
