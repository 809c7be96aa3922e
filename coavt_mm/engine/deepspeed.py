"""DeepSpeed's ZeRO, by mmengine's strategy, for a recipe as it is."""

from importlib.util import find_spec
from typing import Any

from mmengine.config import Config

from coavt_mm.errors import ConfigError


def follow_recipe(cfg: Config) -> None:
    """Tell DeepSpeed what the recipe says of batch, clipping, steps and precision.

    DeepSpeed clips, accumulates and casts itself, by its own settings. Those that
    the strategy has already stay.

    Args:
        cfg: With a ``strategy``; without one of DeepSpeed nothing is done.

    Raises:
        ConfigError: DeepSpeed is not installed.
    """
    strategy: Any = cfg.get('strategy') or {}
    if not str(strategy.get('type')).endswith('DeepSpeedStrategy'):
        return
    if not find_spec('deepspeed'):
        raise ConfigError(
            'strategy: DeepSpeedStrategy needs the package deepspeed: pip install '
            'deepspeed, or take configs/_base_/strategies/fsdp2.py'
        )
    options: dict[str, Any] = dict(zero_allow_untested_optimizer=True)
    loader, wrapper = cfg.get('train_dataloader'), cfg.get('optim_wrapper')
    if loader:
        options['train_micro_batch_size_per_gpu'] = loader.batch_size
    if wrapper and str(wrapper.type).endswith('BF16OptimWrapper'):
        # weights stay float32, and what is kept in float32 on purpose does
        options['torch_autocast'] = dict(enabled=True, dtype='bfloat16')
    if not isinstance(strategy.get('config'), str):  # a file of DeepSpeed's
        strategy.config = {**options, **strategy.get('config', {})}
    if not wrapper:
        return
    wrapper.type = 'mmengine.DeepSpeedOptimWrapper'
    clip = wrapper.pop('clip_grad', None)
    # said in any case: without a word some releases clip at 1
    strategy.setdefault('gradient_clipping', clip.max_norm if clip else 0.0)
    counts = wrapper.pop('accumulative_counts', 1)
    strategy.setdefault('gradient_accumulation_steps', counts)
