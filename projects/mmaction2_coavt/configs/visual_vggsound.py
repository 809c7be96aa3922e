"""What is to be seen, at the size of CAV-MAE and from its weights: VGGSound.

    python tools/converters/cavmae.py audio_model.25.pth cavmae.pth
    python tools/train.py projects/mmaction2_coavt/configs/visual_vggsound.py

Data: data/vggsound and the lists of README.md. Written for one GPU, 32 clips, and
not tried on one; with N GPUs multiply the learning rate by N.
"""

_base_ = './visual_demo.py'

data_root = 'data/vggsound'
lists = 'data/vggsound/lists'

model = dict(
    data_preprocessor=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    backbone=dict(  # the defaults are CAV-MAE's sizes
        _delete_=True,
        type='coavt_mm.JointAVBackbone',
        init_cfg=dict(type='coavt_mm.Converted', checkpoint='cavmae.pth'),
    ),
    cls_head=dict(num_classes=309, in_channels=768),
)

resize_crop_pack = [
    dict(type='DecordDecode'),
    dict(type='coavt_mm.Resize', scale=(-1, 224)),
    dict(type='coavt_mm.CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='PackActionInputs'),
]
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=1, num_clips=1),
    *resize_crop_pack,
]
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=1, num_clips=10, test_mode=True),
    *resize_crop_pack,
]
files = dict(data_prefix=dict(video=data_root))
train_dataloader = dict(
    num_workers=12,
    dataset=dict(ann_file=f'{lists}/train_video.txt', pipeline=train_pipeline, **files),
)
val_dataloader = dict(
    num_workers=12,
    dataset=dict(ann_file=f'{lists}/test_video.txt', pipeline=test_pipeline, **files),
)
test_dataloader = val_dataloader
