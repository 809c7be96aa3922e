# CAV-MAE's fine-tuning for classification, by epochs. A config sets the learning rate,
# the head's multiple of it, the epochs, from which one on the rate is halved, and which
# are averaged (default_hooks.average).
_base_ = '../default_runtime.py'

optim_wrapper = dict(
    type='BF16OptimWrapper',
    constructor='ScalarDecayConstructor',
    optimizer=dict(
        type='Adam', lr=1e-4, betas=(0.95, 0.999), weight_decay=5e-7, fused=True
    ),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10))),
)
# milestones are the epochs after which the rate is halved
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[2], gamma=0.5)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=48)  # clips of all GPUs

default_hooks = dict(
    logger=dict(log_metric_by_epoch=True),
    # the last one holds the average; the best by test clips would be chosen on them
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=2, save_best=None),
    # a pre-trained CoAVT's encoder, and its query encoder where the model has one
    fit=dict(rename=dict(av_encoder='backbone')),
    average=dict(type='EpochAverageHook'),
)
log_processor = dict(by_epoch=True)
