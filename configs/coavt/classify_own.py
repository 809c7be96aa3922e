"""Train a classifier on your own labelled clips, from a checkpoint or random weights.

    coavt finetune FOLDER --labels labels.csv --from CHECKPOINT

prepares the clips, chooses the settings below by them, trains with this config, tests
and writes a report (docs/own_clips.md). By hand, after --prepare-only, as that prints:
    python tools/train.py configs/coavt/classify_own.py --cfg-options \
        data_root=work_dirs/own/data num_classes=12 load_from=CHECKPOINT

Encoder, pipeline and sizes are those of the checkpoint, a CoAVT's or a classifier's of
any classes. Minutes on two CPU cores for a few hundred clips.
"""

_base_ = ['../_base_/schedules/pretrain.py', '../_base_/default_runtime.py']

from coavt_mm.finetuning import recipe  # noqa: E402

data_root = 'data/own'  # with train.jsonl, val.jsonl, test.jsonl, classes beside them
load_from = None  # a checkpoint that carries its config, such as the demo's
num_classes = 2
task = 'single_label'  # 'multi_label': any number of labels of a clip
tuning = 'all'  # 'frozen': a linear probe
max_iters = 300
batch_size = 32
lr = 5e-4
workers = 1
out_dir = 'work_dirs/classify_own'  # of tables and plots
# of a model from random weights
seconds = 2.56  # of sound
spec_mean = -6.4  # of its log-mel energies; tools/data/audio_stats.py
spec_std = 4.5

begin = recipe.begin(load_from, seconds, spec_mean, spec_std)
model = recipe.label_model(begin['model'], num_classes, task, tuning)
steps = recipe.clip_steps(begin)
train_pipeline = [*recipe.in_training(steps), dict(type='PackAVTInputs')]
test_pipeline = [*steps, dict(type='PackAVTInputs')]
train_dataloader = recipe.train_loader(data_root, train_pipeline, batch_size, workers)
val_dataloader = recipe.test_loader(data_root, 'val.jsonl', test_pipeline, workers)
test_dataloader = recipe.test_loader(data_root, 'test.jsonl', test_pipeline, workers)
val_evaluator = dict(type='ClassificationMetric', task=task)
test_evaluator = dict(
    type='ClassificationMetric', task=task, out_dir=out_dir, plots=True
)

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor={{_base_.optim_wrapper.constructor}},
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg={{_base_.optim_wrapper.paramwise_cfg}},
)
warmup_iters = min(20, max_iters // 2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup_iters),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=max(max_iters // 5, 1))
auto_scale_lr = dict(base_batch_size=batch_size)
find_unused_parameters = True  # norms of the streams that are not trained
default_hooks = dict(
    logger=dict(interval=10),
    # the last one: few clips of validation can not tell it from the best
    checkpoint=dict(interval=max(max_iters // 5, 1), save_best=None),
    fit=dict(rename=dict(av_encoder='backbone'), renew=['head']),
)
log_processor = dict(window_size=10)
