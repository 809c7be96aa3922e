"""Ablation at the paper's size: 8 queries instead of 32."""

_base_ = '../pretrain_vggsound.py'

model = dict(query_encoder=dict(num_queries=8))
