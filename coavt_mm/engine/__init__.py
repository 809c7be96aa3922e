"""Loops, hooks, optimiser wrappers and schedules that mmengine lacks."""

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
from .optim import BF16OptimWrapper, EpochCosineLR, ScalarDecayConstructor

__all__ = [
    'BF16OptimWrapper',
    'Converted',
    'EpochAverageHook',
    'EpochCosineLR',
    'FitCheckpointHook',
    'HardnessRampHook',
    'SensesFirstHook',
    'IterationSeedHook',
    'ResumableIterLoop',
    'ScalarDecayConstructor',
    'ShareModelHook',
    'StoreConfigHook',
    'StrictCheckpointHook',
]
