"""Write captions for the demo clips: fine-tune the demo's checkpoint with the
language-modelling loss alone.

    python tools/train.py configs/coavt/caption_demo.py
    python tools/test.py configs/coavt/caption_demo.py \
        work_dirs/caption_demo/iter_300.pth

3,000 clips of 2.56 s for training, 200 held-out ones for the test; minutes on two CPU
cores. Needs the extra `caption`, but no Java: scores are those of tokenizer='words',
without METEOR. Writes captions, scores, shares of attributes named rightly and a
picture to work_dirs/caption_demo.
"""

_base_ = './pretrain_demo.py'

load_from = 'work_dirs/demo/checkpoint.pth'
max_iters = 300
warmup_iters = 20
out_dir = 'work_dirs/caption_demo'

model = dict(
    contrastive_head=None,
    matching_head=None,
    text_encoder=None,
    test_cfg=dict(
        caption=dict(
            greedy=dict(max_new_tokens=40), beam=dict(num_beams=3, max_new_tokens=40)
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup_iters),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters, save_best=None))

# only captions that name sound and picture, as targets and as references
train_pipeline = [
    _base_.load_frames,
    _base_.load_audio,
    dict(type='PickCaption'),
    _base_.tokenize,
    _base_.pack,
]
test_pipeline = [
    _base_.middle_frame,
    _base_.load_audio,
    dict(type='AllCaptions'),
    _base_.tokenize,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=32, sampler=dict(curriculum=[]), dataset=dict(pipeline=train_pipeline)
)
auto_scale_lr = dict(base_batch_size=32)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = dict(_delete_=True, type='AttributeAccuracy')
test_evaluator = [
    dict(
        type='CaptionMetric',
        tokenizer='words',
        out_dir=out_dir,
        plots=True,
    ),
    dict(type='AttributeAccuracy', out_file=f'{out_dir}/attributes.json'),
]
