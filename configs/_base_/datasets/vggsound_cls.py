# VGGSound for classification: labels and no text; see vggsound.py.
_base_ = './vggsound.py'

# LoadFrames, resize and crop, LoadAudio
train_pipeline = [*_base_.train_pipeline[:3], dict(type='PackAVTInputs')]
val_pipeline = [*_base_.test_pipeline[:3], dict(type='PackAVTInputs')]  # middle frame
test_pipeline = [
    dict(type='LoadFrames', num_frames=10, pick='all'),  # probabilities are averaged
    *val_pipeline[1:],
]
train_dataloader = dict(
    batch_size=48,  # clips a GPU
    sampler=dict(type='EpochSampler', balanced=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_pipeline))
val_evaluator = dict(_delete_=True, type='ClassificationMetric', task='single_label')
test_evaluator = dict(
    _delete_=True, type='ClassificationMetric', task='single_label', plots=True
)
