"""Ablation in miniature: without A-T and V-T: the AV-T foundation alone."""

_base_ = './demo_full.py'

model = dict(contrastive_head=dict(streams=dict(A=0.0, V=0.0)))
