"""An own hook."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from coavt_mm.engine.weights import bare_model
from coavt_mm.errors import ConfigError
from coavt_mm.registry import HOOKS


@HOOKS.register_module()
class ThawHook(Hook):
    """Keep a part of the model as it is until an iteration.

    Args:
        part: Of the model, such as 'text_encoder'.
        iteration: The first one that trains it, from 0.

    Raises:
        ConfigError: If the model has no such part.
    """

    def __init__(self, part: str, iteration: int):
        self.part, self.iteration = part, iteration

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Freeze or thaw; a resumed run does what the iteration asks for, too."""
        part = getattr(bare_model(runner), self.part, None)
        if part is None:
            raise ConfigError(f'ThawHook: the model has no {self.part!r}')
        trains = runner.iter >= self.iteration
        if any(p.requires_grad != trains for p in part.parameters()):
            part.requires_grad_(trains)
            runner.logger.info(f'{self.part} {"is trained" if trains else "rests"}')
