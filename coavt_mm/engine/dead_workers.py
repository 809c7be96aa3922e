"""What a loader's worker was reading when it died, which the next start leaves out."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from coavt_mm.datasets.reading import list_entry, read_list
from coavt_mm.errors import ClipError, ManifestError, shown

_DIED = re.compile(r'DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\)')
# in the work dir: ids as `exclude` takes them
NOTE = 'killed_workers.txt'
# where workers put batches on Linux
SHARED_MEMORY = '/dev/shm'


@contextmanager
def naming_what_was_read(runner: Any) -> Iterator[None]:
    """Say which clips dead workers were reading, and note their ids.

    Args:
        runner: With ``work_dir`` and loaders.

    Raises:
        ClipError: A worker died within the block. By a bus error, which full shared
            memory ends in: no clip is noted.
    """
    try:
        yield
    except RuntimeError as error:
        found = _DIED.search(str(error))
        if found is None:
            raise
        pids = {int(number) for number in re.findall(r'\d+', found[1])}
        raise _died(runner, pids, _reason(error)) from error


def _reason(error: BaseException) -> str:
    """What is said of the signal, where it came while torch looked for data, too."""
    by_signal = error.__cause__ if 'by signal' in str(error.__cause__) else error
    return str(by_signal).strip().splitlines()[0]


def _died(runner: Any, pids: set[int], reason: str) -> ClipError:
    names = sorted({name for part in _parts(runner) for name in part.read_by(pids)})
    if not names:
        return ClipError(f'{reason} What it was reading is not known')
    if 'Bus error' in reason:
        return ClipError(
            f'{reason} {_shared_memory()}. If that is little, use fewer num_workers, '
            'or give a container more with --ipc=host or --shm-size=16g. If it is not, '
            f'one of {", ".join(names)} is to blame, which the worker was reading'
        )
    note = Path(runner.work_dir) / NOTE
    try:
        lines = [f'{list_entry(name)}\n' for name in names]
        with note.open('a', encoding='utf-8') as file:
            file.writelines(lines)
    except (OSError, ManifestError, UnicodeError) as failed:
        return ClipError(f'{reason} It was reading {names}; not noted ({failed})')
    return ClipError(
        f'{reason} It was reading {", ".join(names)}, noted in {note}: the next start '
        'leaves out what is noted, where on_error is skip. With isolate=True of '
        'LoadFrames and LoadAudio it would cost the clip alone'
    )


def _shared_memory() -> str:
    try:
        found = shutil.disk_usage(SHARED_MEMORY)
    except OSError as error:
        return f'Shared memory can not be looked at ({error})'
    return f'{SHARED_MEMORY} has {found.total / 1e9:.2f} GB for batches of all workers'


def leave_out_noted(runner: Any) -> None:
    """Take what earlier runs noted for clips that can't be read, and say so.

    In data sets that skip such clips; another one raises what it meets, as ever.

    Args:
        runner: With ``work_dir``, ``logger`` and loaders.

    Raises:
        ManifestError: The note is no text.
    """
    note = Path(runner.work_dir) / NOTE
    noted = {*read_list(note)} if note.is_file() else set()
    for part in _parts(runner) if noted else ():
        if left_out := part.leave_out(noted, f'a worker died over it, see {note}'):
            runner.logger.warning(
                f'{part.ann_file}: left out is {shown(", ".join(left_out))}, over '
                f'which a worker of an earlier run died; to bring a clip back, take '
                f'its line out of {note}'
            )


def _parts(runner: Any) -> Iterator[Any]:
    """The data sets of a runner's loaders that know what is being read."""
    loaders = (
        getattr(runner, f'_{name}_dataloader') for name in ('train', 'val', 'test')
    )
    left = [x.dataset for x in loaders if isinstance(x, DataLoader)]
    while left:
        dataset = left.pop()
        left += [*getattr(dataset, 'datasets', [])]
        if hasattr(dataset, 'read_by'):
            yield dataset
