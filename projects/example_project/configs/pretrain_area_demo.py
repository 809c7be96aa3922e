"""Own loss beside the others: the demo's pre-training, with an area to be made small.

    PYTHONPATH=projects python tools/train.py \
        projects/example_project/configs/pretrain_area_demo.py

Data: data/sounding_shapes.
"""

_base_ = '../../../configs/coavt/pretrain_demo.py'

custom_imports = dict(imports=['example_project.loss'], allow_failed_imports=False)

model = dict(extra_heads=dict(area=dict(type='AreaHead', weight=1.0)))
