"""Ablation in miniature: without the matching loss."""

_base_ = './demo_full.py'

model = dict(matching_head=dict(streams=dict(AV=0.0)))
