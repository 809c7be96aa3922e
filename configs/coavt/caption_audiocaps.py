"""Write captions for AudioCaps clips: fine-tune a pre-trained CoAVT.

    python tools/train.py configs/coavt/caption_audiocaps.py \
        --cfg-options load_from=CHECKPOINT
    python tools/test.py configs/coavt/caption_audiocaps.py CHECKPOINT

Data: data/audiocaps/{train,val,test}.jsonl and the clips, as written by
tools/data/prepare_audiocaps.py. Scores need the extra `caption` and a Java runtime
(docs/captioning.md). Assumes 8 GPUs, 8 clips each (64 in all); memory not measured.

The language-modelling loss alone is trained, as VALOR and BLIP-2 do for captions, with
VALOR's AudioCaps recipe: 10 epochs, batch 64, lr 2e-5, weight decay 0.01, a tenth of
the steps to warm up. The parts that only the other losses use are left out.
Writes captions, scores and a picture to work_dirs/caption_audiocaps.
"""

_base_ = [
    '../_base_/models/coavt_base.py',
    '../_base_/datasets/audiocaps.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

clips = 45_000  # training clips; some of the list's 49,838 are gone from the web
batch = 8 * 8  # GPUs * clips a GPU
max_iters = 10 * clips // batch
warmup_iters = max_iters // 10
out_dir = 'work_dirs/caption_audiocaps'

model = dict(
    contrastive_head=None,
    matching_head=None,
    text_encoder=None,
    # each of these writes a caption for each clip
    test_cfg=dict(
        caption=dict(
            greedy=dict(max_new_tokens=30, repetition_penalty=1.0),
            beam=dict(
                num_beams=5,
                max_new_tokens=30,
                length_penalty=1.0,
                repetition_penalty=1.0,
            ),
            nucleus=dict(top_p=0.9, temperature=1.0, seed=0, max_new_tokens=30),
        )
    ),
)
find_unused_parameters = True  # the norms of streams A and V get no gradient

optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.01), clip_grad=dict(max_norm=5.0)
)
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
train_cfg = dict(max_iters=max_iters, val_interval=clips // batch)
auto_scale_lr = dict(base_batch_size=batch)
default_hooks = dict(checkpoint=dict(save_best='caption/beam/CIDEr-D'))

train_dataloader = dict(batch_size=8)
val_evaluator = dict(_delete_=True, type='CaptionMetric')
test_evaluator = dict(_delete_=True, type='CaptionMetric', out_dir=out_dir, plots=True)
