# Gradients and the optimiser's state are shared out over the processes by DeepSpeed
# (ZeRO-2): clipping, accumulation, batch and precision are the recipe's.
# Behind the recipe in a config's _base_; see docs/scaling.md#deepspeed.
runner_type = 'FlexibleRunner'
strategy = dict(type='coavt_mm.DeepSpeedStrategy', zero_optimization=dict(stage=2))
