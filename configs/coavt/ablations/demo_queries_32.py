"""Ablation in miniature: 32 queries instead of 8."""

_base_ = './demo_full.py'

model = dict(query_encoder=dict(num_queries=32))
