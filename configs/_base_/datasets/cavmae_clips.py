# Clips as CAV-MAE's weights know them, to evaluate converted ones: frames from the
# beginnings of ten parts, extracted with torchvision's bilinear resize and saved as
# JPEG at 224 x 224; sound of up to 1,024 spectrogram frames.
cavmae_frames = dict(type='LoadFrames', num_frames=10, pick='all', times='cavmae')
cavmae_middle_frame = dict(cavmae_frames, pick='middle')
cavmae_resize = dict(
    type='IfVisual',
    transforms=[
        dict(type='Resize', scale=(-1, 224), interpolation='bilinear'),
        dict(type='CenterCrop', crop_size=224),
        dict(type='JPEG', quality=75),
    ],
)
cavmae_audio = dict(type='LoadAudio', seconds=(1023 * 160 + 400) / 16000)
cavmae_clips = [
    cavmae_frames,
    cavmae_resize,
    cavmae_audio,
    dict(type='PackAVTInputs'),
]
