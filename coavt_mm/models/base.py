"""What training asks of every model: losses that compile, values of all ranks."""

from collections import OrderedDict

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModel
from torch import Tensor


class TrainedModel(BaseModel):
    """A model whose ``loss`` leaves what runs on the device to ``compute_losses``.

    Attributes:
        compiled: Whether ``compute_losses`` is.
    """

    compiled = False

    def compute_losses(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the losses, without waiting for the device: one graph.

        Args:
            inputs: What ``loss`` hands over, tensors alone.

        Returns:
            Scalars by name.
        """
        raise NotImplementedError

    def compile_losses(self, **options) -> None:
        """Let ``torch.compile`` make one graph of the losses.

        Args:
            options: Of ``torch.compile``, such as ``backend`` and ``mode``.
        """
        self.compiled = True
        self.compute_losses = torch.compile(  # type: ignore[method-assign]
            self.compute_losses, **options
        )

    def parse_losses(
        self, losses: dict[str, Tensor]
    ) -> tuple[Tensor, 'OrderedDict[str, Tensor]']:
        """Sum up what is trained; values to log are those of all ranks.

        A rank's own value is its share of a mean over all clips of all ranks (see
        :func:`~.layers.global_mean`), which says nothing by itself.

        Args:
            losses: Scalars by name.

        Returns:
            The loss of this rank, with its gradient, and what is logged.
        """
        total, values = super().parse_losses(losses)
        if get_world_size() > 1:
            every = torch.stack([value.detach().float() for value in values.values()])
            all_reduce(every, 'mean')
            values = OrderedDict(zip(values, every.unbind(), strict=True))
        return total, values
