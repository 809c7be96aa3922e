"""Audio-visual retrieval in miniature: minutes on two CPU cores.

    make demo
    python tools/data/make_sounding_shapes.py data/sounding_shapes_bound --bound
    python tools/train.py configs/coavt/av_retrieval_demo.py
    python tools/test.py configs/coavt/av_retrieval_demo.py \
        work_dirs/av_retrieval_demo/iter_300.pth

In the ordinary demo clips sound and picture have nothing to do with each other. In the
bound ones the timbre follows the shape, and contour and count follow colour and
ground, so that either half tells the other but for the place. From the demo checkpoint
sound is set against picture (A-V), and each against text (A-T, V-T).

200 held-out clips with 72 sounds: chance is 0.5 % R@1. Two or three clips share each
sound and picture and differ in nothing that the other half could tell, so that no model
can expect more than 36 %; the JSON has both. Each picture stands at a place where
training never showed it with this sound. Results go to work_dirs/av_retrieval_demo.
"""

_base_ = './pretrain_demo.py'

max_iters = 300
warmup_iters = 10

load_from = 'work_dirs/demo/checkpoint.pth'
model = dict(
    av_head=dict(type='AVContrastiveHead', weight=1.0),
    contrastive_head=dict(streams=dict(AV=0.0)),
    matching_head=dict(streams=dict(AV=0.0)),
    lm_head=dict(streams=dict(AV=0.0)),
)
data_root = 'data/sounding_shapes_bound'
bound = dict(
    data_root=data_root,
    how_to_get='coavt prepare sounding-shapes data/sounding_shapes_bound --bound',
)
train_dataloader = dict(
    sampler=dict(curriculum=[]),
    dataset=bound,
)
val_dataloader = dict(dataset=bound)
test_dataloader = dict(dataset=bound)

optim_wrapper = dict(optimizer=dict(lr=_base_.optim_wrapper.optimizer.lr / 2))
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
train_cfg = dict(max_iters=max_iters, val_interval=100)
default_hooks = dict(
    checkpoint=dict(interval=100, save_best='av_retrieval/audio_to_visual/encoder/R@1')
)
val_evaluator = dict(_delete_=True, type='AVRetrievalMetric')
test_evaluator = dict(
    _delete_=True, type='AVRetrievalMetric', out_dir='work_dirs/av_retrieval_demo'
)
