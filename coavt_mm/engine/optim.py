"""Optimiser wrappers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from ..registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, on the device where the model lies.

    bfloat16 has the exponent range of float32, so there is no loss scaler and the
    state is that of :class:`mmengine.optim.OptimWrapper`: a run may switch between the
    two and resume. mmengine's ``AmpOptimWrapper`` refuses to be built on a CPU.
    Accumulation and clipping are inherited.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast to bfloat16, and hold gradient synchronisation back if asked.

        Args:
            model (nn.Module): The training model.
        """
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
