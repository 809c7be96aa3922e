"""Samplers whose stream can be continued from any position."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol
from warnings import warn

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from coavt_mm.datasets.curriculum import Curriculum
from coavt_mm.errors import ConfigError
from coavt_mm.registry import DATA_SAMPLERS


class _Rows(Protocol):
    """A data set whose rows can be looked at."""

    def __len__(self) -> int: ...

    def get_data_info(self, idx: int) -> dict: ...


class _Request(NamedTuple):
    index: int  # type: ignore[assignment] # hides the method of tuples
    seed: int | None = None
    epoch: int | None = None


class SampleRequest(_Request):
    """What a data set is asked for in training: a tuple (index, seed, epoch), and more.

    Attributes:
        index: Of the row.
        seed: Of every random choice made for the sample.
        epoch: How often the whole data set was seen before.
        stage: The stage of the curriculum, see :class:`.Curriculum`. It is not in the
            tuple, which data sets of others unpack.
    """

    stage: dict | None

    def __new__(
        cls,
        index: int,
        seed: int | None = None,
        epoch: int | None = None,
        stage: dict | None = None,
    ) -> 'SampleRequest':
        """Make a request."""
        request = super().__new__(cls, index, seed, epoch)
        request.stage = stage
        return request


def as_request(item: int | Sequence) -> SampleRequest:
    """What is asked for by an index, a plain tuple or a sampler's request.

    Args:
        item: As a data set is indexed with.
    """
    if isinstance(item, SampleRequest):
        return item
    return SampleRequest(*(item if isinstance(item, tuple | list) else (item,)))


def balanced_weights(labels: Sequence[Sequence[str]]) -> torch.Tensor:
    """Weights that draw rare classes as often as common ones.

    The weight of a sample is the sum over its labels of 1 / (samples with the label).

    Args:
        labels: Labels of each of N samples.

    Returns:
        (N,) float64.

    Raises:
        ConfigError: A sample has no labels, and would never be drawn.
    """
    counts = Counter(label for names in labels for label in set(names))
    weights = [sum(1 / counts[label] for label in set(names)) for names in labels]
    bare = weights.count(0)
    if bare:
        raise ConfigError(
            f'balanced=True needs labels; {bare} of {len(weights)} samples have none, '
            f'the first is number {weights.index(0)}'
        )
    return torch.tensor(weights, dtype=torch.float64)


def _grouped_from(
    alike: int, alike_from: int, curriculum: Sequence[dict]
) -> list[dict]:
    """The curriculum that the old options mean."""
    if curriculum:
        raise ConfigError('ResumableSampler: alike and curriculum exclude each other')
    stages = [dict(epochs=alike_from)] if alike_from else []
    stages.append(dict(group_size=alike))
    warn(
        f'ResumableSampler(alike={alike}, alike_from={alike_from}) is an old form and '
        f'will go with the next release; write curriculum={stages}',
        FutureWarning,
        stacklevel=3,
    )
    return stages


def _label_codes(labels: Sequence[Sequence[str]]) -> np.ndarray:
    """(clips, most labels of one): places in the sorted names; -1 behind the last."""
    names = sorted({name for each in labels for name in each})
    code = {name: place for place, name in enumerate(names)}
    codes = np.full((len(labels), max([1, *map(len, labels)])), -1)
    for row, each in zip(codes, labels, strict=True):
        row[: len(each)] = [code[name] for name in each]
    return codes


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """An endless stream of requests for training by iterations.

    The global stream is one permutation of the data set after another. Rank r of
    R takes the positions start + r, start + r + R, ..., so R ranks with batches of b
    see the same global batches as one rank with R * b; nothing is dropped or repeated
    within an epoch. The seed belongs to the global position, so a sample's random
    choices depend neither on the worker nor on the rank that makes it.

    With ``balanced`` an epoch is as many draws with replacement as there are samples,
    with the weights of ``balanced_weights``.

    With a ``curriculum`` each request carries the stage of its position. In a stage
    with a ``group_size`` an epoch is dealt in groups of clips that share labels, so
    that a batch of several groups holds negatives that differ in little (GRIT-VLP
    groups by similarity instead). Which labels count first is drawn anew for each
    epoch.

    Args:
        dataset: The data set.
        shuffle: Draw a new permutation each epoch, else keep the order.
        seed: Seed of the permutations and samples, the same on all ranks; None draws
            one.
        start: Global position (samples over all ranks) at which to begin; a resumed
            loop sets the attribute of this name before it iterates.
        balanced: Draw class-balanced; the data set's rows need ``labels``.
        curriculum: Stages, see :class:`.Curriculum`. For a ``group_size`` the rows
            need ``labels``.
        alike: Old name of a stage's ``group_size``.
        alike_from: Old: the epochs of the stages before it.

    Raises:
        ConfigError: If the options exclude each other.
    """

    def __init__(
        self,
        dataset: _Rows,
        shuffle: bool = True,
        seed: int | None = None,
        start: int = 0,
        balanced: bool = False,
        curriculum: Sequence[dict] = (),
        alike: int = 1,
        alike_from: int = 0,
    ):
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = start
        if alike > 1:
            curriculum = _grouped_from(alike, alike_from, curriculum)
        self.curriculum = Curriculum(curriculum)
        self.weights: torch.Tensor | None = None
        self.labels = np.zeros((0, 0), np.int64)
        grouped = self.curriculum.is_grouped
        if not (balanced or grouped):
            return
        if not shuffle or (balanced and grouped):
            raise ConfigError(
                f'ResumableSampler: balanced={balanced} and the group_size of a stage '
                'need shuffle=True, and exclude each other'
            )
        labels = [dataset.get_data_info(i)['labels'] for i in range(self.size)]
        if balanced:
            self.weights = balanced_weights(labels)
        else:
            self.labels = _label_codes(labels)

    def _order(self, epoch: int) -> torch.Tensor:
        if not self.shuffle:
            return torch.arange(self.size)
        generator = torch.Generator().manual_seed(self.seed + epoch)
        if self.weights is not None:
            return torch.multinomial(
                self.weights, self.size, replacement=True, generator=generator
            )
        order = torch.randperm(self.size, generator=generator)
        group_size = self.curriculum.stage(epoch).get('group_size', 1)
        return self._grouped(order, group_size, generator) if group_size > 1 else order

    def _grouped(
        self, order: torch.Tensor, group_size: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Bring clips that share labels together, then shuffle the groups."""
        ranks = torch.randperm(
            int(self.labels.max(initial=-1)) + 1, generator=generator
        )
        size = len(ranks)  # of a label that is not there, to come last in its row
        keys = np.append(ranks.numpy(), size)[self.labels[order.numpy()]]
        keys.sort(1)
        keys[keys == size] = -1  # of two rows that begin alike the shorter comes first
        ordered = order[torch.from_numpy(np.lexsort(keys.T[::-1]))]
        groups = ordered.split(group_size)
        dealt = torch.randperm(len(groups), generator=generator).tolist()
        return torch.cat([groups[i] for i in dealt])

    def sample_seed(self, position: int) -> int:
        """The 32-bit seed of the sample at a global position."""
        return int(np.random.SeedSequence([self.seed, position]).generate_state(1)[0])

    def __iter__(self) -> Iterator[SampleRequest]:
        position = self.start + self.rank
        epoch = -1
        order: list[int] = []
        while True:
            if position // self.size != epoch:
                epoch = position // self.size
                order = self._order(epoch).tolist()
            stage = self.curriculum.stage(position / self.size)
            index = order[position % self.size]
            yield SampleRequest(index, self.sample_seed(position), epoch, stage)
            position += self.world_size

    def __len__(self) -> int:
        """Samples of one epoch on this rank; the stream itself has no end."""
        return -(-self.size // self.world_size)


@DATA_SAMPLERS.register_module()
class EpochSampler(ResumableSampler):
    """``ResumableSampler``'s stream an epoch at a time, for training by epochs.

    Epoch e (from 0) of R ranks begins at position e * R * len(self): the number of
    samples rounded up to a multiple of R, so that all ranks take as many steps. Which
    samples it has, and their seeds, depend on the epoch alone, so a run that is resumed
    between epochs goes on to the digit. Arguments are those of ``ResumableSampler``.

    Attributes:
        origin: Position that epoch 0 begins at; other than 0 where the epochs
            before a resume had another length.
    """

    origin = 0

    @property
    def epoch_length(self) -> int:
        """Samples of an epoch, over all ranks."""
        return len(self) * self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch; mmengine's DistSamplerSeedHook calls this."""
        self.start = self.origin + epoch * self.epoch_length

    def __iter__(self) -> Iterator[SampleRequest]:
        return islice(super().__iter__(), len(self))
