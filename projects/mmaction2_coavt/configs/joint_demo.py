"""Both senses: mmaction2's multi-modal recogniser on the joint stream; all 31 class
names of the demo clips, seven of which hold for each clip.

    python tools/train.py projects/mmaction2_coavt/configs/joint_demo.py

Data: data/sounding_shapes and the lists of README.md. Starts from the checkpoint that
``make demo`` leaves. Minutes on two CPU cores.
"""

_base_ = './visual_demo.py'

lists = 'data/sounding_shapes/lists/all'
num_classes = 31

model = dict(
    _delete_=True,
    type='MMRecognizer3D',  # hands its inputs to the backbone by their names
    data_preprocessor=dict(
        type='MultiModalDataPreprocessor',
        preprocessors=dict(
            spectrogram=dict(type='ActionDataPreprocessor'),
            frames=_base_.model.data_preprocessor,
        ),
    ),
    backbone=_base_.model.backbone,
    cls_head=dict(
        type='TSNAudioHead',  # mean over the tokens, linear layer
        num_classes=num_classes,
        in_channels=_base_.model.backbone.embed_dims,
        loss_cls=dict(type='BCELossWithLogits'),
        multi_class=True,
        dropout_ratio=0.0,
        average_clips='score',
    ),
)

sound_and_pack = [
    dict(
        type='coavt_mm.LoadLogMel',
        preprocessor=_base_._sound,
        seconds=_base_._seconds,
    ),
    dict(type='FormatAudioShape', input_format='NCTF'),
    dict(
        type='KeyMapper',
        mapping=dict(spectrogram='audios', frames='imgs'),
        auto_remap=False,
    ),
    dict(type='PackActionInputs', collect_keys=('spectrogram', 'frames')),
]
labels = dict(multi_class=True, num_classes=num_classes)
train_dataloader = dict(
    dataset=dict(
        ann_file=f'{lists}/train_video.txt',
        pipeline=[*_base_.train_pipeline[:-1], *sound_and_pack],
        **labels,
    )
)
val_dataloader = dict(
    dataset=dict(
        ann_file=f'{lists}/test_video.txt',
        pipeline=[*_base_.test_pipeline[:-1], *sound_and_pack],
        **labels,
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(type='AccMetric', metric_list=('mean_average_precision',))
test_evaluator = val_evaluator
