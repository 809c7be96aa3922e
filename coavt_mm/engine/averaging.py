"""Averages of weights over epochs."""

from mmengine.hooks import EMAHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from coavt_mm.errors import ConfigError
from coavt_mm.registry import HOOKS


@HOOKS.register_module()
class EpochAverageHook(EMAHook):
    """The plain mean of the weights at the ends of epochs ``begin`` to ``end``.

    CAV-MAE averages the checkpoints of these epochs when training is over; here the
    mean grows with each epoch. It is what validation and test see and what checkpoints
    hold as ``state_dict``, so the last checkpoint is the averaged model; the weights
    that training goes on with, and the count, are beside it for ``--resume``. Before
    ``begin`` the mean is the present weights; after ``end`` it stays.

    Args:
        begin (int): First epoch that counts, from 1.
        end (int, optional): Last epoch that counts. Default: the last of the run.

    Raises:
        ConfigError: The span holds no epoch, lies beyond the run, or the run has no
            epochs.
    """

    def __init__(self, begin: int = 1, end: int | None = None):
        if begin < 1 or (end is not None and end < begin):
            raise ConfigError(
                f'EpochAverageHook: epochs {begin} to {end} are no span; epochs are '
                'counted from 1'
            )
        super().__init__(ema_type='StochasticWeightAverage')
        self.begin, self.end = begin, end

    def before_train(self, runner: Runner) -> None:
        """Compare the span with the run.

        Args:
            runner (Runner): The runner of the training process.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ConfigError(
                'EpochAverageHook averages over epochs: set train_cfg.type='
                f"'EpochBasedTrainLoop' (it is {type(runner.train_loop).__name__})"
            )
        last = self.end or self.begin
        if last > runner.max_epochs:
            raise ConfigError(
                f'EpochAverageHook: epoch {last} lies behind the last one, '
                f'{runner.max_epochs}'
            )

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Nothing: single iterations don't count."""

    def after_train_epoch(self, runner: Runner) -> None:
        """Take the weights of this epoch into the mean.

        Args:
            runner (Runner): The runner of the training process.
        """
        epoch = runner.epoch + 1  # counted from 1, as `begin` is
        if self.end is not None and epoch > self.end:
            return
        self.ema_model.update_parameters(self.src_model)
        if epoch < self.begin:
            self.ema_model.steps.zero_()  # the next epoch replaces this one
