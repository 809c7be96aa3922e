"""Classify AudioSet, fine-tuned on the balanced training clips (AudioSet-20K).

    python tools/train.py configs/coavt/cls_audioset20k.py
    python tools/test.py configs/coavt/cls_audioset20k.py \
        work_dirs/cls_audioset20k/epoch_15.pth

Data: data/audioset/{balanced_train,eval}.jsonl and the clips, as written by
    python tools/data/prepare_audioset.py balanced_train_segments.csv \
        eval_segments.csv --clips CLIPS
`load_from`: a CoAVT checkpoint, or one that tools/converters/own.py put together with
av_encoder=FILE from converted weights. Assumes one GPU with 80 GB; on N GPUs set
train_dataloader.batch_size to 36 / N.
Sound or picture alone: --cfg-options model.stream=A. The AV-trained model with one
missing: tools/test.py ... --cfg-options model.test_cfg.stream=A. docs/classification.md
"""

_base_ = [
    '../_base_/models/coavt_classifier.py',
    '../_base_/datasets/audioset_cls.py',
    '../_base_/schedules/finetune_cls.py',
]

load_from = 'work_dirs/pretrain_vggsound/iter_17871.pth'  # its last
epochs = 15
halve_from = 5  # after this epoch and every later one

model = dict(head=dict(num_classes=527, loss='bce'))
optim_wrapper = dict(
    optimizer=dict(lr=5e-5),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=100))),
)
param_scheduler = dict(milestones=[*range(halve_from, epochs)])
train_cfg = dict(max_epochs=epochs)
train_dataloader = dict(
    batch_size=36,
    sampler=dict(balanced=False),
    dataset=dict(ann_file='balanced_train.jsonl'),
)
test_evaluator = dict(out_dir='work_dirs/cls_audioset20k')
default_hooks = dict(average=dict(begin=3, end=epochs))
auto_scale_lr = dict(base_batch_size=36)
