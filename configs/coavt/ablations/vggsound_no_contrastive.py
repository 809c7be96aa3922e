"""Ablation at the paper's size: without the contrastive loss (cosine untrained)."""

_base_ = '../pretrain_vggsound.py'

model = dict(contrastive_head=dict(streams=dict(AV=0.0, A=0.0, V=0.0)))
find_unused_parameters = True  # what is switched off gets no gradient
# validation sees nothing but the untrained cosine
default_hooks = dict(checkpoint=dict(save_best=None))
