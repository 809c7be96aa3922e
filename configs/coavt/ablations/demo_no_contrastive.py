"""Ablation in miniature: without the contrastive loss (cosine untrained)."""

_base_ = '../pretrain_demo.py'

model = dict(contrastive_head=dict(streams=dict(AV=0.0, A=0.0, V=0.0)))
# without A-T and V-T there is nothing to begin with: all losses from the start
custom_hooks = [h for h in _base_.custom_hooks if h['type'] != 'SensesFirstHook']
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(first=None, first_epochs=0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
