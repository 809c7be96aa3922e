"""Training loops."""

from collections.abc import Iterator

from mmengine.dist import get_world_size
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch import nn
from torch.utils.data import DataLoader, Sampler

from ..errors import ConfigError
from ..registry import LOOPS


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """Iteration-based training that continues in the data where it stopped.

    mmengine's loop, when resumed, loads and drops all batches that were trained
    before, which means decoding them again. This one tells the sampler where to go on:
    ``sampler.start`` is set to the number of samples that all ranks together have
    seen. Batch size and number of processes have to be those of the stopped run.
    Arguments are those of :class:`mmengine.runner.IterBasedTrainLoop`.

    Raises:
        ConfigError: If the sampler has no attributes ``start`` and ``seed``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        _sampler(self.dataloader)
        self._seed_at_start = self.runner.seed

    def run(self) -> nn.Module:
        """Train, from the present iteration on.

        Returns:
            nn.Module: The trained model.
        """
        if self._iter > 0:
            self._continue_data()
        try:
            return super().run()
        finally:
            # Left to the garbage collector, workers are waited for 5 s each.
            self.dataloader_iterator = None
            self.dataloader._iterator = None

    def _continue_data(self) -> None:
        """Begin the stream of samples after those trained already."""
        sampler = _sampler(self.dataloader)
        batch_size = self.dataloader.batch_sampler.batch_size
        sampler.start = self._iter * batch_size * get_world_size()
        if sampler.seed == self._seed_at_start:  # the Runner's, by now the resumed one
            sampler.seed = self.runner.seed
        self.dataloader_iterator = None  # ends its workers before new ones start
        self.dataloader_iterator = _after_replay(self.dataloader, self._iter)


def _sampler(dataloader: DataLoader) -> Sampler:
    """The sampler that can be told where to start."""
    sampler = getattr(dataloader.batch_sampler, 'sampler', None)
    if not hasattr(sampler, 'start') or not hasattr(sampler, 'seed'):
        raise ConfigError(
            f'ResumableIterLoop cannot continue {type(sampler).__name__}: set '
            "train_dataloader.sampler.type='ResumableSampler', or "
            "train_cfg.type='IterBasedTrainLoop', which reads all data again on resume."
        )
    return sampler


def _after_replay(dataloader: DataLoader, replayed: int) -> Iterator:
    """Batches for ``IterBasedTrainLoop.run`` after a resume.

    It first asks for one batch per iteration already trained and drops it; those
    calls are answered with nothing.
    """
    for _ in range(replayed):
        yield None
    yield from _InfiniteDataloaderIterator(dataloader)
