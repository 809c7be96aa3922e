"""Ablation in miniature: without the matching loss."""

_base_ = '../pretrain_demo.py'

model = dict(matching_head=dict(streams=dict(AV=0.0)))
