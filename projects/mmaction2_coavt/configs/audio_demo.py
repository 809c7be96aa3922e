"""What is to be heard: mmaction2's RecognizerAudio on waveform -> log-mel, instruments
of the demo clips.

    python tools/train.py projects/mmaction2_coavt/configs/audio_demo.py

Data: data/sounding_shapes and the lists of README.md. Starts from the checkpoint that
``make demo`` leaves. Minutes on two CPU cores.
"""

_base_ = ['./_base_/finetune.py', '../../../configs/_base_/models/coavt_demo.py']

data_root = 'data/sounding_shapes'
lists = 'data/sounding_shapes/lists/timbre'
num_classes = 6
seconds = _base_.model.data_preprocessor.spec_frames / 100

model = dict(
    _delete_=True,
    type='RecognizerAudio',
    # LoadLogMel has normalised
    data_preprocessor=dict(type='ActionDataPreprocessor'),
    backbone=dict(
        _base_.model.av_encoder,
        type='coavt_mm.JointAVBackbone',
        init_cfg=dict(
            type='coavt_mm.Converted',
            checkpoint='work_dirs/demo/checkpoint.pth',
            prefix='av_encoder',
        ),
    ),
    cls_head=dict(
        type='TSNAudioHead',
        num_classes=num_classes,
        in_channels=_base_.model.av_encoder.embed_dims,
        dropout_ratio=0.0,
        average_clips='prob',
    ),
)

# AudioDataset names the mp4 itself: no file of features is needed
pipeline = [
    dict(
        type='coavt_mm.LoadLogMel',
        preprocessor=_base_.model.data_preprocessor,
        seconds=seconds,
    ),
    dict(type='FormatAudioShape', input_format='NCTF'),
    dict(type='PackActionInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='AudioDataset',
        ann_file=f'{lists}/train_audio.txt',
        data_prefix=dict(audio=data_root),
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AudioDataset',
        ann_file=f'{lists}/test_audio.txt',
        data_prefix=dict(audio=data_root),
        pipeline=pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
