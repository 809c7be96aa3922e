"""FSDP2: parameters, gradients and the optimiser's state shared out over processes.

``model_wrapper_cfg=dict(type='FSDP2')`` shards the model where DDP would copy it; all
else of a config stays. Checkpoints are those of any run: each holds whole tensors, so
that a run goes on with DDP, with FSDP2, or with another number of processes.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from coavt_mm.errors import ConfigError

#: torch 2.6 lacks what FSDP2 asks of a CPU's streams
SHARDS_ON_CPU = hasattr(torch.cpu.Stream, 'record_event')


def shard(model: nn.Module, reshard_after_forward: bool = True) -> nn.Module:
    """Shard a model over all processes, in place.

    Each member of a ``ModuleList`` (a block of an encoder, a layer of BERT or of the
    queries) is gathered by itself when it runs, what lies outside of them with the
    model. The scalars of a model, such as a temperature, get one dimension.

    Args:
        model: On its device, with equal weights on all processes.
        reshard_after_forward: Free a block's gathered weights behind its forward pass
            and gather them again for its backward pass (ZeRO-3), or keep them (ZeRO-2).

    Returns:
        The model, whose parameters are ``DTensor``. It loads whole tensors, the same
        ones on all processes.
    """
    mesh = init_device_mesh(get_device(), (get_world_size(),))
    scalars = [name for name, p in model.named_parameters() if p.ndim == 0]
    for name in scalars:
        parameter = model.get_parameter(name)
        parameter.data = parameter.data.reshape(1)
    options: dict[str, Any] = dict(
        mesh=mesh, reshard_after_forward=reshard_after_forward
    )
    blocks = [
        block
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        for block in module
    ]
    for block in blocks:
        # its keys and values are asked for outside of the layer's forward pass
        inner = getattr(block, 'cross_attn', None)
        if inner is not None:
            fully_shard(inner, **options)
            register_fsdp_forward_method(inner, 'keys_values')
        fully_shard(block, **options)
    fully_shard(model, **options)
    vars(model)['scalars'] = scalars
    model.register_load_state_dict_pre_hook(_scatter)
    return model


def sharded_model(runner: Runner, options: Mapping, model: nn.Module) -> nn.Module:
    """What a runner trains where the config asks for FSDP2.

    Args:
        runner: The runner.
        options: ``model_wrapper_cfg`` without its type, see :func:`shard`.
        model: The model.

    Returns:
        The model; as it is in a single process, which has nothing to share out.

    Raises:
        ConfigError: There is no such option, or the installed torch cannot do it here.
    """
    unknown = sorted({*options} - {'reshard_after_forward'})
    if unknown:
        raise ConfigError(
            f'model_wrapper_cfg: FSDP2 has no option {unknown[0]!r}; there is '
            'reshard_after_forward'
        )
    model = model.to(get_device())
    if runner.distributed and get_device() == 'cpu' and not SHARDS_ON_CPU:
        raise ConfigError(
            f'model_wrapper_cfg: torch {torch.__version__} shards on GPUs only; on the '
            'CPU take a later one, or leave type="FSDP2" out'
        )
    if not runner.distributed:
        runner.logger.info('FSDP2: one process, nothing is sharded')
        return model
    runner.model = model
    runner._init_model_weights()  # before it is sharded; training asks for it later
    model = shard(model, **options)
    # an average of weights begins with a copy, which FSDP2 does not make
    vars(model)['__deepcopy__'] = lambda memo: _copy(runner, model, options)
    return model


def add_hooks(runner: Runner) -> None:
    """Register what a sharded model needs, if it is one.

    Args:
        runner: Before it trains or tests.
    """
    if is_sharded(runner.model):
        options = {**runner.cfg.model_wrapper_cfg}
        options.pop('type')
        runner.register_hook(ShardHook())
        runner.register_hook(ReshardHook(**options))


def _copy(runner: Runner, model: nn.Module, options: Mapping) -> nn.Module:
    """Another model of the run's config with the weights of this one, sharded as it."""
    other = shard(runner.build_model(runner.cfg.model).to(get_device()), **options)
    with torch.no_grad():
        for name, value in other.state_dict().items():
            value.copy_(model.state_dict()[name])
    return other


def is_sharded(model: nn.Module) -> bool:
    """Whether the parameters of a model lie in parts on several processes."""
    return isinstance(model, FSDPModule)


