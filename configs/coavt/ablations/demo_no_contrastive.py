"""Ablation in miniature: without the contrastive loss (cosine untrained)."""

_base_ = './demo_full.py'

model = dict(contrastive_head=dict(streams=dict(AV=0.0, A=0.0, V=0.0)))
