"""An order of samples that reads shards one after the other."""

from collections.abc import Sequence

import torch

from coavt_mm.datasets.samplers import ResumableSampler
from coavt_mm.datasets.shards.dataset import AVTShardDataset
from coavt_mm.errors import ConfigError
from coavt_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ShardSampler(ResumableSampler):
    """``ResumableSampler`` with permutations that stay within a few shards at a time.

    Shards are shuffled; the samples of each ``buffer`` shards in turn are shuffled
    among each other. All ranks and workers read the same few shards at a time, so the
    page cache (or ``cache_dir``) serves them; from an object store, range requests hit
    few objects. With ``buffer`` as large as the number of shards it is a permutation of
    all samples.

    Args:
        dataset: The data set.
        shuffle: Whether to shuffle at all.
        seed: See ``ResumableSampler``.
        start: See ``ResumableSampler``.
        buffer: Shards that are mixed with each other.
        curriculum: See ``ResumableSampler``; without groups, which
            would need clips of all shards.

    Raises:
        ConfigError: A stage of the curriculum has a group_size, or the data set has no
            shards.
    """

    def __init__(
        self,
        dataset: AVTShardDataset,
        shuffle: bool = True,
        seed: int | None = None,
        start: int = 0,
        buffer: int = 16,
        curriculum: Sequence[dict] = (),
    ):
        super().__init__(dataset, shuffle, seed, start, curriculum=curriculum)
        if self.curriculum.is_grouped:
            raise ConfigError(
                'ShardSampler: group_size needs clips of all shards at a time; leave '
                'it out of the curriculum'
            )
        numbers = getattr(dataset, 'shard_numbers', None)
        if numbers is None:
            raise ConfigError(
                'ShardSampler: the data set reads files and no shards; take '
                'ResumableSampler'
            )
        # rows by shard, each in the order of the data set
        sizes = numbers.unique(return_counts=True)[1].tolist()
        self.members = numbers.argsort(stable=True).split(sizes)
        self.buffer = buffer

    def _order(self, epoch: int) -> torch.Tensor:
        if not self.shuffle:
            return torch.arange(self.size)
        generator = torch.Generator().manual_seed(self.seed + epoch)
        shards = torch.randperm(len(self.members), generator=generator).tolist()
        parts = []
        for first in range(0, len(shards), self.buffer):
            mixed = torch.cat([self.members[n] for n in shards[first:][: self.buffer]])
            parts.append(mixed[torch.randperm(len(mixed), generator=generator)])
        return torch.cat(parts)
