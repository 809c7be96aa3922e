"""From a module to a program of torch.export's, and on to ONNX and to int8."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from inspect import signature
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from coavt_mm.errors import ConfigError

#: Rows of the largest batch; torch 2.6 wants a limit.
MOST_ROWS = 2**20
#: Above so many bytes weights lie beside an ONNX file: protobuf ends at 2 GiB.
MOST_BYTES = 1_800_000_000


def exported(
    name: str, graph: nn.Module, given: tuple[Tensor, ...], most_tokens: int
) -> ExportedProgram:
    """Trace a module for batches of any size.

    Args:
        name: For the message.
        graph: The module.
        given: An example of its inputs.
        most_tokens: Longest text, where axis 1 is a text; 0 where it is of fixed size.

    Raises:
        ConfigError: The module holds what can't be traced.
    """
    axes: dict[int, Any] = {0: Dim('batch', max=MOST_ROWS)}
    if most_tokens:
        axes[1] = Dim('tokens', max=most_tokens)
    shapes: Any = tuple(axes for _ in given)
    parameters = signature(graph.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):  # the last one
        shapes = (*shapes[: len(parameters) - 1], shapes[len(parameters) - 1 :])
    with _refused(name), quiet(), torch.no_grad():
        graph = without_unused(graph, given)
        return torch.export.export(graph, given, dynamic_shapes=shapes, strict=False)


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """What the exporters can't do, parts of the user's own perhaps, is one line."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [''])[0]
        raise ConfigError(
            f'{name} can not be exported ({type(error).__name__}: {reason:.300})'
        ) from error


def without_unused(graph: nn.Module, given: tuple[Tensor, ...]) -> nn.Module:
    """Copy a module without the weights that its outputs don't depend on.

    A file of one stream would carry those of all the others.

    Args:
        graph: The module.
        given: An example of its inputs.
    """
    graph = copy.deepcopy(graph).requires_grad_(True)
    with torch.enable_grad():
        found = graph(*given)
        total = sum(x.sum() for x in (found if isinstance(found, tuple) else (found,)))
        weights = list(graph.parameters())
        used = torch.autograd.grad(total, weights, allow_unused=True)
    unused = {id(w) for w, g in zip(weights, used, strict=True) if g is None}
    for module in graph.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if id(weight) in unused:
                setattr(module, name, None)
    return graph.requires_grad_(False)


def save_torch(program: ExportedProgram, path: Path) -> None:
    """Write a .pt2, which ``torch.export.load`` reads."""
    torch.export.save(program, path)


def save_onnx(program: ExportedProgram, graph: Any, path: Path) -> None:
    """Write an .onnx file.

    Args:
        program: The traced module.
        graph: The module, with names of its inputs and outputs.
        path: The file.
    """
    size = sum(weight.nbytes for weight in program.state_dict.values())
    with _refused(path.name), quiet():
        torch.onnx.export(
            program,
            f=path,
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            external_data=size > MOST_BYTES,
        )


def quantise(source: Path, target: Path) -> None:
    """Write an ONNX file anew with weights of matrix products in 8 bits.

    Activations get their scale when it runs. Convolutions, among them those that make
    the spectrogram, stay as they are.

    Args:
        source: The file.
        target: The new file.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=['MatMul', 'Gemm'],
            per_channel=True,
            reduce_range=True,  # products of 8 bits overflow without VNNI
            weight_type=QuantType.QInt8,
            use_external_data_format=source.stat().st_size > MOST_BYTES,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """The exporters' own progress and warnings say nothing to a user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)
