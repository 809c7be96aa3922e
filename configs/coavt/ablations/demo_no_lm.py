"""Ablation in miniature: without the language-modelling loss."""

_base_ = './demo_full.py'

model = dict(lm_head=dict(streams=dict(AV=0.0)))
