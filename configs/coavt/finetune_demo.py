"""Fine-tune the demo checkpoint for retrieval: minutes on two CPU cores.

    make demo
    python tools/train.py configs/coavt/finetune_demo.py
    python tools/test.py configs/coavt/finetune_demo.py \
        work_dirs/finetune_demo/iter_200.pth

The small-scale form of retrieval_audiocaps_finetune.py: captions of both modalities
only, a fifth of pre-training's learning rate, four score modes at test. Language
modelling is left out; the zero-shot numbers are those of `make demo`. Results go to
work_dirs/finetune_demo.
"""

_base_ = './retrieval_demo.py'

max_iters = 200
warmup_iters = 10

load_from = 'work_dirs/demo/checkpoint.pth'
model = dict(
    lm_head=dict(streams=dict(AV=0.0)),
    test_cfg=dict(_delete_=True, keep_tokens=True),
)
train_pipeline = [
    _base_.load_frames,
    _base_.load_audio,
    dict(type='PickCaption'),  # those of both modalities, which the test asks with
    _base_.tokenize,
    _base_.pack,
]
# all losses from the start; similar clips together and hard negatives, as pre-training
# ended, or the matching head forgets what it learned there
train_dataloader = dict(
    batch_size=32,
    sampler=dict(curriculum=[dict(group_size=8, hardness=2.0)]),
    dataset=dict(pipeline=train_pipeline),
)
auto_scale_lr = dict(base_batch_size=32)

optim_wrapper = dict(optimizer=dict(lr=_base_.optim_wrapper.optimizer.lr / 5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=warmup_iters),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=50)
# keep the last checkpoint; the 100 clips of validation cannot separate them
default_hooks = dict(checkpoint=dict(interval=50, save_best=None))
test_evaluator = dict(
    _delete_=True,
    type='RetrievalMetric',
    modes=('cosine', 'matching', 'query_softmax', 'softmax_product'),
    matching_accuracy=True,
    out_dir='work_dirs/finetune_demo',
    plots=True,
)
