"""Ablation at the paper's size: 1 query instead of 32."""

_base_ = '../pretrain_vggsound.py'

model = dict(query_encoder=dict(num_queries=1))
