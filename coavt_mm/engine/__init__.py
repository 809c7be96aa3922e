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
from .negatives import NegativesHook
from .optim import BF16OptimWrapper, EpochCosineLR, ScalarDecayConstructor
from .saving import CheckpointHook, ResumeHook

__all__ = [
    'BF16OptimWrapper',
    'CheckpointHook',
    'Converted',
    'EpochAverageHook',
    'EpochCosineLR',
    'FitCheckpointHook',
    'HardnessRampHook',
    'SensesFirstHook',
    'IterationSeedHook',
    'NegativesHook',
    'ResumableIterLoop',
    'ResumeHook',
    'ScalarDecayConstructor',
    'ShareModelHook',
    'StoreConfigHook',
    'StrictCheckpointHook',
]
