"""Ablation at the paper's size: text read by the query encoder alone."""

_base_ = '../pretrain_vggsound.py'

model = dict(text_encoder=None)
