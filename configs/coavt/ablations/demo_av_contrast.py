"""Ablation in miniature: with a contrast of sound and picture (A-V) besides text.

In the demo clips the two are independent, so that it has nothing to teach here;
av_retrieval_demo.py has clips in which they are not.
"""

_base_ = './demo_full.py'

model = dict(av_head=dict(type='AVContrastiveHead', weight=1.0))
