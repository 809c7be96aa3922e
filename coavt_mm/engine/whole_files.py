"""Files that are there whole or not at all, whenever the machine stops."""

import os
import os.path as osp
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import EIO
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from mmengine.fileio import LocalBackend, register_backend

from coavt_mm.checksums import CHECKSUM, PARTS
from coavt_mm.errors import CheckpointError

# one name for all: what a stopped run leaves is overwritten by the next save
UNFINISHED = 'unfinished.tmp'


class HashedFile:
    """A file that is hashed and forced to the disk while it is written.

    Two threads do so piece by piece behind the writer, who waits for the last only.

    Args:
        file: Opened for writing, by its name.
    """

    PIECE = 8 << 20  # bytes

    def __init__(self, file: BinaryIO):
        self._file, self._written, self._handed = file, 0, 0
        self._reader = open(file.name, 'rb')  # noqa: SIM115
        self._digest = sha256()
        self._hashing, self._syncing = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._pending: list[Future] = []
        self.error: OSError | None = None

    def __enter__(self) -> 'HashedFile':
        return self

    def __exit__(self, *exception: object) -> None:
        self._hashing.shutdown()
        self._syncing.shutdown()
        self._reader.close()

    def write(self, content: bytes | memoryview) -> int:
        """Write a piece.

        Args:
            content: The piece.

        Returns:
            Its length in bytes.
        """
        try:
            count = self._file.write(content)
            self._written += count
            if self._written - self._handed >= self.PIECE:
                self._hand_over()
        except OSError as error:  # torch would make another error of it
            self.error = error
            raise
        return count

    def flush(self) -> None:
        """Hand all to the system."""
        self._file.flush()

    def finish(self) -> str:
        """Wait until all of it is on the disk.

        Returns:
            Its checksum, sha256.

        Raises:
            OSError: If the disk refuses it.
        """
        self._hand_over()
        for done in self._pending:
            done.result()
        return self._digest.hexdigest()

    def _hand_over(self) -> None:
        self._file.flush()
        size = self._written - self._handed
        self._handed = self._written
        self._pending += [
            self._hashing.submit(self._hash, size),
            self._syncing.submit(os.fsync, self._file.fileno()),
        ]

    def _hash(self, size: int) -> None:
        while size:
            piece = self._reader.read(min(1 << 20, size))
            if not piece:
                raise OSError(EIO, 'it was cut off while it was written')
            self._digest.update(piece)
            size -= len(piece)


def write_whole(path: str | Path, fill: Callable[[HashedFile], Any]) -> str:
    """Write a file under another name, force it to the disk, then rename it.

    The checksum of the file that it replaces is removed just before.

    Args:
        path: Of the file; what is there is replaced.
        fill: Writes all of it.

    Returns:
        Its checksum, sha256.

    Raises:
        OSError: If it can't be written; what was there is there still.
    """
    unfinished = osp.join(osp.dirname(path), UNFINISHED)
    try:
        with open(unfinished, 'wb') as file, HashedFile(file) as hashed:
            _fill(hashed, fill)
            checksum = hashed.finish()
        with suppress(FileNotFoundError):
            os.remove(f'{path}{CHECKSUM}')
        os.replace(unfinished, path)
    except OSError:
        with suppress(OSError):
            os.remove(unfinished)
        raise
    return checksum


def _fill(file: HashedFile, fill: Callable[[HashedFile], Any]) -> None:
    try:
        fill(file)
    except RuntimeError as error:
        raise (file.error or error) from None


def write_with_checksum(
    path: str,
    fill: Callable[[HashedFile], Any],
    parts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a checkpoint.

    A stop at any moment leaves the old file, or the new one; the checksum is that of
    the file beside it, or is not there.

    Args:
        path: Of the checkpoint.
        fill: Writes all of it.
        parts: Name of a file in the folder of its parts -> checksum.

    Raises:
        CheckpointError: If the disk is full, or refuses it.
    """
    try:
        os.makedirs(osp.dirname(path) or '.', exist_ok=True)
        name = osp.basename(path)
        named = {name: write_whole(path, fill)}
        named |= {f'{name}{PARTS}/{part}': digest for part, digest in parts.items()}
        lines = ''.join(f'{digest}  {file}\n' for file, digest in named.items())
        write_whole(path + CHECKSUM, lambda file: file.write(lines.encode()))
        sync_folder(osp.dirname(path))
    except OSError as error:
        raise _unsaved(path, error) from error


def sync_folder(path: str | Path) -> None:
    """Force the names of a folder to the disk, where the system can.

    Args:
        path: Of the folder.
    """
    with suppress(OSError):  # some file systems, and Windows, refuse it
        folder = os.open(path or '.', os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@register_backend('whole_files')
class WholeFileBackend(LocalBackend):
    """mmengine's for local files; a checkpoint is whole, with its checksum beside it.

    ``NAME.pth.sha256`` is of the kind that ``sha256sum -c`` reads.
    """

    _outdated: dict[str, int] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a checkpoint.

        Args:
            obj: What is in it.
            filepath: Where to.

        Raises:
            CheckpointError: If the disk is full, or refuses it.
        """
        write_with_checksum(str(filepath), lambda file: file.write(obj))

    def remove(self, filepath: str | Path) -> None:
        """Remove a checkpoint and its checksum.

        Args:
            filepath: Its path.
        """
        if self._outdated is not None:
            self._outdated[str(filepath)] = os.stat(filepath).st_ino
            return
        super().remove(filepath)
        shutil.rmtree(f'{filepath}{PARTS}', ignore_errors=True)
        with suppress(FileNotFoundError):
            os.remove(f'{filepath}{CHECKSUM}')

    @contextmanager
    def removing_last(self) -> Iterator[None]:
        """Remove what is outdated only once the block has saved what replaces it."""
        self._outdated = {}
        try:
            yield
            outdated = self._outdated
        finally:
            self._outdated = None
        for path, inode in outdated.items():
            if osp.isfile(path) and os.stat(path).st_ino == inode:  # not the new one
                self.remove(path)


def write_note(work_dir: str | Path, checkpoint: str) -> None:
    """Note in a work dir which checkpoint is the last.

    Args:
        work_dir: Of the run.
        checkpoint: Its path.

    Raises:
        CheckpointError: If the disk is full; the note is as it was.
    """
    note = osp.join(work_dir, 'last_checkpoint')
    try:
        content = checkpoint.encode('utf-8', 'surrogateescape')
        write_whole(note, lambda file: file.write(content))
        sync_folder(work_dir)
    except OSError as error:
        raise _unsaved(note, error) from error


def _unsaved(path: str, error: OSError) -> CheckpointError:
    return CheckpointError(
        f'{path}: can not be saved ({error.strerror or error}); checkpoints saved '
        'before are as they were. Make room, or mend the disk, and go on with --resume'
    )
