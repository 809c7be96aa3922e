"""A step and a validation of the paper-size model, to see that everything works.

    python tools/train.py configs/coavt/pretrain_vggsound_dry_run.py
    python tools/train.py configs/coavt/pretrain_vggsound_dry_run.py --cfg-options \
        data_root=data/sounding_shapes tokenizer=data/sounding_shapes/vocab.txt

Model, losses, pipelines and schedule of pretrain_vggsound.py on a few clips: the first
line with VGGSound, the second with the demo's clips, where VGGSound is not there yet.
A CPU will do: 100 s of processor time, 9.1 GB of memory (measured, one run on two
cores). Nothing is saved but the log.
"""

_base_ = './pretrain_vggsound.py'

optim_wrapper = dict(type='OptimWrapper')  # float32
train_dataloader = dict(batch_size=2, num_workers=0, pin_memory=False)
val_dataloader = dict(
    batch_size=2, num_workers=0, pin_memory=False, dataset=dict(indices=2)
)
train_cfg = dict(max_iters=1, val_interval=1)
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=-1, save_last=False, save_best=None),
)
