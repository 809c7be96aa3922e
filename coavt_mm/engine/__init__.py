"""Loops, hooks, optimiser wrappers and schedules that mmengine lacks."""

from coavt_mm.engine.averaging import EpochAverageHook
from coavt_mm.engine.hooks import (
    IterationSeedHook,
    ShareModelHook,
    StoreConfigHook,
    StrictCheckpointHook,
)
from coavt_mm.engine.loading import Converted, FitCheckpointHook
from coavt_mm.engine.loops import ResumableIterLoop
from coavt_mm.engine.negatives import NegativesHook
from coavt_mm.engine.optim import (
    BF16OptimWrapper,
    EpochCosineLR,
    ScalarDecayConstructor,
)
from coavt_mm.engine.saving import CheckpointHook, ResumeHook

__all__ = [
    'BF16OptimWrapper',
    'CheckpointHook',
    'Converted',
    'EpochAverageHook',
    'EpochCosineLR',
    'FitCheckpointHook',
    'IterationSeedHook',
    'NegativesHook',
    'ResumableIterLoop',
    'ResumeHook',
    'ScalarDecayConstructor',
    'ShareModelHook',
    'StoreConfigHook',
    'StrictCheckpointHook',
]
