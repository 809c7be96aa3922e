# Weights, gradients and the optimiser's state are shared out over the processes.
# Behind the recipe in a config's _base_; see docs/scaling.md#fsdp2.
model_wrapper_cfg = dict(type='FSDP2', reshard_after_forward=True)
