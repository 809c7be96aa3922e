"""Optimiser wrappers, weight decay and learning rates."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.optim import DefaultOptimWrapperConstructor, _ParamScheduler
from mmengine.optim import OptimWrapper as _OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from torch import nn
from torch.distributed.tensor import DTensor

from coavt_mm.engine.sharding import local
from coavt_mm.errors import ConfigError
from coavt_mm.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
)


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(_OptimWrapper):
    """mmengine's, which leaves out a step whose loss or gradient is not finite.

    A gradient whose norm overflows counts as such. A loss that is not finite makes all
    gradients of its process NaN, so that after they are averaged all processes leave
    out the same step. Weights and the optimiser's state stay as they were. A fused
    optimiser decides on the device; for another one the host waits for the answer.
    Arguments are those of :class:`mmengine.optim.OptimWrapper`.

    Attributes:
        last_skipped: Whether the last step was left out, a scalar on the device.
        last_norms: Parameters of the last step, and the norms of their gradients
            before they were clipped, (parameters,) on the device.
    """

    last_skipped: torch.Tensor | None = None
    last_norms: tuple[list[torch.Tensor], torch.Tensor] | None = None

    def backward(self, loss: torch.Tensor, **kwargs) -> None:
        """Propagate, NaN if the loss is not finite.

        Args:
            loss: A scalar.
            kwargs: Of :meth:`torch.Tensor.backward`.
        """
        if 'gradient' not in kwargs:
            one = torch.ones_like(loss)
            nan = torch.full_like(loss, math.nan)
            kwargs['gradient'] = torch.where(loss.detach().isfinite(), one, nan)
        super().backward(loss, **kwargs)

    def step(self, **kwargs) -> None:
        """Clip and update, or leave all as it was.

        Args:
            kwargs: Of the optimiser's ``step``.
        """
        skipped = self._found_inf()
        if self.clip_grad_kwargs:
            self._clip_grad()
        self.last_skipped = skipped
        optimizer: Any = self.optimizer
        if skipped is None:
            optimizer.step(**kwargs)
        elif getattr(optimizer, '_step_supports_amp_scaling', False):
            optimizer.found_inf = skipped.float()
            try:
                optimizer.step(**kwargs)
            finally:
                del optimizer.found_inf
        elif not skipped:
            optimizer.step(**kwargs)

    def _found_inf(self) -> torch.Tensor | None:
        params = [
            p
            for group in self.optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]
        if not params:
            return None
        # of order 2: on a CPU others are slow
        each = torch._foreach_norm(local(p.grad for p in params))
        norms = torch.stack([norm.float() for norm in each])
        if any(isinstance(p, DTensor) for p in params):  # of all parts
            norms = norms.square()
            all_reduce(norms)
            norms = norms.sqrt()
        self.last_norms = params, norms
        return ~norms.isfinite().all()


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, on the device where the model lies.

    bfloat16 has the exponent range of float32, so there is no loss scaler and the
    state is that of :class:`OptimWrapper`: a run may switch between the
    two and resume. mmengine's ``AmpOptimWrapper`` refuses to be built on a CPU.
    Accumulation, clipping and what is left out are inherited.

    Attributes:
        last_grad_norm: Of the last step that clipped, where it lies on a GPU: our
            ``RuntimeInfoHook`` reads it when it is logged; mmengine would wait for it.
    """

    last_grad_norm: torch.Tensor | None = None

    def _clip_grad(self) -> None:
        params = [
            p
            for group in self.optimizer.param_groups
            for p in group['params']
            if p.requires_grad and p.grad is not None
        ]
        if not params or not params[0].is_cuda:
            super()._clip_grad()
            return
        self.last_grad_norm = self.clip_func(params, **self.clip_grad_kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast to bfloat16, and hold gradient synchronisation back if asked.

        Args:
            model: The training model.
        """
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ScalarDecayConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with few groups, and scalars that are flat.

    mmengine's makes a group for each parameter, which an optimiser steps through one by
    one; here parameters of equal settings are one group. It counts parameters with one
    dimension as flat, but not those with none, such as a temperature;
    ``flat_decay_mult`` holds for them as well. A ``decay_mult`` among the
    ``custom_keys`` goes first.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: bool | None = None,
    ) -> None:
        """Add a group for each parameter of a module.

        Args:
            params: Groups so far; extended.
            module: Whose parameters are added.
            prefix: Its name in the model.
            is_dcn_module: mmengine's, for deformable convolutions.
        """
        first = len(params)
        super().add_params(params, module, prefix, is_dcn_module)
        mult = self.paramwise_cfg.get('flat_decay_mult')
        if mult is not None and self.base_wd is not None:
            for group in params[first:]:
                if group['params'][0].ndim == 0 and 'decay_mult' not in group:
                    group['weight_decay'] = self.base_wd * mult
        if not prefix:
            base = dict(lr=self.base_lr, weight_decay=self.base_wd)
            params[:] = _merged(
                [{**{k: v for k, v in base.items() if v is not None}, **group}
                 for group in params]
            )  # fmt: skip


def _merged(groups: list[dict]) -> list[dict]:
    """One group for all parameters whose settings are equal."""
    merged: dict[tuple, dict] = {}
    for group in groups:
        # a multiple is in the rate and the decay already
        settings = {
            k: v for k, v in group.items() if not k.endswith(('params', 'mult'))
        }
        own = merged.setdefault(tuple(sorted(settings.items())), {**settings})
        own.setdefault('params', []).extend(group['params'])
    return list(merged.values())


def merge_stored_groups(
    checkpoint: dict, optimizer: torch.optim.Optimizer, model: nn.Module
) -> None:
    """Let a checkpoint with a group for each parameter resume with merged groups.

    Args:
        checkpoint: What was read; ``optimizer`` and ``param_schedulers`` are changed,
            if they are so.
        optimizer: The run's.
        model: Whose parameters it trains.
    """
    stored = checkpoint.get('optimizer') or {}
    old = stored.get('param_groups', [])
    trained = [p for p in model.parameters() if p.requires_grad]
    position = {id(p): i for i, p in enumerate(trained)}
    if len(old) != len(position) or len(old) == len(optimizer.param_groups):
        return
    members = [[position[id(p)] for p in g['params']] for g in optimizer.param_groups]
    order = [index for group in members for index in group]
    first = [group[0] for group in members]
    ends = [sum(map(len, members[: i + 1])) for i in range(len(members))]
    checkpoint['optimizer'] = dict(
        stored,
        state={new: stored['state'][i] for new, i in enumerate(order)
               if i in stored['state']},
        param_groups=[
            {**old[i], 'params': [*range(end - len(group), end)]}
            for i, group, end in zip(first, members, ends, strict=True)
        ],
    )  # fmt: skip
    for scheduler in checkpoint.get('param_schedulers') or ():
        for name, values in scheduler.items():
            if isinstance(values, list) and len(values) == len(old):
                scheduler[name] = [values[i] for i in first]


@PARAM_SCHEDULERS.register_module()
class EpochCosineLR(LRSchedulerMixin, _ParamScheduler):
    """LAVIS' learning rate: warm-up inside the first epoch, then a cosine that is set
    once an epoch and counted from the first.

    Where the warm-up is longer than an epoch, the rate jumps at the end of the epoch.

    Args:
        optimizer: Whose rates are set.
        iters_per_epoch: Iterations that count as an epoch.
        epochs: The rate would reach ``eta_min`` at their end; what runs on keeps
            the last epoch's.
        warmup_iters: Iterations that the warm-up would take.
        start_factor: Rate at the start, as a share of the optimiser's.
        eta_min: Lowest rate.
        begin, end: First iteration, and the one behind the last.
        by_epoch: Must be set to False, as for all schedules by iterations.
        last_step: For resuming.
        verbose: Print each rate.
    """

    def __init__(
        self,
        optimizer: OptimWrapper,
        iters_per_epoch: int,
        epochs: int,
        warmup_iters: int = 0,
        start_factor: float = 1.0,
        eta_min: float = 0.0,
        begin: int = 0,
        end: int = int(1e9),
        by_epoch: bool = True,
        last_step: int = -1,
        verbose: bool = False,
    ):
        if by_epoch or iters_per_epoch < 1 or epochs < 1:
            raise ConfigError(
                'EpochCosineLR counts iterations: set by_epoch=False, and '
                'iters_per_epoch and epochs of 1 or more, not '
                f'{by_epoch}, {iters_per_epoch}, {epochs}'
            )
        self.iters_per_epoch, self.epochs = iters_per_epoch, epochs
        self.warmup_iters, self.start_factor = warmup_iters, start_factor
        self.eta_min = eta_min
        super().__init__(
            optimizer,
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    def _get_value(self) -> list[float]:
        """The rate of each group."""
        epoch = min(self.last_step // self.iters_per_epoch, self.epochs - 1)
        if not epoch:
            done = min(self.last_step / max(self.warmup_iters, 1), 1.0)
            share = self.start_factor + (1 - self.start_factor) * done
            return [share * base for base in self.base_values]
        share = (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        return [
            self.eta_min + share * (base - self.eta_min) for base in self.base_values
        ]
