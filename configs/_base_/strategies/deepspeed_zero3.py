# Weights, gradients and the optimiser's state are shared out by DeepSpeed
# (ZeRO-3): clipping, accumulation, batch and precision are the recipe's.
# Behind the recipe in a config's _base_; see docs/scaling.md#deepspeed.
runner_type = 'FlexibleRunner'
strategy = dict(type='coavt_mm.DeepSpeedStrategy', zero_optimization=dict(stage=3))
