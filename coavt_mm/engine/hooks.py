"""Hooks that mmengine lacks."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from coavt_mm.errors import CheckpointError, CoAVTError
from coavt_mm.registry import HOOKS


def _bare_model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


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
            runner (Runner): The runner; its seed is the one it keeps in checkpoints.
            batch_idx (int): Index of the batch.
            data_batch (dict, optional): The batch, loaded already.
        """
        sequence = np.random.SeedSequence([runner.seed, get_rank(), runner.iter])
        words = [int(word) for word in sequence.generate_state(3)]
        random.seed(words[0])
        np.random.seed(words[1])
        torch.manual_seed(words[2])


@HOOKS.register_module()
class ShareModelHook(Hook):
    """Hand the model to the metrics that have an attribute ``model``.

    Re-ranking by the matching head needs the model at evaluation time.
    """

    def before_val(self, runner: Runner) -> None:
        """Share the model before validation.

        Args:
            runner (Runner): The runner of the validation process.
        """
        self._share(runner, runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        """Share the model before the test.

        Args:
            runner (Runner): The runner of the test process.
        """
        self._share(runner, runner.test_evaluator)

    def _share(self, runner: Runner, evaluator) -> None:
        for metric in evaluator.metrics:
            if hasattr(metric, 'model'):
                metric.model = _bare_model(runner)


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Refuse a checkpoint that does not fill the whole model.

    mmengine only logs missing keys and goes on with random weights, which for a test
    means a table of chance results. ``tools/test.py`` registers this hook.
    """

    priority = 'LOWEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes with the model's.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint that was read.

        Raises:
            CheckpointError: If a parameter is missing or has another shape.
        """
        given = checkpoint.get('state_dict', checkpoint)
        wanted = _bare_model(runner).state_dict()
        wrong = [
            key
            for key, value in wanted.items()
            if getattr(given.get(key), 'shape', None) != value.shape
        ]
        if wrong:
            raise CheckpointError(
                f'the checkpoint does not fit this config: {len(wrong)} of '
                f'{len(wanted)} tensors are missing or of another shape, the first is '
                f'{wrong[0]!r}; use the config that the checkpoint was trained with.'
            )


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
            runner (Runner): The runner.
        """
        from coavt_mm.checkpoints import config_to_json

        dataset = runner.train_dataloader.dataset
        classes = getattr(dataset, 'metainfo', {}).get('classes')
        try:
            self.config = config_to_json(runner.cfg, _bare_model(runner), classes)
        except CoAVTError as error:
            runner.logger.warning(
                f'coavt_mm.apis will need the config beside the checkpoints: {error}'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the config.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What is about to be saved; ``meta`` is changed.
        """
        from coavt_mm.checkpoints.stored_config import KEY

        if self.config is not None:
            checkpoint['meta'][KEY] = self.config
