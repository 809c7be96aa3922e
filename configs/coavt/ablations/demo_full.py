"""The demo in 200 iterations, without stages: what its ablations are compared with.

    python tools/analysis/ablate.py

All losses from the start, so that the runs differ in nothing but what their names say;
the demo itself begins with A-T and V-T alone, which is nothing where both are off.
"""

_base_ = '../pretrain_demo.py'

max_iters = 200

param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters)
hardness = [(80 * 32 / 3000, 0.1), (160 * 32 / 3000, 1.0)]  # epochs, value
train_dataloader = dict(sampler=dict(curriculum=[dict(hardness=hardness)]))
# measured by the test that follows
train_cfg = dict(max_iters=max_iters)
val_cfg = None
val_dataloader = None
val_evaluator = None
default_hooks = dict(checkpoint=dict(interval=max_iters))
