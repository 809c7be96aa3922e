"""DDP that sends less."""

from typing import Any

from mmengine.model import MMDistributedDataParallel
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

from coavt_mm.errors import ConfigError
from coavt_mm.registry import MODEL_WRAPPERS

COMPRESSED = dict(
    bf16=default_hooks.bf16_compress_hook, fp16=default_hooks.fp16_compress_hook
)


@MODEL_WRAPPERS.register_module()
class DDP(MMDistributedDataParallel):
    """mmengine's, with gradients that are kept once, and sent in half precision.

    Args:
        module: The model.
        compress: 'bf16' or 'fp16', in which gradients are sent and averaged: half the
            bytes, and sums of fewer digits. None sends float32.
        gradient_as_bucket_view: Let gradients lie where they are sent from; it saves
            a copy of all of them.
        broadcast_buffers: Send those of the first process with each step.
        **kwargs: Of :class:`torch.nn.parallel.DistributedDataParallel`.

    Raises:
        ConfigError: There is no such precision.
    """

    def __init__(
        self,
        module: nn.Module,
        compress: str | None = None,
        gradient_as_bucket_view: bool = True,
        broadcast_buffers: bool = False,
        **kwargs: Any,
    ) -> None:
        if compress is not None and compress not in COMPRESSED:
            raise ConfigError(
                f'model_wrapper_cfg: compress={compress!r}; expected '
                f'{" or ".join(COMPRESSED)}, or None'
            )
        super().__init__(
            module,
            gradient_as_bucket_view=gradient_as_bucket_view,
            broadcast_buffers=broadcast_buffers,
            **kwargs,
        )
        if compress is not None:
            self.register_comm_hook(None, COMPRESSED[compress])
