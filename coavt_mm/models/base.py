"""What training asks of every model: losses that compile, values of all ranks."""

import fnmatch
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModel
from torch import Tensor, nn

from coavt_mm.errors import ConfigError
from coavt_mm.models.watched import Watched

Model = TypeVar('Model', bound='TrainedModel')


class TrainedModel(BaseModel):
    """A model whose ``loss`` leaves what runs on the device to ``compute_losses``.

    Attributes:
        compiled: Whether ``compute_losses`` is.
        watched: What the last losses were made of, for a look at their health.
    """

    compiled = False
    watched: Watched | None = None
    _frozen: tuple[nn.Module, ...] = ()

    def freeze(self, names: Iterable[str]) -> None:
        """Let parts stay as they are loaded: no gradient, and always in eval mode.

        Args:
            names: Of modules inside this model, such as 'av_encoder', or patterns of
                such names, as 'av_encoder.*_blocks.[0-5]'.

        Raises:
            ConfigError: It has no such module.
        """
        modules = {name: part for name, part in self.named_modules() if name}
        for name in names:
            found = fnmatch.filter(modules, name)
            if not found:
                raise ConfigError(
                    f'{type(self).__name__}: frozen={name!r} is none of its parts: '
                    f'{", ".join(dict(self.named_children()))}, nor a module in them'
                )
            for part in (modules[key] for key in found):
                part.requires_grad_(False)
                self._frozen = (*self._frozen, part)

    def train(self: Model, mode: bool = True) -> Model:
        """Set the mode; what is frozen stays in eval mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

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


def check_losses(
    head: str, losses: Collection[str], others: Collection[str], trained: bool
) -> None:
    """Refuse what a head gives where some of it would be lost.

    Args:
        head: Its name in the model, for the message.
        losses: The names of what it gives.
        others: The names that heads before it gave.
        trained: Whether it has a loss.

    Raises:
        ConfigError: A name is given twice, or nothing of it is trained.
    """
    twice = [name for name in losses if name in others]
    if twice:
        raise ConfigError(
            f'CoAVT: {head} gives {", ".join(twice)}, as another head does, whose '
            'value would be lost; name it otherwise'
        )
    if trained and losses and not any('loss' in name for name in losses):
        raise ConfigError(
            f'CoAVT: {head} gives {", ".join(losses)}, none of which is trained: the '
            "name of a loss has 'loss' in it"
        )


def check_passes(av_encoder: Any, av_head: Any) -> None:
    """Refuse a contrast of sound and picture whose tokens have seen each other."""
    if av_head is not None and getattr(av_encoder, 'one_pass', False):
        raise ConfigError(
            'CoAVT: with one_pass in the av_encoder the tokens of the sound have seen '
            'the picture, so that av_head would have nothing to learn; leave one out'
        )


def checked_names(heads: dict, taken: Sequence[str]) -> dict:
    """The extra heads, if each has a name that nothing else has."""
    if not isinstance(heads, dict):
        raise ConfigError(
            f'CoAVT: extra_heads is a {type(heads).__name__}, but must be a dict of '
            "name -> head, such as dict(area=dict(type='AreaHead'))"
        )
    for name in heads:
        if name in taken or '.' in name or hasattr(nn.ModuleDict, name):
            raise ConfigError(f'CoAVT: extra_heads.{name}: take another name')
    return heads
