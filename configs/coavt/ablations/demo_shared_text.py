"""Ablation in miniature: text read by the query encoder alone."""

_base_ = './demo_full.py'

model = dict(text_encoder=None)
