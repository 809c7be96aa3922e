"""The one routine all converters share: read, rename by a table, account for it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from coavt_mm.checkpoint_files import plain_names
from coavt_mm.compat import load_from_local
from coavt_mm.errors import CheckpointError, shown
from coavt_mm.registry import MODELS

Source = str | PathLike | Mapping

#: Keys under which the ancestors' releases, and we, put the state dict.
WRAPPERS = ('state_dict', 'model', 'model_state_dict', 'module')


@dataclass(frozen=True)
class Rule:
    r"""One row of a table of names; the first row whose pattern matches is used.

    Attributes:
        pattern: Regular expression over the whole old name.
        names: New names, with ``\1`` for groups of the pattern; none drops the tensor
            on purpose.
        reason: Why it is dropped, or what ``transform`` does.
        transform: Old tensor -> new tensor.
    """

    pattern: str
    names: Sequence[str] = ()
    reason: str = ''
    transform: Callable[[Tensor], Tensor] | None = None


@dataclass
class Report:
    """What happened to every tensor, by name.

    Attributes:
        kind: Kind of checkpoint.
        matched: New name -> old name.
        dropped: Old name -> why it was left out on purpose.
        unexpected: Old names that the table doesn't know.
        missing: New names that nothing fills.
        changed: New name -> how the tensor's shape was changed.
        mismatched: New name -> shape that came and shape expected.
        initialised: New name -> how a tensor that the ancestor doesn't have was made.
        notes: What else a user should know.
    """

    kind: str
    matched: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    mismatched: dict[str, str] = field(default_factory=dict)
    initialised: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Share of the tensors expected from the checkpoint that it filled."""
        filled = len(self.matched.keys() - self.mismatched.keys())
        wanted = len(self.matched) + len(self.missing)
        return filled / wanted if wanted else 0.0

    def __str__(self) -> str:
        lines = [
            f'{self.kind}: {100 * self.share:.1f} % of the expected tensors matched'
        ]
        matched = {f'{old} -> {new}': '' for new, old in self.matched.items()}
        for title, names in (
            ('matched', matched),
            ('initialised', self.initialised),
            ('shape changed', self.changed),
            ('dropped on purpose', self.dropped),
            ('missing', self.missing),
            ('unexpected', self.unexpected),
            ('of a wrong shape', self.mismatched),
            ('notes', self.notes),
        ):
            lines.append(f'{title}: {len(names)}')
            why = names if isinstance(names, dict) else dict.fromkeys(names, '')
            lines += _folded(why)
        return '\n'.join(map(shown, lines))


def _folded(reasons: dict[str, str]) -> list[str]:
    """Lines that name tensors; those of all layers, and equal reasons, said once."""
    groups: dict[str, dict[str, list[str]]] = {}
    for name, reason in reasons.items():
        sides = (re.sub(r'\.\d+\.', '.*.', x, count=1) for x in name.split(' -> '))
        groups.setdefault(reason, {}).setdefault(' -> '.join(sides), []).append(name)
    lines = []
    for reason, layers in groups.items():
        said = [f'{x} ({len(names)})' if len(names) > 1 else names[0]
                for x, names in layers.items()]  # fmt: skip
        if reason and len(said) == 1:
            lines.append(f'  {said[0]}: {reason}')
            continue
        lines += [f'  {reason}:'] if reason else []
        lines += [f'    {x}' if reason else f'  {x}' for x in said]
    return lines


@dataclass
class Converted:
    """A converted checkpoint.

    Attributes:
        state_dict: For ``load_state_dict(..., strict=True)``.
        model_cfg: What ``MODELS.build`` takes; sizes are the checkpoint's.
        report: What happened to every tensor.
    """

    state_dict: dict[str, Tensor]
    model_cfg: dict
    report: Report


def read_state_dict(
    source: Source, where: str = 'the given state dict'
) -> dict[str, Tensor]:
    """Tensors by name, without the wrappers and prefixes of common releases.

    What torch.compile, DDP and averages of weights put before the names is taken off,
    see :func:`~coavt_mm.checkpoint_files.plain_names`.

    Args:
        source: A ``.pth``, ``.bin`` or ``.safetensors`` file, or what was read from
            one. Files are read without running code.
        where: Name of what was read, for messages.

    Returns:
        The state dict.

    Raises:
        CheckpointError: If it is damaged, unsafe, or holds no state dict.
    """
    if isinstance(source, str | PathLike):
        where, source = fspath(source), load_from_local(fspath(source), 'cpu')
    for key in WRAPPERS:
        if isinstance(source, Mapping) and isinstance(source.get(key), Mapping):
            source = source[key]
    if not isinstance(source, Mapping) or not source:
        raise CheckpointError(f'{where}: holds no state dict (tensors by name)')
    odd = [str(k) for k, v in source.items() if not isinstance(v, Tensor)]
    if odd:
        raise CheckpointError(
            f'{where}: {odd[0]!r} is not a tensor; expected tensors by name, or these '
            f'under one of the keys {", ".join(WRAPPERS)}'
        )
    stored_numbers(source, where)
    return plain_names(source, where, inner=True)


