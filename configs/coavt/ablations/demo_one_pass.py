"""Ablation in miniature: E_A and E_V cut out of one joint pass."""

_base_ = './demo_full.py'

model = dict(av_encoder=dict(type='OnePassAVEncoder'))
