"""Ablation in miniature: 1 query instead of 8."""

_base_ = './demo_full.py'

model = dict(query_encoder=dict(num_queries=1))
