"""Loops, hooks, optimiser wrappers and schedules that mmengine lacks."""

from coavt_mm.engine.evaluating import TestLoop, ValLoop
from coavt_mm.engine.health import HealthHook
from coavt_mm.engine.hooks import (
    IterationSeedHook,
    NegativesHook,
    RuntimeInfoHook,
    ShareModelHook,
    StoreConfigHook,
)
from coavt_mm.engine.loops import ResumableIterLoop
from coavt_mm.engine.nonfinite import SkippedStepsHook
from coavt_mm.engine.optim import (
    BF16OptimWrapper,
    EpochCosineLR,
    OptimWrapper,
    ScalarDecayConstructor,
)
from coavt_mm.engine.resuming import ResumeHook
from coavt_mm.engine.saving import CheckpointHook
from coavt_mm.engine.stopping import StopHook
from coavt_mm.engine.tracking import TensorboardVisBackend
from coavt_mm.engine.weights import (
    EpochAverageHook,
    FitCheckpointHook,
    PretrainedPart,
    StrictCheckpointHook,
)
from coavt_mm.engine.wrappers import DDP

__all__ = [
    'BF16OptimWrapper',
    'CheckpointHook',
    'DDP',
    'EpochAverageHook',
    'EpochCosineLR',
    'FitCheckpointHook',
    'HealthHook',
    'IterationSeedHook',
    'NegativesHook',
    'RuntimeInfoHook',
    'OptimWrapper',
    'PretrainedPart',
    'ResumableIterLoop',
    'ResumeHook',
    'ScalarDecayConstructor',
    'ShareModelHook',
    'SkippedStepsHook',
    'StopHook',
    'StoreConfigHook',
    'StrictCheckpointHook',
    'TensorboardVisBackend',
    'TestLoop',
    'ValLoop',
]
