"""Classify AudioSet, fine-tuned on all its training clips (AudioSet-2M).

    python tools/train.py configs/coavt/cls_audioset2m.py
    python tools/test.py configs/coavt/cls_audioset2m.py \
        work_dirs/cls_audioset2m/epoch_10.pth

Data: data/audioset/{train,eval}.jsonl and the clips, as written by
    cat balanced_train_segments.csv unbalanced_train_segments.csv > train_segments.csv
    python tools/data/prepare_audioset.py train_segments.csv eval_segments.csv \
        --clips CLIPS
`load_from`: a CoAVT checkpoint, or one that tools/converters/own.py put together with
av_encoder=FILE from converted weights. Assumes one GPU with 80 GB; on N GPUs set
train_dataloader.batch_size to 48 / N.
Sound or picture alone: --cfg-options model.stream=A. The AV-trained model with one
missing: tools/test.py ... --cfg-options model.test_cfg.stream=A. docs/classification.md
"""

_base_ = './cls_audioset20k.py'

epochs = 10
halve_from = 2  # after this epoch and every later one

optim_wrapper = dict(
    optimizer=dict(lr=1e-5),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=50))),
)
param_scheduler = dict(milestones=[*range(halve_from, epochs)])
train_cfg = dict(max_epochs=epochs)
train_dataloader = dict(
    batch_size=48,
    sampler=dict(balanced=True),
    dataset=dict(ann_file='train.jsonl'),
)
test_evaluator = dict(out_dir='work_dirs/cls_audioset2m')
default_hooks = dict(average=dict(begin=1, end=epochs))
auto_scale_lr = dict(base_batch_size=48)
