"""Loops, hooks and optimiser wrappers that mmengine lacks."""

from .hooks import IterationSeedHook, ShareModelHook, StrictCheckpointHook
from .loading import Converted, FitCheckpointHook
from .loops import ResumableIterLoop
from .optim import BF16OptimWrapper

__all__ = [
    'BF16OptimWrapper',
    'Converted',
    'FitCheckpointHook',
    'IterationSeedHook',
    'ResumableIterLoop',
    'ShareModelHook',
    'StrictCheckpointHook',
]
