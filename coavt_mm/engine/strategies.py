"""Strategies of mmengine's FlexibleRunner, with what our models need."""

from typing import Any

from mmengine._strategy import DeepSpeedStrategy as _DeepSpeedStrategy
from torch import nn

from coavt_mm.registry import STRATEGIES


@STRATEGIES.register_module()
class DeepSpeedStrategy(_DeepSpeedStrategy):
    """mmengine's; a model's scalars, such as a temperature, get one dimension.

    DeepSpeed sends parameters as bytes, which those without a dimension have not.
    Arguments are those of :class:`mmengine._strategy.DeepSpeedStrategy`.
    """

    def build_model(self, model: Any) -> nn.Module:
        """Build the model.

        Args:
            model: Built or as a config.
        """
        model = super().build_model(model)
        for parameter in model.parameters():
            if parameter.ndim == 0:
                parameter.data = parameter.data.reshape(1)
        return model
