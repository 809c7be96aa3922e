"""Data: manifest rows in, packed samples out."""

from typing import TYPE_CHECKING

from coavt_mm.lazy import lazily

if TYPE_CHECKING:
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

_HOMES = dict(
    AVTDataset='dataset',
    AVTShardDataset='shards.dataset',
    ConcatDataset='concat',
    EpochSampler='samplers',
    ResumableSampler='samplers',
    ShardSampler='shards.sampler',
    build_tokenizer='tokenizer',
    stack_clips='collate',
)
__getattr__, __dir__ = lazily(__name__, _HOMES)
