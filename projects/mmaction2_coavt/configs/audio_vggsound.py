"""What is to be heard, at the size of CAV-MAE and from its weights: VGGSound.

    python tools/converters/cavmae.py audio_model.25.pth cavmae.pth
    python tools/train.py projects/mmaction2_coavt/configs/audio_vggsound.py

Data: data/vggsound and the lists of README.md. Written for one GPU, 32 clips, and
not tried on one; with N GPUs multiply the learning rate by N.
"""

_base_ = './audio_demo.py'

data_root = 'data/vggsound'
lists = 'data/vggsound/lists'

model = dict(
    backbone=dict(  # the defaults are CAV-MAE's sizes
        _delete_=True,
        type='coavt_mm.JointAVBackbone',
        init_cfg=dict(type='coavt_mm.Converted', checkpoint='cavmae.pth'),
    ),
    cls_head=dict(num_classes=309, in_channels=768),
)

format_and_pack = _base_.pipeline[1:]
load = dict(
    type='coavt_mm.LoadLogMel',
    preprocessor=dict(  # the other defaults are CAV-MAE's
        augment=dict(freq_mask=48, time_mask=192, noise=0.1, time_roll=1024)
    ),
    seconds=10.0,
)
files = dict(data_prefix=dict(audio=data_root))
train_dataloader = dict(
    num_workers=12,
    dataset=dict(
        ann_file=f'{lists}/train_audio.txt',
        pipeline=[dict(load, training=True), *format_and_pack],
        **files,
    ),
)
val_dataloader = dict(
    num_workers=12,
    dataset=dict(
        ann_file=f'{lists}/test_audio.txt', pipeline=[load, *format_and_pack], **files
    ),
)
test_dataloader = val_dataloader
