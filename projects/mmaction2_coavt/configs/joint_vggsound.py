"""Both senses, at the size of CAV-MAE and from its weights: VGGSound.

    python tools/converters/cavmae.py audio_model.25.pth cavmae.pth
    python tools/train.py projects/mmaction2_coavt/configs/joint_vggsound.py

Data: data/vggsound and the lists of README.md. mmaction2 has no data set in which a
clip may lack its sound: prepare with ``--drop no_sound no_picture``. Written for one
GPU, 32 clips, and not tried on one; with N GPUs multiply the learning rate by N."""

_base_ = './visual_vggsound.py'

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
        num_classes=309,
        in_channels=768,
        dropout_ratio=0.0,
        average_clips='prob',
    ),
)

load = dict(
    type='coavt_mm.LoadLogMel',
    preprocessor=dict(  # the other defaults are CAV-MAE's
        augment=dict(freq_mask=48, time_mask=192, noise=0.1, time_roll=1024)
    ),
    seconds=10.0,
)
pack = [
    dict(type='FormatAudioShape', input_format='NCTF'),
    dict(
        type='KeyMapper',
        mapping=dict(spectrogram='audios', frames='imgs'),
        auto_remap=False,
    ),
    dict(type='PackActionInputs', collect_keys=('spectrogram', 'frames')),
]
train_dataloader = dict(
    dataset=dict(
        pipeline=[*_base_.train_pipeline[:-1], dict(load, training=True), *pack]
    )
)
val_dataloader = dict(dataset=dict(pipeline=[*_base_.test_pipeline[:-1], load, *pack]))
test_dataloader = val_dataloader