def stored_numbers(state: Mapping[str, Tensor], where: str) -> int:
    """Numbers that a file has, each counted once.

    Args:
        state: Its tensors by name.
        where: Its name, for the message.

    Returns:
        How many there are.

    Raises:
        CheckpointError: If a tensor shows more: a small file would fill the memory once
            its tensors are copied.
    """
    stored: dict[int | str, int] = {}
    for name, tensor in state.items():
        key: int | str = name
        size = 0
        if tensor.layout is torch.strided:
            size = tensor.numel()
            if tensor.device.type != 'meta':
                storage = tensor.untyped_storage()
                key, size = storage.data_ptr(), len(storage) // tensor.itemsize
        if tensor.numel() > size:  # a view that shows a number many times, or sparse
            raise CheckpointError(
                f'{where}: {name!r:.100} shows {tensor.numel()} numbers, the file has '
                f'{size} of them'
            )
        stored[key] = size
    return sum(stored.values())


def require(state: Mapping[str, Tensor], names: Sequence[str], kind: str) -> None:
    """Refuse a checkpoint of another kind before its sizes are read.

    Raises:
        CheckpointError: If one of the names is not there.
    """
    absent = [name for name in names if name not in state]
    if absent:
        seen = ', '.join(list(state)[:3])
        raise CheckpointError(
            f'this is not a {kind} checkpoint: it has no {absent[0]!r}; it has '
            f'{len(state)} tensors, such as {seen}'
        )


def rename(
    state: Mapping[str, Tensor], table: Sequence[Rule], report: Report
) -> dict[str, Tensor]:
    """Give every tensor its new name, and write down what was done.

    Args:
        state: Old name -> tensor.
        table: Rows of names.
        report: Filled here.

    Returns:
        New name -> tensor.
    """
    renamed = {}
    for old, tensor in state.items():
        match, rule = _first_match(old, table)
        if match is None:
            report.unexpected.append(old)
            continue
        if not rule.names:
            report.dropped[old] = rule.reason
        for template in rule.names:
            new = match.expand(template)
            if new in renamed:
                raise CheckpointError(
                    f'{report.kind}: {old!r} and {report.matched[new]!r} are both '
                    f'{new!r}; the checkpoint mixes two ways of naming'
                )
            report.matched[new] = old
            # a copy of its own for each name: safetensors refuses shared memory
            renamed[new] = (rule.transform or Tensor.clone)(tensor)
            if renamed[new].shape != tensor.shape:
                report.changed[new] = (
                    f'{tuple(tensor.shape)} -> {tuple(renamed[new].shape)}, '
                    f'{rule.reason}'
                )
    return renamed


def _first_match(name: str, table: Sequence[Rule]):
    for rule in table:
        match = re.fullmatch(rule.pattern, name)
        if match is not None:
            return match, rule
    return None, None


class _WithoutInit(TorchFunctionMode):
    """Nothing is drawn for weights without memory: there, torch's compiler is
    imported for it, which takes as long as a third of torch."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is nn.init.normal_:
            return kwargs['tensor']
        return func(*args, **(kwargs or {}))


def skeleton(model_cfg: dict) -> nn.Module:
    """The model with names and shapes only, without memory for its weights."""
    with torch.device('meta'), _WithoutInit():
        # whatever the process's default scope is
        return MODELS.build(dict(model_cfg, _scope_=MODELS.scope))


def finish(
    state: dict[str, Tensor],
    model_cfg: dict,
    report: Report,
    min_share: float = 1.0,
) -> Converted:
    """Compare with the model of ``model_cfg``; an incomplete conversion is an error.

    Args:
        state: New name -> tensor.
        model_cfg: Config of the model.
        report: Completed here.
        min_share: Least share of the expected tensors, all by default.

    Raises:
        CheckpointError: If tensors are missing, unknown or of another shape.
    """
    wanted = skeleton(model_cfg).state_dict()
    report.missing = [name for name in wanted if name not in state]
    report.unexpected += [report.matched.pop(n) for n in state.keys() - wanted.keys()]
    for name in state.keys() & wanted.keys():
        if state[name].shape != wanted[name].shape:
            report.mismatched[name] = (
                f'{tuple(state[name].shape)}, expected {tuple(wanted[name].shape)}'
            )
    wrong = report.missing or report.unexpected or report.mismatched
    if wrong or report.share < min_share:
        raise CheckpointError(_explain(report, min_share))
    ordered = {name: state[name].contiguous() for name in wanted}
    return Converted(ordered, model_cfg, report)


def _explain(report: Report, min_share: float) -> str:
    parts = [
        f'{len(names)} {title} ({", ".join(map(str, list(names)[:4]))}'
        f'{", ..." if len(names) > 4 else ""})'
        for title, names in (
            ('missing', report.missing),
            ('unexpected', report.unexpected),
            ('of a wrong shape', [f'{k}: {v}' for k, v in report.mismatched.items()]),
        )
        if names
    ]
    return (
        f'this {report.kind} checkpoint is not as expected: '
        f'{100 * report.share:.1f} % of the expected tensors match, at least '
        f'{100 * min_share:g} % must; ' + '; '.join(parts)
    )


def checked_heads(num_heads: int, dims: int) -> int:
    """The number of attention heads, which no tensor tells.

    Raises:
        CheckpointError: If so many do not share the width.
    """
    if num_heads < 1 or dims % num_heads:
        raise CheckpointError(
            f'a width of {dims} can not be shared by {num_heads} attention heads; no '
            'tensor tells how many there are, so say it: --num-heads'
        )
    return num_heads


def count_layers(state: Mapping[str, Tensor], pattern: str) -> int:
    """Number of layers whose names match a pattern with the index as group 1."""
    found = {int(m[1]) for m in (re.match(pattern, n) for n in state) if m}
    return max(found) + 1 if found else 0
