"""Train on your own captioned clips, from a checkpoint or from random weights.

    coavt finetune FOLDER --captions captions.csv --from CHECKPOINT

prepares the clips, chooses the settings below by them, trains with this config, tests
and writes a report (docs/own_clips.md). By hand, or on many GPUs, with --prepare-only
and then, as that prints:
    python tools/train.py configs/coavt/finetune_own.py --cfg-options \
        data_root=work_dirs/own/data tokenizer=work_dirs/own/tokenizer \
        load_from=CHECKPOINT

Model, pipeline and sizes are those of the checkpoint; with load_from=None a small model
learns from random weights. Minutes on two CPU cores for a few hundred clips.
"""

_base_ = ['../_base_/schedules/pretrain.py', '../_base_/default_runtime.py']

from coavt_mm.finetuning import recipe  # noqa: E402

data_root = 'data/own'  # with train.jsonl, val.jsonl and test.jsonl
load_from = None  # a checkpoint that carries its config, such as the demo's
tokenizer = 'data/own/tokenizer'  # None: the checkpoint's
vocab_size = 200  # word pieces; what the checkpoint lacks of them begins anew
max_tokens = 48  # of a caption
caption_fields = ['captions']  # of the manifests
stream = 'AV'  # what the clips have: sound and picture, 'A' or 'V'
tuning = 'frozen'  # the encoder of sound and picture stays; 'all': everything learns
max_iters = 300
batch_size = 32
lr = 7e-4
workers = 1
caption_scores = False  # BLEU and CIDEr-D need the extra `caption`
out_dir = 'work_dirs/finetune_own'  # of tables and plots
# of a model from random weights
seconds = 2.56  # of sound
spec_mean = -6.4  # of its log-mel energies; tools/data/audio_stats.py
spec_std = 4.5

begin = recipe.begin(load_from, seconds, spec_mean, spec_std)
tokenizer_used = tokenizer or recipe.tokenizer_of(begin['pipeline'])
model = recipe.caption_model(
    begin['model'],
    tokenizer_used,
    vocab_size,
    max_tokens,
    tuning,
    stream,
    caption_scores,
)
train_pipeline, test_pipeline = recipe.caption_pipelines(
    begin, tokenizer_used, max_tokens, caption_fields
)
train_dataloader = recipe.train_loader(data_root, train_pipeline, batch_size, workers)
val_dataloader = recipe.test_loader(data_root, 'val.jsonl', test_pipeline, workers)
test_dataloader = recipe.test_loader(data_root, 'test.jsonl', test_pipeline, workers)
val_evaluator = dict(type='RetrievalMetric')
test_evaluator = recipe.caption_evaluators(out_dir, stream, caption_scores)

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor={{_base_.optim_wrapper.constructor}},
    optimizer=dict(
        type='AdamW', lr=lr, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    ),
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
find_unused_parameters = True  # what an unseen stream has
default_hooks = dict(
    logger=dict(interval=10),
    # the last one: few clips of validation can not tell it from the best
    checkpoint=dict(interval=max(max_iters // 5, 1), save_best=None),
    fit=dict(new_words=True),
)
log_processor = dict(window_size=10)
