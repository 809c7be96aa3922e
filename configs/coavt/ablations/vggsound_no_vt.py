"""Ablation at the paper's size: without the visual-text alignment (V-T)."""

_base_ = '../pretrain_vggsound.py'

model = dict(contrastive_head=dict(streams=dict(V=0.0)))
find_unused_parameters = True  # what is switched off gets no gradient
