"""Pre-train CoAVT at the paper's size on VGGSound.

    python tools/train.py configs/coavt/pretrain_vggsound.py
    bash tools/dist_train.sh configs/coavt/pretrain_vggsound.py 8

Data: data/vggsound/{train,val,test}.jsonl and the clips, as written by
tools/data/prepare_vggsound.py from the official csv and a folder of clips.
Assumes 8 GPUs, 32 clips each (256 in all); what that takes of memory and disk, also on
smaller cards: docs/scaling.md. pretrain_vggsound_dry_run.py tries it all in one step.
Training starts from random weights unless `load_from` or an `init_cfg` names converted
ones, as in pretrain_vggsound_cavmae_bert.py.
Text: a label through one of several templates; captions where the manifest has them.
Validation is on clips cut from the training list, and counts every clip of a class as
right (docs/retrieval.md#equal-texts): clip to text, R@1 is the share of clips whose
class is named. The best checkpoint is the best by it.
Elsewhere, or without access to a model hub, the folder and the tokenizer are said once:
    --cfg-options data_root=/data/vggsound tokenizer=/models/bert-base-uncased
"""

_base_ = [
    '../_base_/models/coavt_base.py',
    '../_base_/datasets/vggsound.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

clips = 183_000  # about those of the training list; fewer are left on the web
batch = 8 * 32  # GPUs * clips a GPU
epochs = 25
max_iters = epochs * clips // batch
warmup_iters = 5_000

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6 / 1e-4,
        by_epoch=False,
        begin=0,
        end=warmup_iters,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=2 * clips // batch)
# 309 texts ask for clips, but 2,000 clips for texts: the finer number
default_hooks = dict(checkpoint=dict(save_best='retrieval/clip_to_text/AV/R@1'))
