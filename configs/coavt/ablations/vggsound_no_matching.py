"""Ablation at the paper's size: without the matching loss."""

_base_ = '../pretrain_vggsound.py'

model = dict(matching_head=dict(streams=dict(AV=0.0)))
find_unused_parameters = True  # what is switched off gets no gradient
