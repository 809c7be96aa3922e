"""Classify VGGSound by the mean output of the pre-trained queries, see cls_vggsound.py.

python tools/train.py configs/coavt/cls_vggsound_queries.py
"""

_base_ = './cls_vggsound.py'

model = dict(query_encoder=_base_.query_reader)
test_evaluator = dict(out_dir='work_dirs/cls_vggsound_queries')
