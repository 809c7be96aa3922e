"""Ablation in miniature: without the audio-text alignment (A-T)."""

_base_ = './demo_full.py'

model = dict(contrastive_head=dict(streams=dict(A=0.0)))
