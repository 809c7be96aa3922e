"""Batches that have nothing to tell apart."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from coavt_mm.errors import ConfigError
from coavt_mm.registry import HOOKS


@HOOKS.register_module()
class NegativesHook(Hook):
    """Say which batches have nothing to tell apart, refuse ten of them in a row.

    Contrastive and matching losses compare a clip with other clips that have other
    captions. In a batch of one clip, or of captions that are all equal, they teach
    nothing. ``tools/train.py`` registers this hook.

    Raises:
        ConfigError: If ten batches in a row are so.
    """

    def __init__(self):
        self._found, self._in_a_row = 0, 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the share of clips with a negative, which the model gives.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Index of the batch.
            data_batch (dict, optional): The batch.
            outputs (dict, optional): The logged values.
        """
        if 'negatives' not in (outputs or {}) or outputs['negatives'].item() > 0:
            self._in_a_row = 0
            return
        self._found, self._in_a_row = self._found + 1, self._in_a_row + 1
        if self._found == 1:
            runner.logger.warning(
                f'the batch of iteration {runner.iter} has no two clips to tell apart '
                '(one clip, or captions that are all equal): contrastive and matching '
                'losses learn nothing from it'
            )
        if self._in_a_row == 10:
            raise ConfigError(
                'the last 10 batches had no two clips to tell apart (one clip, or '
                'captions that are all equal), so that contrastive and matching losses '
                'learn nothing; raise train_dataloader.batch_size, shuffle, or give '
                'clips captions of their own'
            )

    def after_train(self, runner: Runner) -> None:
        """Count them.

        Args:
            runner (Runner): The runner.
        """
        if self._found:
            runner.logger.warning(
                f'{self._found} batches of this run had no two clips to tell apart; '
                'they taught contrastive and matching losses nothing'
            )
