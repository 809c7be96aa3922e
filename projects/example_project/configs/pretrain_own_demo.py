"""Own contrastive head, text encoder, metric and hook in the demo's pre-training.

    PYTHONPATH=projects python tools/train.py \
        projects/example_project/configs/pretrain_own_demo.py

Data: data/sounding_shapes.
"""

_base_ = '../../../configs/coavt/pretrain_demo.py'

custom_imports = dict(
    imports=[
        'example_project.contrastive_head',
        'example_project.text_encoder',
        'example_project.metric',
        'example_project.hook',
    ],
    allow_failed_imports=False,
)

model = dict(
    contrastive_head=dict(type='DecoupledHead', temperature=0.1),
    text_encoder=dict(_delete_=True, type='BagOfWords', vocab_size=_base_.vocab_size),
)
optim_wrapper = dict(  # the demo's temperature stays, that of the own head is learned
    paramwise_cfg=dict(custom_keys=dict(temperature=dict(lr_mult=1.0)))
)
val_evaluator = dict(type='ReciprocalRankMetric')
test_evaluator = dict(type='ReciprocalRankMetric', out_dir='work_dirs/pretrain_own')
custom_hooks = [dict(type='ThawHook', part='query_encoder', iteration=100)]
default_hooks = dict(checkpoint=dict(save_best='reciprocal_rank/AV/MRR'))
