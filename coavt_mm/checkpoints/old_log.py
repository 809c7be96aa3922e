"""Checkpoints with a pickled training log -> checkpoints of plain numbers."""

import os
import pickle
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch

from coavt_mm.checkpoint_files import load_from_local, unpickle
from coavt_mm.checksums import CHECKSUM
from coavt_mm.errors import CheckpointError
from coavt_mm.training_log import plain_history

_STATISTICS = ('min', 'max', 'current', 'mean')


class _History:
    """What is pickled of mmengine's ``HistoryBuffer``, as data."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


# found under the name of mmengine's
_History.__module__ = 'mmengine.logging.history_buffer'
_History.__name__ = _History.__qualname__ = 'HistoryBuffer'


def _statistic(owner: Any, name: str) -> str:
    """What the pickle's ``getattr`` gives: the name of a statistic, and no function."""
    if owner is _History and name in _STATISTICS:
        return name
    raise pickle.UnpicklingError(f'refused: getattr({owner!r:.60}, {name!r:.60})')


def convert_log(source: str | PathLike, out: str | PathLike) -> int:
    """Write a checkpoint anew, with its training log as plain numbers.

    That is what files of mmengine's own hook, and of this package's first runs, need
    before they are read. All else stays as it is, so the run can be resumed. Nothing
    that the file asks for is run.

    Args:
        source: The old checkpoint.
        out: Where to; may be the same.

    Returns:
        Number of scalars in the log.

    Raises:
        CheckpointError: If the file is missing, damaged, asks for something else than
            a training log, or can't be written.
    """
    path = Path(source)
    if not path.is_file():
        raise CheckpointError(f'{path}: there is no such checkpoint file.')
    getters = [(_statistic, f'{name}.getattr') for name in ('builtins', '__builtin__')]
    content = unpickle(fspath(path), 'cpu', [_History, *getters])
    hub = content.get('message_hub') if isinstance(content, dict) else None
    scalars = hub.get('log_scalars') if isinstance(hub, dict) else None
    if not isinstance(scalars, dict):
        raise CheckpointError(f'{path}: there is no training log in it to convert')
    for name, part in scalars.items():
        if isinstance(part, _History):
            scalars[name] = _plain(path, name, part.state)
    _write(content, Path(out))
    return len(scalars)


def _plain(path: Path, name: Any, state: Any) -> dict[str, Any]:
    try:
        parts = (state[key] for key in ('_log_history', '_count_history', 'max_length'))
        return plain_history(*parts)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f'{path}: {name!r:.80} of its training log is no history of numbers'
        ) from error


def _write(content: dict, out: Path) -> None:
    """Write beside, read as all readers will, then rename."""
    part = out.with_name(f'.{out.name}.part')
    try:
        torch.save(content, part)
        load_from_local(fspath(part), 'cpu')
        Path(f'{out}{CHECKSUM}').unlink(missing_ok=True)
        os.replace(part, out)
    except (OSError, RuntimeError, pickle.PicklingError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f'{out}: can not be written ({reason[0]})') from error
    finally:
        part.unlink(missing_ok=True)
