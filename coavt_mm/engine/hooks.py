"""What a run does besides training: seeds, the model for metrics, the stored config."""

import math
import random
from collections import deque
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook, LoggerHook
from mmengine.hooks import RuntimeInfoHook as _RuntimeInfoHook
from mmengine.runner import BaseLoop, Runner

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
        # after training the model is another one; `iter` alone builds the training
        trained = isinstance(runner._train_loop, BaseLoop) and runner.iter > 0
        for metric in runner.test_evaluator.metrics:
            if hasattr(metric, 'checkpoint') and not trained:
                peer = getattr(bare_model(runner), 'path', None)
                metric.checkpoint = runner._load_from or peer

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
        self._coming: deque[tuple[int, Readout]] = deque()

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
        share = outputs.get('negatives', torch.ones(()))
        self._coming.append((runner.iter, Readout(share)))
        while self._coming and self._coming[0][1].ready():
            self._see(runner, *self._coming.popleft())

    def _see(self, runner: Runner, iteration: int, share: 'Readout') -> None:
        if share.value() > 0:
            self._in_a_row = 0
            return
        self._found, self._in_a_row = self._found + 1, self._in_a_row + 1
        if self._found == 1:
            runner.logger.warning(
                f'the batch of iteration {iteration} has no two clips to tell apart '
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
        while self._coming:
            self._see(runner, *self._coming.popleft())
        if self._found:
            runner.logger.warning(
                f'{self._found} batches of this run had no two clips to tell apart; '
                'they taught contrastive and matching losses nothing'
            )


class Readout:
    """A value that comes over from the device while training goes on."""

    def __init__(self, value: torch.Tensor):
        self._value, self._event = value.detach(), None
        if value.is_cuda:
            pinned = torch.empty_like(value, device='cpu', pin_memory=True)
            self._value = pinned.copy_(self._value, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def ready(self) -> bool:
        """Whether it has come, so that nobody would wait."""
        return self._event is None or self._event.query()

    def value(self) -> float:
        """Wait for it if need be."""
        if self._event is not None:
            self._event.synchronize()
        return float(self._value)


def log_interval(runner: Runner) -> int:
    """Every how many iterations a runner logs; 1 without a logger."""
    loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
    return math.gcd(*(hook.interval for hook in loggers)) or 1


@HOOKS.register_module()
class RuntimeInfoHook(_RuntimeInfoHook):
    """mmengine's hook, which reads the values of all steps in one when they are logged.

    mmengine's reads each value behind each step, for which the host waits until the
    device has done it, and has nothing ready for it then. Losses, and the gradient's
    norm of :class:`~.optim.BF16OptimWrapper`, are read at once every ``interval``
    steps of ``LoggerHook``, and behind the last.
    """

    def __init__(self):
        self._steps: list[dict[str, Any]] = []

    def before_train(self, runner: Runner) -> None:
        """Find how often values are logged.

        Args:
            runner: The runner of the training process.
        """
        super().before_train(runner)
        self._interval = log_interval(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the values, and read them if they are due.

        Args:
            runner: The runner.
            batch_idx: Index of the batch.
            data_batch: The batch.
            outputs: The values to log.
        """
        norm = getattr(runner.optim_wrapper, 'last_grad_norm', None)
        norms = {} if norm is None else dict(grad_norm=norm)
        if norms:  # an iteration that only accumulates has none
            runner.optim_wrapper.last_grad_norm = None
        self._steps.append({**norms, **(outputs or {})})
        last = self.end_of_epoch(runner.train_dataloader, batch_idx)
        last = last or runner.iter + 1 >= runner.max_iters
        if last or self.every_n_inner_iters(batch_idx, self._interval):
            self.read(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Let the checkpoint's history have all values, for a resumed run's log.

        Args:
            runner: The runner.
            checkpoint: What is about to be saved; its ``message_hub`` is changed.
        """
        if self._steps and 'message_hub' in checkpoint:
            self.read(runner)
            scalars = runner.message_hub.state_dict()['log_scalars']
            checkpoint['message_hub']['log_scalars'] = scalars

    def read(self, runner: Runner) -> None:
        """Hand the values kept so far to the message hub.

        Args:
            runner: The runner.
        """
        named = [item for step in self._steps for item in step.items()]
        self._steps = []
        device = next((v.device for _, v in named if torch.is_tensor(v)), None)
        values = [
            torch.as_tensor(v, dtype=torch.float64, device=device).mean()
            for _, v in named
        ]
        numbers = torch.stack(values).tolist() if values else []
        for (name, _), number in zip(named, numbers, strict=True):
            runner.message_hub.update_scalar(f'train/{name}', number)
