# Gradients are sent in bfloat16, half the bytes: for machines without a fast network.
# Behind the recipe in a config's _base_; see docs/scaling.md#strategies.
model_wrapper_cfg = dict(type='DDP', compress='bf16')
