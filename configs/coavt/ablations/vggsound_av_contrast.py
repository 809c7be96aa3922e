"""Ablation at the paper's size: with a contrast of sound and picture besides text."""

_base_ = '../pretrain_vggsound.py'

model = dict(av_head=dict(type='AVContrastiveHead', weight=1.0))
