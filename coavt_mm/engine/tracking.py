"""Curves in TensorBoard, a group for each kind."""

from typing import Any

from mmengine.visualization import TensorboardVisBackend as _TensorboardVisBackend

from coavt_mm.registry import VISBACKENDS

_SPEED = ('time', 'data_time', 'memory', 'iter', 'epoch')


@VISBACKENDS.register_module()
class TensorboardVisBackend(_TensorboardVisBackend):
    """mmengine's, which shows values by groups.

    ``loss_lm_AV`` is ``loss/lm_AV``, ``time`` and ``memory`` are under ``speed``, all
    else of training, such as ``lr``, is under ``train``. Metrics have groups of their
    own. Arguments are those of :class:`mmengine.visualization.TensorboardVisBackend`.
    """

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs) -> None:
        """Record a value.

        Args:
            name: As it is logged.
            value: A number.
            step: Steps trained.
            **kwargs: Nothing that is read.
        """
        super().add_scalar(grouped(name), value, step, **kwargs)


def grouped(name: str) -> str:
    """The name of a logged value with its group before it.

    Args:
        name: As it is logged.
    """
    if '/' in name:
        return name
    if name == 'loss' or name.startswith('loss_'):
        return f'loss/{name.removeprefix("loss_").replace("loss", "sum")}'
    return f'speed/{name}' if name in _SPEED else f'train/{name}'
