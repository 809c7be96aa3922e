"""Ablation in miniature: text read by the query encoder alone."""

_base_ = '../pretrain_demo.py'

model = dict(text_encoder=None)
