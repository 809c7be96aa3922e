"""Linear probe on VGGSound: only the head is trained, see cls_vggsound.py.

python tools/train.py configs/coavt/cls_vggsound_linear.py
"""

_base_ = './cls_vggsound.py'

model = dict(frozen=True)
test_evaluator = dict(out_dir='work_dirs/cls_vggsound_linear')
