"""Loops, hooks and optimiser wrappers that mmengine lacks."""

from .averaging import EpochAverageHook
from .hooks import (
    HardnessRampHook,
    IterationSeedHook,
    SensesFirstHook,
    ShareModelHook,
    StoreConfigHook,
    StrictCheckpointHook,
)
from .loading import Converted, FitCheckpointHook
from .loops import ResumableIterLoop
from .optim import BF16OptimWrapper

__all__ = [
    'BF16OptimWrapper',
    'Converted',
    'EpochAverageHook',
    'FitCheckpointHook',
    'HardnessRampHook',
    'SensesFirstHook',
    'IterationSeedHook',
    'ResumableIterLoop',
    'ShareModelHook',
    'StoreConfigHook',
    'StrictCheckpointHook',
]
