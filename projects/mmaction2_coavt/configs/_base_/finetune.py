# What the recognisers share: mmaction2's runtime, and CAV-MAE's recipe for VGGSound.
_base_ = 'mmaction::_base_/default_runtime.py'

custom_imports = dict(imports=['coavt_mm'], allow_failed_imports=False)

epochs = 10
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, betas=(0.95, 0.999), weight_decay=5e-7),
    # the head starts at random
    paramwise_cfg=dict(custom_keys=dict(cls_head=dict(lr_mult=10.0))),
)
param_scheduler = [
    dict(type='MultiStepLR', milestones=list(range(2, epochs)), gamma=0.5)
]
# one stream leaves the other branch of the encoder without a gradient
find_unused_parameters = True
randomness = dict(seed=0)
