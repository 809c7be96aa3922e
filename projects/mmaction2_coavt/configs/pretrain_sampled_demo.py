"""The other way round: mmaction2's frame sampling and transforms in our pre-training of
the demo.

    python tools/train.py projects/mmaction2_coavt/configs/pretrain_sampled_demo.py

Data, time and memory as for configs/coavt/pretrain_demo.py.
"""

_base_ = '../../../configs/coavt/pretrain_demo.py'

size = _base_.model.av_encoder.img_size
larger = size + size // 8

load = dict(
    type='LoadFrames',
    sampler=dict(type='mmaction.SampleFrames', clip_len=1, num_clips=1),
)
shift = [
    dict(type='Resize', scale=(larger, larger), keep_ratio=False),
    dict(type='mmaction.RandomCrop', size=size),
]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            load,
            dict(type='IfVisual', transforms=shift),
            *_base_.train_pipeline[1:],  # in place of LoadFrames
        ]
    )
)
