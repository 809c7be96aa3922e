"""Ablation in miniature: without the visual-text alignment (V-T)."""

_base_ = '../pretrain_demo.py'

model = dict(contrastive_head=dict(streams=dict(V=0.0)))
