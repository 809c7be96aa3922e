"""Samplers whose stream can be continued from any position."""

from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from coavt_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """An endless stream of (index, seed) for training by iterations.

    The global stream is one permutation of the data set behind the other. Rank r of
    R takes the positions start + r, start + r + R, ..., so R ranks with batches of b
    see the same global batches as one rank with R * b; nothing is dropped or repeated
    within an epoch. The seed belongs to the global position, so a sample's random
    choices depend neither on the worker nor on the rank that makes it.

    Args:
        dataset (Dataset): The data set.
        shuffle (bool): Draw a new permutation each epoch, else keep the order.
        seed (int, optional): Seed of the permutations and samples, the same on all
            ranks; None draws one.
        start (int): Global position (samples over all ranks) at which to begin; a
            resumed loop sets the attribute of this name before it iterates.
    """

    def __init__(
        self,
        dataset: Dataset,
        shuffle: bool = True,
        seed: int | None = None,
        start: int = 0,
    ):
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = start

    def _order(self, epoch: int) -> torch.Tensor:
        if not self.shuffle:
            return torch.arange(self.size)
        generator = torch.Generator().manual_seed(self.seed + epoch)
        return torch.randperm(self.size, generator=generator)

    def sample_seed(self, position: int) -> int:
        """The 32-bit seed of the sample at a global position."""
        return int(np.random.SeedSequence([self.seed, position]).generate_state(1)[0])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.start + self.rank
        epoch, order = -1, None
        while True:
            if position // self.size != epoch:
                epoch = position // self.size
                order = self._order(epoch).tolist()
            yield order[position % self.size], self.sample_seed(position)
            position += self.world_size

    def __len__(self) -> int:
        """Samples of one epoch on this rank; the stream itself has no end."""
        return -(-self.size // self.world_size)
