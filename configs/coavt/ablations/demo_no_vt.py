"""Ablation in miniature: without the visual-text alignment (V-T)."""

_base_ = './demo_full.py'

model = dict(contrastive_head=dict(streams=dict(V=0.0)))
