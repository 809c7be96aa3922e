"""Data: manifest rows in, packed samples out."""

from coavt_mm.datasets import transforms  # noqa: F401  registers them
from coavt_mm.datasets.collate import stack_clips
from coavt_mm.datasets.concat import ConcatDataset
from coavt_mm.datasets.dataset import AVTDataset
from coavt_mm.datasets.samplers import EpochSampler, ResumableSampler
from coavt_mm.datasets.shards.dataset import AVTShardDataset
from coavt_mm.datasets.shards.sampler import ShardSampler
from coavt_mm.datasets.tokenizer import build_tokenizer

__all__ = [
    'AVTDataset',
    'AVTShardDataset',
    'ConcatDataset',
    'EpochSampler',
    'ResumableSampler',
    'ShardSampler',
    'build_tokenizer',
    'stack_clips',
]
