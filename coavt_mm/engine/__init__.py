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
from .negatives import NegativesHook
from .optim import BF16OptimWrapper
from .saving import CheckpointHook, ResumeHook

__all__ = [
    'BF16OptimWrapper',
    'CheckpointHook',
    'Converted',
    'EpochAverageHook',
    'FitCheckpointHook',
    'HardnessRampHook',
    'SensesFirstHook',
    'IterationSeedHook',
    'NegativesHook',
    'ResumableIterLoop',
    'ResumeHook',
    'ShareModelHook',
    'StoreConfigHook',
    'StrictCheckpointHook',
]