def local(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The parts of tensors that lie on this process; all of it where they are whole."""
    return [t.to_local() if isinstance(t, DTensor) else t for t in tensors]


def gather(
    checkpoint: dict, runner: Runner, keep: bool, only_scalars: bool = False
) -> None:
    """Let the tensors of a checkpoint be whole, in the host's memory.

    All processes have to ask for it together. One tensor is gathered at a time.

    Args:
        checkpoint: Weights and optimiser's state are replaced.
        runner: Whose model is sharded.
        keep: Whether this process wants them; for the others they are empty.
        only_scalars: Leave all but scalars in their parts.
    """
    scalars = {*runner.model.scalars}
    for part in {'state_dict', 'ema_state_dict'} & checkpoint.keys():
        checkpoint[part] = copy.copy(checkpoint[part])  # it has metadata
        for name, value in checkpoint[part].items():
            is_scalar = name.removeprefix('module.') in scalars
            if is_scalar or not only_scalars:
                checkpoint[part][name] = _whole(value, keep, is_scalar)
    if 'optimizer' not in checkpoint:
        return
    stored = checkpoint['optimizer'] = {**checkpoint['optimizer']}
    ids = {id(runner.model.get_parameter(name)) for name in scalars}
    number_ids = {i for i, p in enumerate(_trained(runner)) if id(p) in ids}
    stored['state'] = {
        index: {
            name: _whole(value, keep, index in number_ids)
            if index in number_ids or not only_scalars
            else value
            for name, value in state.items()
        }
        for index, state in stored['state'].items()
    }


def _whole(value: Any, keep: bool, is_scalar: bool) -> Any:
    if not isinstance(value, DTensor):
        return value
    whole = value.full_tensor()
    if not keep:
        return whole.new_empty(0, device='cpu')
    return (whole.reshape(()) if is_scalar else whole).cpu()


def _trained(runner: Runner) -> list[Tensor]:
    """Parameters in the order in which the optimiser counts them."""
    groups = runner.optim_wrapper.optimizer.param_groups
    return [parameter for group in groups for parameter in group['params']]


def _scatter(module: nn.Module, weights: dict, prefix: str, *args: Any) -> None:
    """Put parts of whole tensors in their place before a sharded model loads them."""
    for name, parameter in module.named_parameters(prefix.removesuffix('.')):
        if name in weights:
            weights[name] = _part(weights[name], parameter)


def _part(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor as this process holds a parameter of its size."""
    if isinstance(value, DTensor) or not isinstance(parameter, DTensor):
        return value
    if value.numel() != parameter.numel():
        return value  # who loads it says so
    value = value.to(parameter.device).reshape(parameter.shape)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements)


class ShardHook(Hook):
    """Bring the optimiser's state into parts, and a model together to evaluate it.

    So a metric may ask the model for what it likes, on one process or all.
    """

    priority = 'LOWEST'  # behind what changes a checkpoint, or exchanges weights

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put parts of the optimiser's whole tensors in their place.

        Args:
            runner: The runner.
            checkpoint: The checkpoint; the optimiser's state is replaced.
        """
        stored = checkpoint.get('optimizer')
        if stored and runner._resume:
            trained = _trained(runner)
            stored['state'] = {
                index: {
                    name: _part(value, trained[index]) if name != 'step' else value
                    for name, value in state.items()
                }
                for index, state in stored['state'].items()
            }

    def before_val_epoch(self, runner: Runner) -> None:
        """Gather the model, and keep it so.

        Args:
            runner: The runner.
        """
        model: Any = runner.model
        model.set_reshard_after_forward(False)
        for module in _sharded_parts(model):
            module.unshard()

    before_test_epoch = before_val_epoch


class ReshardHook(Hook):
    """Give back what was gathered to evaluate a model.

    Args:
        reshard_after_forward: Of :func:`shard`.
    """

    priority = 'VERY_HIGH'  # before what exchanges weights

    def __init__(self, reshard_after_forward: bool = True):
        self.reshard_after_forward = reshard_after_forward

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Let each process hold its parts again.

        Args:
            runner: The runner.
            metrics: Name of a metric -> value.
        """
        model: Any = runner.model
        model.set_reshard_after_forward(self.reshard_after_forward)
        model.set_reshard_after_forward(False, recurse=False)
        for module in _sharded_parts(model):
            module.reshard()

    after_test_epoch = after_val_epoch


def _sharded_parts(model: nn.Module) -> list[FSDPModule]:
    return [part for part in model.modules() if isinstance(part, FSDPModule)]
