"""Weights into models by config: what was loaded is said, what doesn't fit is refused.

mmengine loads with ``strict=False`` and only warns, even if nothing matches.
"""

from collections import Counter

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper, update_init_info
from mmengine.runner import Runner
from torch import Tensor, nn

from coavt_mm.registry import HOOKS, WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class Converted:
    """Start a model, or a part of one, from converted or own weights.

    ``init_cfg=dict(type='Converted', checkpoint='cavmae.pth')``. Position tables of
    another clip length or picture size are interpolated; the log says what was done.

    Args:
        checkpoint (str): ``.pth`` or ``.safetensors`` file.
        prefix (str): Take only names that start so, such as 'av_encoder'. Defaults
            to all.
        min_share (float): Least share of these tensors that the model must know.
            Defaults to all.
    """

    def __init__(self, checkpoint: str, prefix: str = '', min_share: float = 1.0):
        self.checkpoint, self.prefix, self.min_share = checkpoint, prefix, min_share

    def __call__(self, module: nn.Module) -> None:
        """Load into the module.

        Args:
            module (nn.Module): The module whose ``init_cfg`` this is.

        Raises:
            CheckpointError: If the file is not readable or doesn't fit.
        """
        from coavt_mm.checkpoints import load_weights

        lines = load_weights(
            self.checkpoint, module, self.prefix, False, self.min_share
        )
        for line in (f'{type(module).__name__} from {self.checkpoint}', *lines):
            print_log(line, logger='current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'loaded from {self.checkpoint}')


@HOOKS.register_module()
class FitCheckpointHook(Hook):
    """Say what ``load_from`` loads, and refuse what doesn't fit.

    Position tables of another clip length or picture size are interpolated.

    Args:
        min_share (float): Least share of the checkpoint's tensors that the model must
            know. Defaults to 0.5, so that heads may come and go.
        rename (dict[str, str], optional): Part of another model's checkpoint -> part of
            this one, such as ``dict(av_encoder='backbone')`` to start a classifier from
            a CoAVT. Of such a checkpoint, parts that this model doesn't have at all are
            left out, and not counted. One that has none of the parts to rename (the
            model's own, on resume) is taken as it is.
    """

    priority = 'NORMAL'

    def __init__(self, min_share: float = 0.5, rename: dict[str, str] | None = None):
        self.min_share, self.rename = min_share, dict(rename or {})

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare with the model, and put a fitting state dict in its place.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint; ``state_dict`` is replaced.

        Raises:
            CheckpointError: If it doesn't fit.
        """
        from coavt_mm.checkpoints.conversion import read_state_dict
        from coavt_mm.checkpoints.own import fit

        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        state, lines = self._renamed(read_state_dict(checkpoint), model)
        checkpoint['state_dict'], more = fit(state, model, False, self.min_share)
        for line in lines + more:
            runner.logger.info(line)

    def _renamed(
        self, state: dict[str, Tensor], model: nn.Module
    ) -> tuple[dict[str, Tensor], list[str]]:
        """The state dict with this model's names, and lines for a log."""
        parts = Counter(name.partition('.')[0] for name in state)
        if not parts.keys() & self.rename.keys():
            return state, []
        own = {name.partition('.')[0] for name in model.state_dict()}
        kept = {p: self.rename.get(p, p) for p in parts}
        kept = {old: new for old, new in kept.items() if new in own}
        lines = [f'{old} goes into {new}' for old, new in kept.items()]
        lines += [f'{p} ({n} tensors) is left out' for p, n in parts.items()
                  if p not in kept]  # fmt: skip
        renamed = {}
        for name, tensor in state.items():
            part, dot, rest = name.partition('.')
            if part in kept:
                renamed[kept[part] + dot + rest] = tensor
        return renamed, lines
