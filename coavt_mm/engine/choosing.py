"""Which checkpoint of a work dir a run goes on from: the newest that can be read."""

import re
from collections.abc import Iterator
from pathlib import Path

from coavt_mm.checkpoint_files import has_checksum, load_from_local
from coavt_mm.errors import CheckpointError, shown

_SAVED = re.compile(r'(?:iter|epoch)_(\d+)\.pth')


def last_checkpoint(work_dir: str | Path) -> str | None:
    """The newest checkpoint that can be read, also after the folder has moved.

    First comes the one that the note ``last_checkpoint`` names, then those beside it
    that were saved before, newest first. A file is read if its checksum is right or,
    without one, if it can be loaded. What is skipped is said in a line.

    Args:
        work_dir: Of a run.

    Returns:
        Its path; None if the run left neither note nor checkpoints.

    Raises:
        CheckpointError: If none can be read, so that nobody begins anew unawares.
    """
    work_dir = Path(work_dir)
    named = noted_checkpoint(work_dir)
    here = [p for p in _places(work_dir, named or '') if p.exists()][:1]
    older = _saved(here[0].parent if here else work_dir, here or [Path(named or '')])
    skipped = []
    if named is not None and not here:
        note = work_dir / 'last_checkpoint'
        skipped.append(f'{note}: names {named!r}, which is no file here')
    for path in [*here, *older]:
        try:
            if path.is_file() and not has_checksum(str(path)):
                load_from_local(str(path), map_location='cpu')
        except CheckpointError as error:
            skipped.append(str(error))
            continue
        if skipped:
            reasons = shown('; '.join(skipped))
            print(f'{work_dir}: goes on from {path.name}. Skipped: {reasons}')
        return str(path.absolute())
    if skipped:
        raise CheckpointError(
            f'{"; ".join(skipped)}. No checkpoint here can be read; say which one to '
            'go on from: --resume CHECKPOINT'
        )
    print(f'{work_dir}: no last_checkpoint to go on from, a new run begins')
    return None


def noted_checkpoint(work_dir: str | Path) -> str | None:
    """What the note ``last_checkpoint`` of a work dir says; None where there is none.

    Args:
        work_dir: Of a run; its name, and so the note, may have bytes that are no UTF-8.
    """
    note = Path(work_dir) / 'last_checkpoint'
    if not note.is_file():
        return None
    return note.read_text('utf-8', 'surrogateescape').strip()


def _places(work_dir: Path, named: str) -> Iterator[Path]:
    """Where a note's checkpoint may lie: where it was, or here. Of no other kind."""
    if named.endswith('.pth') and '://' not in named:
        yield Path(named)
        yield work_dir / Path(named).name


def _saved(folder: Path, last: list[Path]) -> list[Path]:
    """Checkpoints of a folder, newest first; of another run may be those behind the
    last of this one.
    """
    found = [(match, p) for p in folder.glob('*.pth')
             if (match := _SAVED.fullmatch(p.name))]  # fmt: skip
    numbers = [int(m[1]) for p in last if (m := _SAVED.fullmatch(p.name))]
    older = [(int(m[1]), p) for m, p in found if int(m[1]) < min([*numbers, 1 << 63])]
    return [path for _, path in sorted(older, reverse=True)]
