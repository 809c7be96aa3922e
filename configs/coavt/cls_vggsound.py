"""Classify VGGSound.

    python tools/train.py configs/coavt/cls_vggsound.py
    python tools/test.py configs/coavt/cls_vggsound.py \
        work_dirs/cls_vggsound/epoch_10.pth

Data: data/vggsound/{train,val,test}.jsonl and the clips, as written by
tools/data/prepare_vggsound.py. Published numbers are of training on the whole list:
prepare with --val-clips 0, and train with --no-validate.
`load_from`: a CoAVT checkpoint, or one that tools/converters/own.py put together with
av_encoder=FILE from converted weights. Assumes one GPU with 80 GB; on N GPUs set
train_dataloader.batch_size to 48 / N.
Sound or picture alone: --cfg-options model.stream=A. The AV-trained model with one
missing: tools/test.py ... --cfg-options model.test_cfg.stream=A. docs/classification.md
"""

_base_ = [
    '../_base_/models/coavt_classifier.py',
    '../_base_/datasets/vggsound_cls.py',
    '../_base_/schedules/finetune_cls.py',
]

load_from = 'work_dirs/pretrain_vggsound/iter_17871.pth'  # its last
epochs = 10
halve_from = 2  # after this epoch and every later one

model = dict(head=dict(num_classes=309, loss='ce'))
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10))),
)
param_scheduler = dict(milestones=[*range(halve_from, epochs)])
train_cfg = dict(max_epochs=epochs)
train_dataloader = dict(
    batch_size=48,
    sampler=dict(balanced=True),
)
test_evaluator = dict(out_dir='work_dirs/cls_vggsound')
default_hooks = dict(average=dict(begin=3, end=epochs))
auto_scale_lr = dict(base_batch_size=48)
