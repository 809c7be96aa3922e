"""Training loops."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dist import get_world_size
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch import nn
from torch.utils.data import DataLoader

from coavt_mm.datasets.samplers import EpochSampler
from coavt_mm.errors import ConfigError
from coavt_mm.registry import LOOPS

# what checkpoints keep in mmengine's message hub
SEEN, BATCHES = 'samples_seen', 'train_batches'


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """Iteration-based training that continues in the data where it stopped.

    mmengine's loop, when resumed, loads and drops all batches that were trained
    before, which means decoding them again. This one tells the sampler where to go on:
    ``sampler.start`` is set to the number of samples that all ranks together have
    seen. Checkpoints hold it, so the next sample is the right one for another batch
    size and another number of processes too (:func:`compare_batches` says what is not
    the same then). Arguments are those of
    :class:`mmengine.runner.IterBasedTrainLoop`.

    Raises:
        ConfigError: If the sampler has no attributes ``start`` and ``seed``.
    """

    dataloader_iterator: Any

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._seen = _sampler(self.dataloader).start
        self._seed_at_start = self.runner.seed

    @property
    def seen(self) -> int:
        """Samples of all processes trained so far, those of the present batch too."""
        return self._seen

    def run(self) -> nn.Module:
        """Train, from the present iteration on.

        Returns:
            nn.Module: The trained model.
        """
        compare_batches(self.runner)
        _check_curriculum(self.runner)
        if self._iter > 0:
            self._continue_data()
        try:
            return super().run()
        finally:
            # Left to the garbage collector, workers are waited for 5 s each.
            self.dataloader_iterator = None
            self.dataloader._iterator = None

    def run_iter(self, data_batch: Sequence[dict]) -> None:
        """Train on a batch; checkpoints of this iteration count its samples.

        Args:
            data_batch: The batch.
        """
        self._seen += self.dataloader.batch_sampler.batch_size * get_world_size()
        self.runner.message_hub.update_info(SEEN, self._seen)
        super().run_iter(data_batch)

    def _continue_data(self) -> None:
        """Begin the stream of samples after those trained already."""
        sampler = _sampler(self.dataloader)
        batch_size = self.dataloader.batch_sampler.batch_size
        known = self.runner.message_hub.runtime_info.get(SEEN)
        if known is None:
            known = self._iter * batch_size * get_world_size()
            self.runner.logger.warning(
                'the checkpoint does not say how many samples it has seen; the data go '
                f'on at {known}, that of batches of the present size'
            )
        self._seen = sampler.start = known
        if sampler.seed == self._seed_at_start:  # the Runner's, by now the resumed one
            sampler.seed = self.runner.seed
        self.dataloader_iterator = None  # ends its workers before new ones start
        self.dataloader_iterator = _AfterReplay(self.dataloader, self._iter)


def first_position(runner: Runner, batch_idx: int) -> int:
    """The global position, see :class:`.ResumableSampler`, of a batch's first sample.

    Args:
        runner: The runner, in a training iteration.
        batch_idx: The index of the batch that hooks are told.

    Returns:
        Samples over all processes that come before the batch; the same on all of them.
    """
    batch_sampler = runner.train_dataloader.batch_sampler
    samples = batch_sampler.batch_size * get_world_size()
    if isinstance(runner.train_loop, ResumableIterLoop):
        return runner.train_loop.seen - samples
    return getattr(batch_sampler.sampler, 'start', 0) + batch_idx * samples


def compare_batches(runner: Runner) -> None:
    """Note batch size and processes for checkpoints; say if a resumed run has others.

    The data go on at the right sample, unless mmengine's own loop by iterations
    replays them in other batches. A sampler that counts epochs gets the position that
    its epoch begins at, since the epochs of another number of processes are rounded
    otherwise.

    Args:
        runner: The runner, resumed or not.
    """
    loader, hub = runner.train_dataloader, runner.message_hub
    sampler = getattr(loader, 'sampler', None)
    now = dict(batch=loader.batch_size, processes=get_world_size())
    now['clips'] = len(loader.dataset)
    before = hub.runtime_info.get(BATCHES, now) if runner.iter > 0 else now
    if runner.iter > 0 and isinstance(sampler, EpochSampler):
        length = before.get('epoch', sampler.epoch_length)
        sampler.origin = before.get('origin', 0)
        sampler.origin += runner.epoch * (length - sampler.epoch_length)
    if isinstance(sampler, EpochSampler):
        now.update(epoch=sampler.epoch_length, origin=sampler.origin)
    hub.update_info(BATCHES, now)
    if before.get('clips', now['clips']) != now['clips']:
        runner.logger.warning(
            f'resumed with {now["clips"]} clips; the checkpoint was trained with '
            f'{before["clips"]}. The count of samples goes on, their order is another: '
            'some of this epoch come twice, or not at all'
        )
    if any(before[key] != now[key] for key in ('batch', 'processes')):
        loop = runner.train_loop
        replays = isinstance(loop, IterBasedTrainLoop)
        replays = replays and not isinstance(loop, ResumableIterLoop)
        runner.logger.warning(
            f'resumed with batches of {now["batch"]} clips in {now["processes"]} '
            f'processes; the checkpoint was trained with {before["batch"]} in '
            f'{before["processes"]}. The data {"do not " * replays}go on at the next '
            'sample. Not as in the stopped run are iterations and their learning '
            'rates, random draws, and which clips are negatives of each other'
        )


def _check_curriculum(runner: Runner) -> None:
    """Refuse stages whose losses nobody would set."""
    curriculum = getattr(_sampler(runner.train_dataloader), 'curriculum', None)
    if curriculum is None or not curriculum.needs_hook:
        return
    if not any(hasattr(hook, 'curriculum') for hook in runner.hooks):
        raise ConfigError(
            "a stage of the sampler's curriculum sets streams or hardness, which "
            "needs default_hooks.curriculum.type='CurriculumHook'"
        )


def _sampler(dataloader: DataLoader) -> Any:
    """The sampler that can be told where to start."""
    sampler = getattr(dataloader.batch_sampler, 'sampler', None)
    if not hasattr(sampler, 'start') or not hasattr(sampler, 'seed'):
        raise ConfigError(
            f'ResumableIterLoop cannot continue {type(sampler).__name__}: set '
            "train_dataloader.sampler.type='ResumableSampler', or "
            "train_cfg.type='IterBasedTrainLoop', which reads all data again on resume."
        )
    return sampler


class _AfterReplay:
    """Batches for ``IterBasedTrainLoop.run`` after a resume.

    It first drops the batches trained already, which the sampler has left out: mmengine
    asks for one after the other and is given nothing, the fork calls ``skip_iter``.
    """

    def __init__(self, dataloader: DataLoader, replayed: int) -> None:
        self._dataloader, self._replayed = dataloader, replayed
        self._batches: Iterator | None = None

    def skip_iter(self, num_iters: int) -> None:
        """Drop all at once."""
        self._replayed = 0

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Sequence[dict] | None:
        if self._replayed > 0:
            self._replayed -= 1
            return None
        if self._batches is None:  # workers start with the first batch
            self._batches = iter(_InfiniteDataloaderIterator(self._dataloader))
        return next(self._batches)
