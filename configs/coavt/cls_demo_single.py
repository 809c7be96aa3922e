"""Classify the demo clips by timbre alone: one of six classes, see cls_demo.py.

    python tools/train.py configs/coavt/cls_demo_single.py
    python tools/test.py configs/coavt/cls_demo_single.py \
        work_dirs/cls_demo_single/epoch_3.pth

Writes accuracies, their ceilings and the confusion matrix to work_dirs/cls_demo_single.
"""

_base_ = './cls_demo.py'

from coavt_mm.demo import grammar  # noqa: E402

epochs = 3
classes = grammar.class_names(['timbre'])
observable = dict(AV=classes, A=classes, V=[])

model = dict(head=dict(num_classes=len(classes), loss='ce'))
param_scheduler = dict(milestones=[2])
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
default_hooks = dict(average=dict(begin=2, end=epochs))
labels = dict(classes=classes, other_labels='drop')
train_dataloader = dict(sampler=dict(balanced=True), dataset=labels)
val_dataloader = dict(dataset=labels)
test_dataloader = dict(dataset=labels)
metric = dict(task='single_label', observable_classes=observable)
val_evaluator = metric
test_evaluator = dict(**metric, out_dir='work_dirs/cls_demo_single')
