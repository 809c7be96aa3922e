# VGGSound for classification: labels and no text; see vggsound.py.
_base_ = './vggsound.py'

without_text = [_base_.resize_and_crop, _base_.load_audio, _base_.pack]
train_pipeline = [_base_.load_frames, *without_text]
val_pipeline = [_base_.middle_frame, *without_text]
test_pipeline = [_base_.all_frames, *without_text]  # probabilities are averaged
train_dataloader = dict(
    batch_size=48,  # clips per GPU
    sampler=dict(type='EpochSampler', balanced=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_pipeline))
val_evaluator = dict(_delete_=True, type='ClassificationMetric', task='single_label')
test_evaluator = dict(
    _delete_=True, type='ClassificationMetric', task='single_label', plots=True
)
