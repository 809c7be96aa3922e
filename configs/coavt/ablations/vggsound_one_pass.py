"""Ablation at the paper's size: E_A and E_V cut out of one joint pass."""

_base_ = '../pretrain_vggsound.py'

model = dict(av_encoder=dict(type='OnePassAVEncoder'))
find_unused_parameters = True  # what is switched off gets no gradient
