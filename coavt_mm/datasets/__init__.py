"""Data: manifest rows in, packed samples out."""

from . import transforms  # noqa: F401  registers them
from .dataset import AVTDataset
from .samplers import EpochSampler, ResumableSampler
from .shards.dataset import AVTShardDataset
from .shards.sampler import ShardSampler
from .tokenizer import build_tokenizer

__all__ = [
    'AVTDataset',
    'AVTShardDataset',
    'EpochSampler',
    'ResumableSampler',
    'ShardSampler',
    'build_tokenizer',
]
