"""Validation and test in the precision of the training."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.runner import Runner
from mmengine.runner import TestLoop as _TestLoop
from mmengine.runner import ValLoop as _ValLoop
from mmengine.runner.loops import _update_losses
from torch.utils.data import DataLoader

from coavt_mm.errors import ConfigError
from coavt_mm.registry import LOOPS

#: The names of precisions, and what autocast takes for them.
PRECISIONS = {'float32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


def trained_precision(runner: Runner) -> str:
    """The precision that the optimiser's wrapper trains in; float32 on a CPU."""
    if _device(runner) == 'cpu':
        return 'float32'
    wrapper: Any = runner.cfg.get('optim_wrapper') or {}
    kind = wrapper.get('type', '')
    name = (kind if isinstance(kind, str) else kind.__name__).split('.')[-1]
    if name == 'AmpOptimWrapper':
        dtype = wrapper.get('dtype') or 'float16'
        return 'bf16' if str(dtype).endswith('bfloat16') else 'fp16'
    return 'bf16' if name == 'BF16OptimWrapper' else 'float32'


def _device(runner: Runner) -> str:
    return next(runner.model.parameters()).device.type


class _Evaluation:
    """mmengine's loop, with a forward pass in the precision that is asked for."""

    kind: str

    def __init__(
        self: Any,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Any,
        precision: str | None = None,
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)  # type: ignore[call-arg]
        if fp16 and precision not in (None, 'fp16'):
            raise ConfigError(f'fp16=True and precision={precision!r}: leave one out')
        precision = 'fp16' if fp16 else precision or trained_precision(runner)
        if precision not in PRECISIONS:
            raise ConfigError(
                f'{self.kind}_cfg.precision={precision!r}; expected one of '
                f'{", ".join(PRECISIONS)}, or None for that of the training'
            )
        self.precision = precision
        for metric in self.evaluator.metrics:
            metric.precision = precision

    def _autocast(self: Any) -> AbstractContextManager:
        dtype = PRECISIONS[self.precision]
        if dtype is None:
            return nullcontext()
        return torch.autocast(_device(self.runner), dtype)

    @torch.no_grad()
    def run_iter(self: Any, idx: int, data_batch: Any) -> None:
        """Predict a batch, and hand it to the metrics.

        Args:
            idx: Which batch.
            data_batch: Of the loader.
        """
        call, model = self.runner.call_hook, self.runner.model
        about = dict(batch_idx=idx, data_batch=data_batch)
        call(f'before_{self.kind}_iter', **about)
        with self._autocast():
            outputs = getattr(model, f'{self.kind}_step')(data_batch)
        losses = f'{self.kind}_loss'
        outputs, updated = _update_losses(outputs, getattr(self, losses))
        setattr(self, losses, updated)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        call(f'after_{self.kind}_iter', **about, outputs=outputs)


@LOOPS.register_module()
class ValLoop(_Evaluation, _ValLoop):
    """mmengine's, in the precision of the training.

    Args:
        runner: Whose model is validated.
        dataloader: Built or as a config.
        evaluator: Built or as a config.
        precision: 'float32', 'bf16' or 'fp16', under autocast; None is that of the
            ``optim_wrapper`` on a GPU, and float32 on a CPU. Metrics have it in their
            reports.
        fp16: mmengine's way of asking for 'fp16'.

    Raises:
        ConfigError: The precision has another name.
    """

    kind = 'val'


@LOOPS.register_module()
class TestLoop(_Evaluation, _TestLoop):
    """mmengine's, in the precision of the training; arguments as of :class:`ValLoop`.

    Raises:
        ConfigError: The precision has another name.
    """

    kind = 'test'
