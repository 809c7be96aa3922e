"""The other way round: mmpretrain's transforms in our pre-training of the demo.

    python tools/train.py projects/mmpretrain_coavt/configs/pretrain_augmented_demo.py

Data, time and memory as for configs/coavt/pretrain_demo.py.
"""

_base_ = '../../../configs/coavt/pretrain_demo.py'

size = _base_.model.av_encoder.img_size

# mmpretrain's transforms take one picture, `img`; here are the frames of a clip,
# `imgs`, RGB. mmcv's broadcaster hands them on one by one, with the same random draws.
augment = dict(
    type='TransformBroadcaster',
    mapping=dict(img='imgs'),
    auto_remap=True,
    share_random_params=True,
    transforms=[
        dict(type='mmpretrain.RandomCrop', crop_size=size, padding=size // 16),
        dict(type='mmpretrain.ColorJitter', brightness=0.1, contrast=0.1),
    ],
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.train_pipeline[0],
            dict(type='IfVisual', transforms=[augment]),
            *_base_.train_pipeline[1:],
        ]
    )
)
