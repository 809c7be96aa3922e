"""Ablation at the paper's size: without the audio-text alignment (A-T)."""

_base_ = '../pretrain_vggsound.py'

model = dict(contrastive_head=dict(streams=dict(A=0.0)))
find_unused_parameters = True  # what is switched off gets no gradient
