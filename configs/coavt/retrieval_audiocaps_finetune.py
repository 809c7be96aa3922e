"""Fine-tune a pre-trained CoAVT for text-to-clip retrieval on AudioCaps.

    bash tools/dist_train.sh configs/coavt/retrieval_audiocaps_finetune.py 8 \
        --cfg-options load_from=PRETRAINED
    python tools/test.py configs/coavt/retrieval_audiocaps_finetune.py CHECKPOINT

Data: data/audiocaps/{train,val,test}.jsonl and the clips, as written by
tools/data/prepare_audiocaps.py, and the test protocol beside them:
    python tools/data/make_protocol.py audiocaps-official-975 data/audiocaps/test.jsonl
Another protocol: test_dataloader.dataset.ann_file=audiocaps-oncescu-816.jsonl
Assumes 8 GPUs, 32 clips each (256 in all); memory not measured.

All objectives of pre-training go on, as in BLIP-2's fine-tuning for retrieval. Ours:
10 epochs, a fifth of pre-training's learning rate, a tenth of the steps to warm up.

The test writes table, JSON and plots of both directions, streams AV, A and V and the
five score modes to work_dirs/retrieval_audiocaps_finetune. One frame a clip; all ten,
with averaged similarities:
    --cfg-options test_dataloader.dataset.pipeline.LoadFrames.pick=all \
        test_dataloader.batch_size=8
For re-ranking the tokens of all clips are kept, 2 MB a clip and frame: 2 GB of memory,
with ten frames 21 GB. test_evaluator.features_file=FILE saves them (docs/retrieval.md).
"""

_base_ = [
    '../_base_/models/coavt_base.py',
    '../_base_/datasets/audiocaps.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

clips = 45_000  # training clips; some of the list's 49,838 are gone from the web
batch = 8 * 32  # GPUs * clips a GPU
max_iters = 10 * clips // batch
warmup_iters = max_iters // 10
out_dir = 'work_dirs/retrieval_audiocaps_finetune'

model = dict(test_cfg=dict(keep_tokens=True))  # for the matching head

optim_wrapper = dict(optimizer=dict(lr=2e-5))
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

test_dataloader = dict(dataset=dict(ann_file='audiocaps-official-975.jsonl'))
test_evaluator = dict(
    modes=('cosine', 'matching', 'matching_only', 'query_softmax', 'softmax_product'),
    topk=128,
    out_dir=out_dir,
    plots=True,
)
