"""What a run does besides training: seeds, the model for metrics, the stored config."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from coavt_mm.engine.weights import bare_model
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.registry import HOOKS


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed every training iteration from (seed, rank, iteration).

    What an iteration draws in the training process (dropout, SpecAugment, negatives)
    then doesn't depend on the iterations before it, so a resumed run draws what one
    that never stopped would have. It runs after the batch is loaded and after other
    hooks of the same stage.
    """

    priority = 'LOWEST'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Seed python, numpy and torch (all devices).

        Args:
            runner: The runner; its seed is the one it keeps in checkpoints.
            batch_idx: Index of the batch.
            data_batch: The batch, loaded already.
        """
        sequence = np.random.SeedSequence([runner.seed, get_rank(), runner.iter])
        words = [int(word) for word in sequence.generate_state(3)]
        random.seed(words[0])
        np.random.seed(words[1])
        torch.manual_seed(words[2])


@HOOKS.register_module()
class ShareModelHook(Hook):
    """Hand the model to the metrics that have an attribute ``model``.

    Re-ranking by the matching head needs the model at evaluation time, and the tokens
    of the clips: where a metric ``needs_tokens``, the model's ``test_cfg`` is told to
    keep them.
    """

    def before_val(self, runner: Runner) -> None:
        """Share the model before validation.

        Args:
            runner: The runner of the validation process.
        """
        self._share(runner, runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        """Share the model before the test.

        Args:
            runner: The runner of the test process.
        """
        self._share(runner, runner.test_evaluator)

    def _share(self, runner: Runner, evaluator) -> None:
        model: Any = bare_model(runner)
        for metric in evaluator.metrics:
            if hasattr(metric, 'model'):
                metric.model = model
            if getattr(metric, 'needs_tokens', False) and hasattr(model, 'test_cfg'):
                model.test_cfg['keep_tokens'] = True


@HOOKS.register_module()
class StoreConfigHook(Hook):
    """Keep in every checkpoint, as data, the config that inference needs.

    ``meta['coavt_config']`` is JSON with model, test pipeline, class names and
    tokenizers, so that a checkpoint alone is enough for ``coavt_mm.apis``. mmengine's
    own copy is Python source, which nobody should execute. ``tools/train.py``
    registers this hook.
    """

    def __init__(self):
        self.config: str | None = None

    def before_train(self, runner: Runner) -> None:
        """Write the config down; one that inference could not use (no test pipeline, a
        tokenizer that is not there) is left out, and said.

        Args:
            runner: The runner.
        """
        from coavt_mm.checkpoints import config_to_json

        dataset = runner.train_dataloader.dataset
        classes = getattr(dataset, 'metainfo', {}).get('classes')
        try:
            self.config = config_to_json(runner.cfg, bare_model(runner), classes)
        except CoAVTError as error:
            runner.logger.warning(
                f'coavt_mm.apis will need the config beside the checkpoints: {error}'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the config.

        Args:
            runner: The runner.
            checkpoint: What is about to be saved; ``meta`` is changed.
        """
        from coavt_mm.checkpoints.stored_config import KEY

        if self.config is not None:
            checkpoint['meta'][KEY] = self.config


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
            runner: The runner.
            batch_idx: Index of the batch.
            data_batch: The batch.
            outputs: The logged values.
        """
        outputs = outputs or {}
        if 'negatives' not in outputs or outputs['negatives'].item() > 0:
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
            runner: The runner.
        """
        if self._found:
            runner.logger.warning(
                f'{self._found} batches of this run had no two clips to tell apart; '
                'they taught contrastive and matching losses nothing'
            )
