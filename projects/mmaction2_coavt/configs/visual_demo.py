"""What is to be seen: mmaction2's TSN on the visual stream, shapes of the demo clips.

    python tools/train.py projects/mmaction2_coavt/configs/visual_demo.py

Data: data/sounding_shapes and the lists of README.md. Starts from the checkpoint that
``make demo`` leaves. Minutes on two CPU cores.
"""

_base_ = ['./_base_/finetune.py', '../../../configs/_base_/models/coavt_demo.py']

data_root = 'data/sounding_shapes'
lists = 'data/sounding_shapes/lists/shape'
num_classes = 6
size = _base_.model.av_encoder.img_size
# for the joint recogniser
_sound = _base_.model.data_preprocessor
_seconds = _sound.spec_frames / 100

model = dict(
    _delete_=True,
    type='Recognizer2D',
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=_base_.model.data_preprocessor.frame_mean,
        std=_base_.model.data_preprocessor.frame_std,
        format_shape='NCHW',
    ),
    backbone=dict(
        _base_.model.av_encoder,
        type='coavt_mm.JointAVBackbone',
        mask_ratio=(0.0, 0.0),
        init_cfg=dict(
            type='coavt_mm.Converted',
            checkpoint='work_dirs/demo/checkpoint.pth',
            prefix='av_encoder',
        ),
    ),
    cls_head=dict(
        type='TSNHead',
        num_classes=num_classes,
        in_channels=_base_.model.av_encoder.embed_dims,
        dropout_ratio=0.0,
        average_clips='prob',
    ),
)

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=1, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='coavt_mm.Resize', scale=(size, size), keep_ratio=False),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='PackActionInputs'),
]
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=1, num_clips=4, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='coavt_mm.Resize', scale=(size, size), keep_ratio=False),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='PackActionInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='VideoDataset',
        ann_file=f'{lists}/train_video.txt',
        data_prefix=dict(video=data_root),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VideoDataset',
        ann_file=f'{lists}/test_video.txt',
        data_prefix=dict(video=data_root),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
